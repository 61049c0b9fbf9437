"""The uuids of store places: the first one registered wins, for ever."""

import threading

from tests.support.owners import Owners, new_id

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
