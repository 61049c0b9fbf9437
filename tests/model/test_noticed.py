"""The machine notices services that do something else than the model: a life by hand, and one lie each time."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

import pytest
from tests.model.client import Answer, Client
from tests.model.lists import Query
from tests.model.machine import Lives
from tests.model.records import OCTETS, V21, Actor

IMAGE = "^/v2/images/[^/]+$"
RAW = {"disk_format": "raw", "container_format": "bare"}


class Liar(Client):
    """Speaks to the API, and tells something else than what happened of one method and the paths of a pattern."""

    def __init__(self, honest: Client, method: str, paths: str, lie: str) -> None:
        self._honest = honest
        self._target = (method, re.compile(paths))
        self._lie = lie

    def call(
        self, actor: Actor, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Do it, or only say so; what the answer says is changed where the lie is about it."""
        wanted, paths = self._target
        if method != wanted or not paths.search(path.split("?")[0]):
            return self._honest.call(actor, method, path, body, headers)
        if self._lie == "not done":
            return Answer("a lie", 204, {}, b"")
        answer = self._honest.call(actor, method, path, body, headers)
        if self._lie == "another status":
            return replace(answer, status=418)
        if self._lie == "lost headers":
            return replace(answer, headers={})
        old, new = self._lie.split(" for ")
        return replace(answer, body=answer.body.replace(old.encode(), new.encode()))


def live(life: Lives) -> None:
    """Do each thing once."""
    image = life.create("alice", {**RAW, "tags": ["t"], "p": "1"}, {}, known=False)
    life.upload(image, "owner", b"\1data", None, {"Content-Type": OCTETS})
    life.patch(image, "owner", [{"op": "replace", "path": "/name", "value": "name"}], V21)
    visible = [{"op": "replace", "path": "/visibility", "value": each} for each in ("public", "shared")]
    life.patch(image, "owner", visible, V21)  # what comes of it counts
    life.patch(image, "owner", visible[:1], V21)
    life.share(image, "bob", "accepted")
    life.show_members(image, "owner", "bob")
    life.add_tag(image, "owner", "T")
    life.remove_tag(image, "owner", "t")
    life.list("bob", Query(limit=1))
    life.download(image, "bob", None)
    life.act(image, "owner", "deactivate")
    life.show(image, "owner")
    life.delete(image, "owner", sure=True)
    life.show(image, "owner")


def test_an_honest_service_is_believed(lives: type[Lives]) -> None:
    life = lives()
    live(life)
    life.teardown()


@pytest.mark.parametrize(
    ("method", "paths", "lie"),
    [
        ("POST", "/images$", "another status"), ("POST", "/images$", "lost headers"),
        ("POST", "/images$", '"t" for "u"'),
        ("PUT", "/file$", "not done"), ("PATCH", IMAGE, "name for title"), ("PUT", "/members/b-", "not done"),
        ("GET", "/members$", "accepted for rejected"), ("PUT", "/T$", "not done"), ("DELETE", "/t$", "not done"),
        ("GET", "/images$", '"p" for "q"'), ("GET", "/file$", "data for dada"), ("POST", "/deactivate$", "not done"),
        ("DELETE", IMAGE, "not done"), ("GET", IMAGE, "deactivated for active"),
    ],
)
def test_a_lie_is_noticed(lives: type[Lives], method: str, paths: str, lie: str) -> None:
    life = lives()
    honest = life.client
    life.client = Liar(honest, method, paths, lie)
    try:
        with pytest.raises(AssertionError):
            live(life)
    finally:
        life.client = honest
        life.teardown()
