"""Random lives of images: each rule is one call of the API, compared with the model.

Actors and images are drawn independently, so that many calls of strangers are refused. ``owner`` stands for the actor
of the project that has the image.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, initialize, multiple, rule
from tests.model import v1, values
from tests.model.comparing import Comparing, quoted
from tests.model.lists import Query
from tests.model.records import MEMBER_STATUSES, OCTETS, V21

_actors = st.sampled_from((*("owner",) * 5, "alice", "bob", "carol", "reader", "admin"))
_RAW = {"disk_format": "raw", "container_format": "bare"}


class Lives(Comparing):
    """The rules. Their names and arguments are what a failure shows."""

    images: Bundle = Bundle("images")

    # Each life begins with images in different states: any of the rules below may never be drawn in it.

    @initialize(target=images, visibility=st.sampled_from(("private", "shared", "community")))
    def begin_empty(self, visibility: str) -> Any:
        return self.create("alice", {**_RAW, "visibility": visibility, "name": "a", "tags": ["t"]}, {}, known=True)

    @initialize(target=images, data=values.data, status=st.sampled_from(MEMBER_STATUSES))
    def begin_shared(self, data: bytes, status: str) -> Any:
        image = self.create("bob", {**_RAW, "name": "b", "p": "1"}, {}, known=False)
        self.upload(image, "bob", data, None, {"Content-Type": OCTETS})
        self.add_member(image, "bob", "alice")
        self.answer_member(image, "alice", "alice", status)
        return image

    @initialize(target=images)
    def begin_public(self) -> Any:
        image = self.create("admin", {**_RAW, "visibility": "public", "name": "A"}, {}, known=False)
        self.upload(image, "admin", b"\1public", None, {"Content-Type": OCTETS})
        return image

    # images

    @rule(target=images, actor=_actors, document=values.documents, odd=values.odd_fields, known=st.booleans())
    def create(self, actor: str, document: dict[str, Any], odd: dict[str, Any], known: bool) -> Any:
        sent = {**document, **odd}
        if known and "id" not in sent:
            sent["id"] = values.new_id()
        if "owner" in sent:
            sent["owner"] = self._project(sent["owner"])
        answer = self._call(self._actor(actor), "POST", "/v2/images", json=sent)
        new_id = sent.get("id") or (answer.document["id"] if answer.status == 201 else "")
        created = self._check("create", answer, self.model.create, self._actor(actor), sent, new_id)
        return new_id if created else multiple()

    @rule(image=images, actor=_actors)
    def create_again(self, image: str, actor: str) -> None:
        """With an id that an image has or had."""
        who = self._actor(actor, image)
        answer = self._call(who, "POST", "/v2/images", json={"id": image})
        self._check("create again", answer, self.model.create, who, {"id": image}, image)

    @rule(image=images, actor=_actors, operations=values.operations, media=values.media)
    def patch(self, image: str, actor: str, operations: list[dict[str, Any]], media: str) -> None:
        who = self._actor(actor, image)
        operations = [
            {**one, "value": self._project(one["value"])} if one["path"] == "/owner" and "value" in one else one
            for one in operations
        ]
        sent = operations if media == V21 else [_old(operation) for operation in operations]
        answer = self._call(who, "PATCH", f"/v2/images/{image}", json=sent, headers={"Content-Type": media})
        self._check("patch", answer, self.model.patch, who, image, operations, media)
        self._look(image)

    @rule(image=images, actor=_actors, visibility=values.visibilities)
    def change_visibility(self, image: str, actor: str, visibility: str) -> None:
        self.patch(image, actor, [{"op": "replace", "path": "/visibility", "value": visibility}], V21)

    @rule(image=images, actor=_actors, sure=st.sampled_from((True, False, False)))
    def delete(self, image: str, actor: str, sure: bool) -> None:
        """Only now and then, so that images live long enough; else a look at them."""
        if not sure:
            self.show(image, actor)
            return
        who = self._actor(actor, image)
        self._check("delete", self._call(who, "DELETE", f"/v2/images/{image}"), self.model.delete, who, image)
        self._look(image)

    @rule(image=images, actor=_actors)
    def show(self, image: str, actor: str) -> None:
        who = self._actor(actor, image)
        self._check("show", self._call(who, "GET", f"/v2/images/{image}"), self.model.show, who, image)

    @rule(actor=_actors, query=values.queries)
    def list(self, actor: str, query: Query) -> None:
        self._list(self._actor(actor), self._query(query))

    @rule(actor=_actors, query=values.queries, image=images)
    def list_after(self, actor: str, query: Query, image: str) -> None:
        """From an image on, which need not be in the list itself."""
        who, query = self._actor(actor, image), self._query(query)
        if image in self.model.images and self.model.sees(who, self.model.images[image]):
            self._list(who, query, image)
        else:
            refusal = 403 if image in self.model.images else 400
            answer = self._call(who, "GET", f"/v2/images?{query.text()}&marker={image}")
            self.tried["list after", answer.status] += 1
            self._that(answer.status == refusal or query.limit == 0, answer, f"{refusal} was expected")

    @rule(actor=_actors, query=values.wrong_queries)
    def list_wrongly(self, actor: str, query: str) -> None:
        answer = self._call(self._actor(actor), "GET", f"/v2/images?{query}")
        self.tried["list wrongly", answer.status] += 1
        self._that(answer.status == 400, answer, "400 was expected")

    # tags

    @rule(image=images, actor=_actors, tag=values.tags)
    def add_tag(self, image: str, actor: str, tag: str) -> None:
        who, tag = self._actor(actor, image), self._tag(image, tag)
        answer = self._call(who, "PUT", f"/v2/images/{image}/tags/{quoted(tag)}")
        self._check("add tag", answer, self.model.add_tag, who, image, tag)
        self._look(image)

    @rule(image=images, actor=_actors, tag=values.tags)
    def remove_tag(self, image: str, actor: str, tag: str) -> None:
        who, tag = self._actor(actor, image), self._tag(image, tag)
        answer = self._call(who, "DELETE", f"/v2/images/{image}/tags/{quoted(tag)}")
        self._check("remove tag", answer, self.model.remove_tag, who, image, tag)
        self._look(image)

    # members

    @rule(image=images, actor=_actors, member=values.members)
    def add_member(self, image: str, actor: str, member: Any) -> None:
        who, sent = self._actor(actor, image), {"member": self._member(image, member)}
        answer = self._call(who, "POST", f"/v2/images/{image}/members", json=sent)
        self._check("add member", answer, self.model.add_member, who, image, sent)
        self._look(image)

    @rule(image=images, actor=_actors, member=values.projects, status=values.member_statuses)
    def answer_member(self, image: str, actor: str, member: str, status: Any) -> None:
        """``actor`` answers for the project ``member``; the owner of an image is drawn as the member itself."""
        project, sent = self._member(image, member), {"status": status}
        who = self._actor(actor, image)
        if actor == "owner":
            who = next((one for one in self.actors.values() if one.project == project and one.may_write), who)
        answer = self._call(who, "PUT", f"/v2/images/{image}/members/{quoted(project)}", json=sent)
        self._check("answer member", answer, self.model.answer_member, who, image, project, sent)
        self._look(image)

    @rule(image=images, member=values.projects, status=values.member_statuses)
    def share(self, image: str, member: str, status: Any) -> None:
        """The owner adds a member, who answers."""
        self.add_member(image, "owner", member)
        self.answer_member(image, "owner", member, status)

    @rule(image=images, actor=_actors, member=values.projects)
    def remove_member(self, image: str, actor: str, member: str) -> None:
        who, project = self._actor(actor, image), self._member(image, member)
        answer = self._call(who, "DELETE", f"/v2/images/{image}/members/{quoted(project)}")
        self._check("remove member", answer, self.model.remove_member, who, image, project)
        self._look(image)

    @rule(image=images, actor=_actors, member=values.projects)
    def show_members(self, image: str, actor: str, member: str) -> None:
        who, project = self._actor(actor, image), self._member(image, member)
        path = f"/v2/images/{image}/members"
        self._check("list members", self._call(who, "GET", path), self.model.members, who, image)
        answer = self._call(who, "GET", f"{path}/{quoted(project)}")
        self._check("show member", answer, self.model.show_member, who, image, project)

    # data

    @rule(image=images, actor=_actors, action=st.sampled_from(("deactivate", "reactivate")))
    def act(self, image: str, actor: str, action: str) -> None:
        who = self._actor(actor, image)
        answer = self._call(who, "POST", f"/v2/images/{image}/actions/{action}")
        self._check(action, answer, self.model.act, who, image, action)
        self._look(image)

    @rule(image=images, actor=_actors, data=values.data, size=values.named_sizes, headers=values.upload_headers)
    def upload(self, image: str, actor: str, data: bytes, size: str | None, headers: dict[str, str]) -> None:
        who, media = self._actor(actor, image), headers["Content-Type"]
        named = {} if size is None else {"x-openstack-image-size": size}
        answer = self.client.call(who, "PUT", f"/v2/images/{image}/file", data, {**headers, **named})
        self._check("upload", answer, self.model.upload, who, image, data, size, media)
        self._look(image)

    @rule(image=images, actor=_actors, wanted=values.ranges)
    def download(self, image: str, actor: str, wanted: str | None) -> None:
        who = self._actor(actor, image)
        headers = {} if wanted is None else {"Range": wanted}
        answer = self._call(who, "GET", f"/v2/images/{image}/file", headers=headers)
        self._check("download", answer, self.model.download, who, image, wanted)

    # the first version of the API

    @rule(image=images, actor=_actors)
    def show_in_v1(self, image: str, actor: str) -> None:
        """The same image in headers, and its data (v1 API section 4)."""
        who = self._actor(actor, image)
        for method, work in (("HEAD", v1.show), ("GET", v1.download)):
            answer = self._call(who, method, f"/v1/images/{image}")
            self._check(f"v1 {method}", answer, work, self.model, who, image)


def _old(operation: Mapping[str, Any]) -> dict[str, Any]:
    """Return an operation in the first dialect (API section 7)."""
    value = {"value": operation["value"]} if "value" in operation else {}
    return {operation["op"]: operation["path"], **value}
