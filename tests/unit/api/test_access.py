"""Stores with lists of readers are told of every change; what one of them does not hear is told again."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from tests.unit.api.conftest import Api
from tests.unit.api.fake_registry import make_image

from glance_api.services import access, old_lists
from glance_api.services.old_lists import OldLists
from glance_common.model.context import RequestContext
from glance_common.model.errors import NotFound, Unavailable
from glance_common.model.image import ImageLocation
from glance_common.stores.caller import StoreCaller, begin_request, current_caller, data_of
from glance_common.stores.contract import BlobNotFound, Capabilities, DataAccess, StoreError, StoreUnavailable

CONTEXT = RequestContext("req-test", project_id="own")
IMAGE = make_image().id


class ListingStore:
    """A store with lists of readers; ``error`` is what changing one raises."""

    def __init__(self, name: str, *, lists: bool = True) -> None:
        self.id = name
        self.capabilities = Capabilities((), add=True, delete=True, ranges=True, access_lists=lists)
        self.lists: dict[str, DataAccess] = {}
        self.error: StoreError | None = None

    def set_access(self, key: str, access: DataAccess) -> None:
        if self.error is not None:
            raise self.error
        self.lists[key] = access


class World:
    """An image with data in two stores, of which one has lists, and members."""

    def __init__(self, **fields: Any) -> None:
        self.store, self.other = ListingStore("one"), ListingStore("other", lists=False)
        places = tuple(ImageLocation(id=name, store=name, key=f"key-{name}", metadata={}) for name in ("one", "other"))
        self.image = make_image(locations=places, **fields)
        self.members = ["friend", "another"]
        self.error: Exception | None = None
        self.asked = 0
        self.now = 0.0
        self.services: Any = SimpleNamespace(
            stores=[self.store, self.other], old_lists=OldLists(lambda: self.now),
            registry=SimpleNamespace(
                images=SimpleNamespace(get=self._image),
                members=SimpleNamespace(list=lambda *_: [SimpleNamespace(member=name) for name in self.members]),
            ),
        )

    def _image(self, context: RequestContext, image_id: str, locations: bool = False) -> Any:
        assert context.is_admin
        self.asked += 1
        if self.error is not None:
            raise self.error
        return self.image

    def changed(self) -> bool:
        return access.set_changed(self.services, CONTEXT, IMAGE)

    def due(self) -> list[str]:
        self.now += old_lists.PAUSE
        return list(self.services.old_lists.due())


@pytest.mark.parametrize(
    ("visibility", "expected"),
    [
        ("public", DataAccess(True, ("own",))), ("community", DataAccess(True, ("own",))),
        ("private", DataAccess(False, ("own",))), ("shared", DataAccess(False, ("another", "friend", "own"))),
    ],
)
def test_who_may_read(visibility: str, expected: DataAccess):
    world = World(visibility=visibility)
    assert world.changed()
    assert world.store.lists == {"key-one": expected}
    assert world.other.lists == {}
    access.set_new(world.services, CONTEXT, IMAGE, world.store, "new key")  # type: ignore[arg-type]  # a fake
    access.set_new(world.services, CONTEXT, IMAGE, world.other, "new key")  # type: ignore[arg-type]  # a fake
    assert world.store.lists["new key"] == expected
    assert world.other.lists == {}
    assert world.due() == []


def test_without_such_a_store_nothing_is_asked():
    world = World()
    world.services.stores = [world.other]
    assert world.changed()
    assert world.asked == 0


@pytest.mark.parametrize("new", [False, True])
@pytest.mark.parametrize("fails", ["store", "registry"])
def test_what_fails_is_told_again(caplog: pytest.LogCaptureFixture, new: bool, fails: str):
    world = World()
    if fails == "store":
        world.store.error = StoreUnavailable("down")
    else:
        world.error = Unavailable("down")
    if new:
        access.set_new(world.services, CONTEXT, IMAGE, world.store, "key-one")  # type: ignore[arg-type]  # a fake
    else:
        assert not world.changed()
    assert "who may read" in caplog.text
    assert world.services.old_lists.due() == [], "not at once"
    assert world.due() == [IMAGE]
    access.mend(world.services, CONTEXT, lambda: False)
    assert world.due() == [IMAGE], "it failed again"
    world.store.error = world.error = None
    access.mend(world.services, CONTEXT, lambda: True)
    assert world.due() == [IMAGE], "the process ends"
    access.mend(world.services, CONTEXT, lambda: False)
    assert world.store.lists["key-one"].projects == ("another", "friend", "own")
    assert world.due() == []


def test_what_is_gone_needs_no_list():
    world = World()
    world.store.error = BlobNotFound("gone")
    assert world.changed()
    world.error = NotFound("gone")
    assert not world.store.lists
    world.changed()
    assert world.due() == []


def test_the_images_that_wait_are_bounded(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture):
    monkeypatch.setattr(old_lists, "MOST", 2)
    waiting = OldLists(lambda: 0.0)
    for image in ("a", "b", "b", "c"):
        waiting.note(image, is_old=True)
    assert list(waiting._images) == ["b", "c"]
    assert "image a: its stores are not told any more" in caplog.text
    waiting.note("c", is_old=False)
    waiting.note("unknown", is_old=False)
    assert list(waiting._images) == ["b"]


def test_whose_data_are_written():
    begin_request(StoreCaller())
    assert current_caller() == StoreCaller()
    with data_of("owner"):
        assert current_caller() == StoreCaller("owner")
    caller = StoreCaller("project", "secret", "secret")
    try:
        begin_request(caller)
        with data_of("owner"):
            assert current_caller() is caller, "a caller writes into its own account"
    finally:
        begin_request(StoreCaller())
    assert "secret" not in repr(caller)


def test_a_request_says_who_calls(make_api: Callable[..., Api]):
    """The token and the catalog are those of the request, also in a thread that answered another one before."""
    api = make_api()
    seen: list[StoreCaller] = []
    found = api.registry.images.get

    def get(*arguments: Any, **parameters: Any) -> Any:
        seen.append(current_caller())
        return found(*arguments, **parameters)

    api.registry.images.get = get
    try:
        for headers in ({"X-Auth-Token": "one", "X-Service-Catalog": "[]"}, {"X-Auth-Token": "two"}, {}):
            api.call("GET", f"/v2/images/{IMAGE}", headers=headers)
    finally:
        begin_request(StoreCaller())
    assert [(caller.token, caller.catalog) for caller in seen] == [("one", "[]"), ("two", None), (None, None)]
    assert {caller.project for caller in seen} == {"own"}
