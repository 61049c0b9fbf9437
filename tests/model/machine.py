"""Random lives of images: each rule is one call of the API, compared with the model.

Actors and images are drawn independently, so that most calls of strangers are refused. ``owner`` stands for the actor
of the project that has the image.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import quote

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, multiple, rule

from tests.model import lists, v1, values
from tests.model.client import Answer, Client
from tests.model.lists import Query
from tests.model.model import MEMBER_STATUSES, OCTETS, V21, Actor, Expected, Model, Refused
from tests.support.waiting import wait_for

Work = Callable[..., Expected]

_lives = itertools.count(1)
_actors = st.sampled_from((*("owner",) * 5, "alice", "bob", "carol", "reader", "admin"))
_RAW = {"disk_format": "raw", "container_format": "bare"}
_TIMES = ("created_at", "updated_at")


class Lives(RuleBasedStateMachine):
    """One life of a few projects. The test sets the attributes in a class of its own."""

    client: Client
    usage: Callable[[str], int]
    """Tells how many bytes a project uses, as the registry says (I5)."""
    tried: Counter[tuple[str, int]]
    """How often each rule was answered with each status."""

    images: Bundle = Bundle("images")

    def __init__(self) -> None:
        super().__init__()
        life = next(_lives)
        if life % 100 == 0:
            print(f"life {life} begins", flush=True)  # noqa: T201  a long run says that it goes on
        self.model = Model(values.LIMITS)
        self.actors = {actor.name: actor for actor in _people(life)}
        self._turn = itertools.cycle(self.actors.values())
        self._times: dict[str, tuple[str, str]] = {}
        """The times of creation and of the last change that were shown of each image."""

    # Each life begins with images in different states: any of the rules below may never be drawn in it.

    @initialize(target=images, visibility=values.visibilities)
    def begin_empty(self, visibility: str) -> Any:
        visibility = "private" if visibility == "public" else visibility
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
        answer = self._call(who, "PUT", f"/v2/images/{image}/tags/{_quoted(tag)}")
        self._check("add tag", answer, self.model.add_tag, who, image, tag)
        self._look(image)

    @rule(image=images, actor=_actors, tag=values.tags)
    def remove_tag(self, image: str, actor: str, tag: str) -> None:
        who, tag = self._actor(actor, image), self._tag(image, tag)
        answer = self._call(who, "DELETE", f"/v2/images/{image}/tags/{_quoted(tag)}")
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
        answer = self._call(who, "PUT", f"/v2/images/{image}/members/{_quoted(project)}", json=sent)
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
        answer = self._call(who, "DELETE", f"/v2/images/{image}/members/{_quoted(project)}")
        self._check("remove member", answer, self.model.remove_member, who, image, project)
        self._look(image)

    @rule(image=images, actor=_actors, member=values.projects)
    def show_members(self, image: str, actor: str, member: str) -> None:
        who, project = self._actor(actor, image), self._member(image, member)
        path = f"/v2/images/{image}/members"
        self._check("list members", self._call(who, "GET", path), self.model.members, who, image)
        answer = self._call(who, "GET", f"{path}/{_quoted(project)}")
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

    def teardown(self) -> None:
        """Compare all that each actor sees, then remove the images, so that no other life meets them."""
        try:
            if not self._has_failed:
                for actor in self.actors.values():
                    self._everything(actor)
                    self._usage(actor.project)
        finally:
            self._remove_all()

    # helpers

    _has_failed = False

    def _everything(self, actor: Actor) -> None:
        """Compare all that an actor sees: lists with everything in them, and each image."""
        for hidden in (False, True):
            self._list(actor, Query(visibility="all", member_status="all", os_hidden=hidden, limit=1000))
        for image in self.model.images.values():
            self._check("show", self._call(actor, "GET", f"/v2/images/{image.id}"), self.model.show, actor, image.id)
            if image.owner == actor.project:
                members = self._call(actor, "GET", f"/v2/images/{image.id}/members")
                self._check("list members", members, self.model.members, actor, image.id)
                data = self._call(actor, "GET", f"/v2/images/{image.id}/file")
                self._check("download", data, self.model.download, actor, image.id)

    def _usage(self, project: str) -> None:
        """I5: a project uses what its images hold, as soon as the bytes of refused uploads are removed."""
        used = self.model.used(project)
        wait_for(lambda: self.usage(project) == used, f"{project} uses {used} bytes and not {self.usage(project)}")

    def _remove_all(self) -> None:
        """Delete every image that is there, whatever the model says: a failed life must not disturb the next one."""
        admin = self.actors["admin"]
        for hidden in ("false", "true"):
            path = f"/v2/images?visibility=all&os_hidden={hidden}"
            while found := self._call(admin, "GET", path).document["images"]:
                for image in found:
                    self._remove(admin, f"/v2/images/{image['id']}", image["protected"])

    def _remove(self, admin: Actor, path: str, is_protected: bool) -> None:
        if is_protected:
            opened = [{"op": "replace", "path": "/protected", "value": False}]
            self._call(admin, "PATCH", path, json=opened, headers={"Content-Type": V21})
        answer = self._call(admin, "DELETE", path)
        assert answer.status == 204, answer

    def _actor(self, name: str, image: str | None = None) -> Actor:
        """Return an actor; ``owner`` is the one of the image's project, and ``alice`` without one."""
        if name != "owner":
            return self.actors[name]
        known = self.model.images.get(image or "")
        owners = (actor for actor in self.actors.values() if known and actor.project == known.owner and actor.may_write)
        return next(owners, self.actors["alice"])

    def _member(self, image: str, name: Any) -> Any:
        """Return the project of a member to be; ``PRESENT`` is the first of those that the image has."""
        found = sorted(self.model.images[image].members) if image in self.model.images else []
        return next(iter(found), self.actors["bob"].project) if name == values.PRESENT else self._project(name)

    def _tag(self, image: str, tag: str) -> str:
        found = sorted(self.model.images[image].tags) if image in self.model.images else []
        return next(iter(found), "t") if tag == values.PRESENT else tag

    def _query(self, query: Query) -> Query:
        return replace(query, owner=self._project(query.owner))

    def _project(self, name: Any) -> Any:
        """Return the project of an actor; another value stands for itself."""
        return self.actors[name].project if isinstance(name, str) and name in self.actors else name

    def _call(
        self, actor: Actor, method: str, path: str, json: Any = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        body = None if json is None else _encode(json)
        kind = {} if json is None else {"Content-Type": "application/json"}
        return self.client.call(actor, method, path, body, {**kind, **(headers or {})})

    def _check(self, rule_name: str, answer: Answer, work: Work, *arguments: Any) -> bool:
        """Compare the answer with the model's, and say whether the call worked."""
        self.tried[rule_name, answer.status] += 1
        try:
            wanted = work(*arguments)
        except Refused as refused:
            self._that(answer.status in refused.statuses, answer, f"{sorted(refused.statuses)} was expected")
            return False
        self._that(answer.status == wanted.status, answer, f"{wanted.status} was expected")
        if wanted.document is not None:
            self._that(_plain(answer.document) == wanted.document, answer, f"expected was {wanted.document}")
        if wanted.body is not None:
            self._that(answer.body == wanted.body, answer, f"{len(wanted.body)} bytes of data were expected")
        headers = {name: answer.headers.get(name) for name in wanted.headers}
        self._that(headers == wanted.headers, answer, f"expected were {wanted.headers}")
        return True

    def _that(self, holds: bool, answer: Answer, text: str) -> None:
        if not holds:
            self._has_failed = True
            raise AssertionError(f"{answer.call}: {text}, the answer is {answer.status} {answer.body[:2000]!r}")

    def _look(self, image: str) -> None:
        """Let one actor after the other look at the image that was touched."""
        actor = next(self._turn)
        answer = self._call(actor, "GET", f"/v2/images/{image}")
        if self._check("look", answer, self.model.show, actor, image):
            times = tuple(answer.document[name] for name in _TIMES)
            created_at, updated_at = self._times.setdefault(image, times)
            self._that(times[0] == created_at <= updated_at <= times[1], answer, "times only go on")
            self._times[image] = times

    def _list(self, actor: Actor, query: Query, after: str | None = None) -> None:
        """Walk through all pages and compare them with the model (API section 6)."""
        shown: list[dict[str, Any]] = []
        size = lists.page_size(self.model, query)
        path: str | None = f"/v2/images?{query.text()}{f'&marker={after}' if after else ''}"
        while path is not None:
            answer = self._call(actor, "GET", path)
            self.tried["list", answer.status] += 1
            self._that(answer.status == 200, answer, "a list was expected")
            page = answer.document
            path = page.get("next")
            self._that(len(page["images"]) <= size, answer, f"at most {size} images were expected")
            self._that((path is not None) == (0 < size == len(page["images"])), answer, "next stands on full pages")
            shown += page["images"]
        wanted = [image.document() for image in lists.expected(self.model, actor, query, after)] if size else []
        self._that([_plain(image) for image in shown] == wanted, answer, f"expected on all pages was {wanted}")


def _people(life: int) -> Sequence[Actor]:
    user = ("member", "reader")
    return [
        Actor("alice", f"a-{life}", user), Actor("bob", f"b-{life}", user), Actor("carol", f"c-{life}", user),
        Actor("reader", f"a-{life}", ("reader",)), Actor("admin", f"admin-{life}", ("admin",)),
    ]  # fmt: skip


def _old(operation: Mapping[str, Any]) -> dict[str, Any]:
    """Return an operation in the first dialect (API section 7)."""
    value = {"value": operation["value"]} if "value" in operation else {}
    return {operation["op"]: operation["path"], **value}


def _plain(document: Any) -> Any:
    """Return a document without its times and with its lists in order."""
    if not isinstance(document, dict):
        return document
    plain = {name: value for name, value in document.items() if name not in _TIMES}
    if isinstance(plain.get("tags"), list):
        plain["tags"] = sorted(plain["tags"])
    if isinstance(plain.get("members"), list):
        plain["members"] = sorted(map(_plain, plain["members"]), key=lambda member: member["member_id"])
    return plain


def _quoted(name: str) -> str:
    return quote(name, safe="")


def _encode(value: Any) -> bytes:
    return json.dumps(value).encode()
