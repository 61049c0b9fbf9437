"""The uuids of store places: the first one registered wins, for ever."""

import threading
from contextlib import suppress

import pytest
import sqlalchemy as sa
from tests.support.owners import Owners, new_id

from glance_common.model.errors import Conflict
from glance_registry.db.tables import store_identities
from glance_registry.locations import store_identity


def test_first_identity_of_a_place_wins(owners: Owners) -> None:
    first, second = new_id(), new_id()
    assert owners.run(store_identity.known, "fast") == {}
    assert owners.run(store_identity.register, "fast", "/a", first) == first
    assert owners.run(store_identity.register, "fast", "/a", second) == first
    assert owners.run(store_identity.register, "fast", "/a", first) == first
    assert owners.run(store_identity.known, "fast") == {"/a": first}


def test_places_and_stores_are_apart(owners: Owners) -> None:
    ids = [new_id() for _ in range(3)]
    for (store, place), identity in zip((("fast", "/a"), ("fast", "/b"), ("slow", "/a")), ids, strict=True):
        assert owners.run(store_identity.register, store, place, identity) == identity
    assert owners.run(store_identity.known, "fast") == {"/a": ids[0], "/b": ids[1]}
    assert owners.run(store_identity.known, "slow") == {"/a": ids[2]}


def test_all_of_many_racers_hear_of_the_same_winner(owners: Owners) -> None:
    heard: list[str] = []
    barrier = threading.Barrier(8)

    def register() -> None:
        barrier.wait()
        heard.append(owners.run(store_identity.register, "fast", "/a", new_id()))

    threads = [threading.Thread(target=register) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(heard) == 8
    assert set(heard) == {owners.run(store_identity.known, "fast")["/a"]}


def test_a_place_belongs_to_one_store_however_it_is_called(owners: Owners) -> None:
    """Two stores that share a place would each delete the data of the other."""
    identity = new_id()
    assert owners.run(store_identity.register, "fast", "s3://10.0.0.1/images", identity) == identity
    with pytest.raises(Conflict, match=r"s3://objects/images is the place of the store fast"):
        owners.run(store_identity.register, "slow", "s3://objects/images", identity)
    assert owners.run(store_identity.known, "slow") == {}
    assert owners.run(store_identity.register, "fast", "s3://objects/images", identity) == identity
    assert set(owners.run(store_identity.known, "fast")) == {"s3://10.0.0.1/images", "s3://objects/images"}


def test_of_stores_that_race_for_a_place_one_gets_it(owners: Owners) -> None:
    identity = new_id()
    winners: list[str] = []
    barrier = threading.Barrier(8)

    def register(store: str) -> None:
        barrier.wait()
        with suppress(Conflict):
            owners.run(store_identity.register, store, f"/{store}", identity)
            winners.append(store)

    stores = [f"store-{number}" for number in range(8)]
    threads = [threading.Thread(target=register, args=(store,)) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(winners) == 1
    assert [store for store in stores if owners.run(store_identity.known, store)] == winners


def test_of_stores_that_share_a_place_since_long_the_first_one_keeps_it(owners: Owners) -> None:
    """Earlier versions registered every store. As long as the first one has no data, its id may just have changed."""
    identity = new_id()
    for store in ("slow", "fast"):
        insert = sa.insert(store_identities).values(store=store, place=f"/{store}", identity=identity)
        owners.run(lambda connection, insert=insert: connection.execute(insert))
    for store in ("slow", "fast"):
        assert owners.run(store_identity.known, store) == {f"/{store}": identity}
        assert owners.run(store_identity.register, store, f"/{store}", identity) == identity
    owners.upload(owners.create(), store="slow")
    owners.upload(owners.create(), store="fast")
    assert owners.run(store_identity.known, "slow") == {"/slow": identity}
    assert owners.run(store_identity.register, "slow", "/slow", identity) == identity
    assert owners.run(store_identity.known, "fast") == {}
    with pytest.raises(Conflict, match="the place of the store slow"):
        owners.run(store_identity.register, "fast", "/fast", identity)


def test_staging_directories_go_from_host_to_host_but_hold_no_images(owners: Owners) -> None:
    identity = new_id()
    for host in ("a", "b"):
        assert owners.run(store_identity.register, f"os_glance_staging_store@{host}", "/s", identity) == identity
    with pytest.raises(Conflict, match="the place of the store os_glance_staging_store@a"):
        owners.run(store_identity.register, "fast", "/link", identity)
    other = new_id()
    owners.run(store_identity.register, "fast", "/a", other)
    with pytest.raises(Conflict, match="the place of the store fast"):
        owners.run(store_identity.register, "os_glance_staging_store@a", "/link", other)
