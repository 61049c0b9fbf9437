"""Copies in the caches of nodes: the index of a cache that lives in the registry."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID, uuid4

import pytest
from tests.unit.api.cache.conftest import SlowStore, image, read, settings, settle, wanted

from glance_api.cache.facade import ImageCache
from glance_api.cache.index.central import CentralIndex
from glance_api.cache.index.contract import IndexBusy, IndexEntry, Use
from glance_common.model import errors
from glance_common.model.context import RequestContext
from glance_common.registry_client import RegistryClient
from glance_common.registry_client.cached_copies import MOST_USES

ADMIN = RequestContext(request_id="req-1", is_admin=True)
HERE, THERE = "http://here.example.com:9292", "https://there.example.com/image"


def entry(number: int, hits: int = 0) -> IndexEntry:
    return IndexEntry(str(UUID(int=number)), 10, 1700000000.25, 1700000000250000001, hits=hits)


@pytest.fixture
def here(client: RegistryClient) -> CentralIndex:
    """The index of one node."""
    return CentralIndex(client.cached_copies, HERE)


@pytest.fixture
def there(client: RegistryClient) -> CentralIndex:
    """That of another."""
    return CentralIndex(client.cached_copies, THERE)


def test_each_node_has_its_own(client: RegistryClient, here: CentralIndex, there: CentralIndex) -> None:
    one, two = entry(1), entry(2, hits=3)
    here.put(one)
    here.put(two)
    there.put(two)
    assert here.all() == {one.image_id: one, two.image_id: two}
    assert there.all() == {two.image_id: two}
    assert (here.get(one.image_id), there.get(one.image_id)) == (one, None)
    assert client.cached_copies.nodes(ADMIN, two.image_id) == [HERE, THERE]
    here.remove(two.image_id)
    here.remove(two.image_id)
    assert client.cached_copies.nodes(ADMIN, two.image_id) == [THERE]
    assert client.cached_copies.nodes(ADMIN, str(uuid4())) == []


def test_an_entry_replaces_the_one_before(here: CentralIndex) -> None:
    here.put(entry(1, hits=7))
    here.put(entry(1))
    assert here.all() == {entry(1).image_id: entry(1)}


def test_uses_are_added(here: CentralIndex, there: CentralIndex) -> None:
    here.put(entry(1, hits=1))
    there.put(entry(1))
    known, unknown = entry(1).image_id, [entry(number).image_id for number in range(2, MOST_USES + 20)]
    uses = {image_id: Use(1, 5.0) for image_id in unknown} | {known: Use(4, 1800000000.5)}
    assert sorted(here.count(uses)) == sorted(unknown)
    assert here.count({known: Use(2, 1.0)}) == []
    found = here.get(known)
    assert found is not None
    assert (found.hits, found.accessed) == (7, 1800000000.5)
    kept = there.get(known)
    assert kept is not None
    assert kept.hits == 0


def test_users_may_not_ask(client: RegistryClient) -> None:
    with pytest.raises(errors.Forbidden):
        client.cached_copies.nodes(RequestContext(request_id="req-2", project_id="own"), str(uuid4()))


@pytest.mark.parametrize("bad", [{"size": -1}, {"verified": "1"}, {"modified": None}, {"more": 1}, {"checksum": 5}])
def test_bad_values_are_refused(client: RegistryClient, bad: dict[str, object]) -> None:
    good = {"size": 1, "modified": 1.0, "verified": 0, "hits": 0, "accessed": 0.0, "checksum": None}
    with pytest.raises(errors.BadRequest):
        client.cached_copies.put(HERE, str(uuid4()), {**good, **bad})


def test_a_cache_with_its_index_in_the_registry(client: RegistryClient, tmp_path: Path) -> None:
    """Hits, a second process, and an index in SQLite that is taken over."""
    chosen = settings(tmp_path / "cache", driver="sqlite", node=HERE, is_named=True)
    image_id, data = image(1)
    before = ImageCache(chosen)
    assert before.open()
    assert read(before, wanted(image_id, data, SlowStore(data))) == data
    settle(before)
    before.close()
    central = settings(tmp_path / "cache", driver="centralized_db", node=HERE, is_named=True)
    caches = [ImageCache(central, client.cached_copies) for _ in range(2)]
    for cache in caches:
        assert cache.open()
        store = SlowStore(data)
        assert read(cache, wanted(image_id, data, store)) == data
        assert store.opened == []
        cache.flush()
    assert not (tmp_path / "cache" / "cache.db").exists()
    assert client.cached_copies.nodes(ADMIN, image_id) == [HERE]
    assert [copy.hits for copy in caches[0].cached()] == [2]
    assert caches[1].drop(image_id)
    assert client.cached_copies.nodes(ADMIN, image_id) == []
    for cache in caches:
        cache.close()


def test_an_index_that_cannot_be_taken_over_stays(here: CentralIndex, tmp_path: Path) -> None:
    (tmp_path / "cache.db").write_bytes(b"no database" * 500)
    here.take_over(str(tmp_path / "cache.db"))
    assert (tmp_path / "cache.db").exists()
    assert here.all() == {}


def test_a_registry_that_refuses_is_a_busy_index(client: RegistryClient) -> None:
    nameless = CentralIndex(client.cached_copies, "")
    with pytest.raises(IndexBusy):
        nameless.all()
