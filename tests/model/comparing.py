"""Calls for actors, and the comparison of their answers with the model."""

from __future__ import annotations

import itertools
import json as json_format
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import quote

from hypothesis.stateful import RuleBasedStateMachine
from tests.model import lists, values
from tests.model.client import Answer, Client
from tests.model.lists import Query
from tests.model.model import Model
from tests.model.records import V21, Actor, Expected, Refused
from tests.support.waiting import wait_for

Work = Callable[..., Expected]

_lives = itertools.count(1)
_TIMES = ("created_at", "updated_at")


class Comparing(RuleBasedStateMachine):
    """One life of a few projects. The test sets the attributes in a class of its own."""

    client: Client
    usage: Callable[[str], int]
    """Tells how many bytes a project uses, as the registry says (I5)."""
    tried: Counter[tuple[str, int]]
    """How often each rule was answered with each status."""

    def __init__(self) -> None:
        super().__init__()
        life = next(_lives)
        if life % 100 == 0:
            sys.stdout.write(f"life {life} begins\n")
            sys.stdout.flush()
        self.model = Model(values.LIMITS)
        self.actors = {actor.name: actor for actor in _people(life)}
        self._turn = itertools.cycle(self.actors.values())
        self._times: dict[str, tuple[str, str]] = {}
        """The times of creation and of the last change that were shown of each image."""
        self._has_failed = False

    def teardown(self) -> None:
        """Compare all that each actor sees, then remove the images, so that no other life meets them."""
        try:
            if not self._has_failed:
                for actor in self.actors.values():
                    self._everything(actor)
                    self._usage(actor.project)
        finally:
            self._remove_all()

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
        wait_for(lambda: self.usage(project) == used, f"{project} uses {used} bytes")

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

    # what the arguments of rules stand for

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

    # calls and comparisons

    def _call(
        self, actor: Actor, method: str, path: str, json: Any = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        body = None if json is None else json_format.dumps(json).encode()
        kind = {} if json is None else {"Content-Type": "application/json"}
        return self.client.call(actor, method, path, body, {**kind, **(headers or {})})

    def _check(self, what: str, answer: Answer, work: Work, *arguments: Any) -> bool:
        """Compare the answer with the model's, and say whether the call worked."""
        self.tried[what, answer.status] += 1
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
        self._that(headers == wanted.headers, answer, f"expected were {wanted.headers}, there are {headers}")
        return True

    def _that(self, holds: bool, answer: Answer, text: str) -> None:
        if not holds:
            self._has_failed = True
            # Without the context: how the model refused is told already.
            told = f"{answer.status} {answer.body[:2000]!r}"
            raise AssertionError(f"{answer.call}: {text}, the answer is {told}") from None

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
            self.tried["list" if after is None else "list after", answer.status] += 1
            self._that(answer.status == 200, answer, "a list was expected")
            page = answer.document
            path = page.get("next")
            self._that(len(page["images"]) <= size, answer, f"at most {size} images were expected")
            self._that((path is not None) == (0 < size == len(page["images"])), answer, "next stands on full pages")
            shown += page["images"]
        wanted = [image.document() for image in lists.expected(self.model, actor, query, after)] if size else []
        self._that([_plain(image) for image in shown] == wanted, answer, f"expected on all pages was {wanted}")


def quoted(name: str) -> str:
    """Return a name as one part of a path."""
    return quote(name, safe="")


def _people(life: int) -> Sequence[Actor]:
    user = ("member", "reader")
    return [
        Actor("alice", f"a-{life}", user), Actor("bob", f"b-{life}", user), Actor("carol", f"c-{life}", user),
        Actor("reader", f"a-{life}", ("reader",)), Actor("admin", f"admin-{life}", ("admin",)),
    ]


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
