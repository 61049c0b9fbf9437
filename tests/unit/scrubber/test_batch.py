"""Many locations together: one that fails does not fail the others, and nothing is held that is not worked."""

import threading
from contextlib import contextmanager

import pytest
from tests.support.waiting import wait_for
from tests.unit.scrubber.fakes import FakeDeletions, FakeStore, make_scrubber

from glance_common.model.errors import OutcomeUnknown, Unavailable
from glance_common.purge import Outcome
from glance_common.stores.contract import DeleteUnsupported, InUse, StoreForbidden, StoreUnavailable
from glance_scrubber import batch
from glance_scrubber.scrub import Result

TOKEN = "11111111-1111-4111-8111-111111111111"


@pytest.fixture
def deletions():
    return FakeDeletions()


@pytest.fixture
def store():
    return FakeStore()


def add(deletions, count, store="one"):
    return [deletions.add(store) for _ in range(count)]


def outcomes(results):
    return {location: result.outcome for location, result in results.items()}


def fail(store, errors):
    """Let the deletes of these keys raise."""
    delete = store.delete

    def wrapped(key):
        if key in errors:
            store.deleted.append(key)
            raise errors[key]
        delete(key)

    store.delete = wrapped


def test_all_are_purged_with_one_claim_and_one_record(deletions, store, monkeypatch):
    calls = []

    def noted(name, inner):
        return lambda *args, **terms: (calls.append(name), inner(*args, **terms))[1]

    for name in ("claim_many", "done_many"):
        monkeypatch.setattr(deletions, name, noted(name, getattr(deletions, name)))
    locations = add(deletions, batch.MOST)
    results = make_scrubber(deletions, store).scrub_many(locations, TOKEN)
    assert outcomes(results) == dict.fromkeys(locations, Outcome.PURGED)
    assert calls == ["claim_many", "done_many"]
    assert store.keys == set()


def test_each_ends_as_its_own_delete_says(deletions, store):
    good, cloned, locked, kept, gone, other = add(deletions, 6)
    key = {location: row.key for location, row in deletions.rows.items()}
    scrubber = make_scrubber(deletions, store, max_attempts=1)
    fail(store, {
        key[cloned]: InUse("cloned"), key[locked]: StoreForbidden("locked"), key[kept]: DeleteUnsupported("http"),
    })
    store.keys.discard(key[gone])
    deletions.rows[other].is_due = False
    results = scrubber.scrub_many([good, cloned, locked, kept, gone, other], TOKEN)
    assert outcomes(results) == {
        good: Outcome.PURGED, cloned: Outcome.RETRY, locked: Outcome.FAILED, kept: Outcome.KEPT,
        gone: Outcome.ALREADY_GONE, other: Outcome.NOT_OURS,
    }
    statuses = {location: row.status for location, row in deletions.rows.items()}
    assert statuses == {
        good: "deleted", cloned: "deleting", locked: "failed", kept: "deleted", gone: "deleted",
        other: "pending_delete",
    }


def test_a_store_that_is_down_is_asked_once_and_holds_up_no_other(deletions):
    broken, good = add(deletions, 5, "a"), add(deletions, 5, "b")
    down, healthy = FakeStore("a"), FakeStore("b")
    down.error = StoreUnavailable("no sentinel")
    results = make_scrubber(deletions, down, healthy).scrub_many(broken + good, TOKEN)
    assert len(down.deleted) == 1
    assert outcomes({location: results[location] for location in good}) == dict.fromkeys(good, Outcome.PURGED)
    assert sorted(results[location].outcome for location in broken) == ["released"] * 4 + ["retry"]
    assert {results[location].down for location in broken} == {"a"}
    assert len(deletions.released) == 4


def test_what_is_not_begun_in_time_is_given_back(deletions, store, monkeypatch):
    monkeypatch.setattr(batch, "LONGEST", 0.0)
    locations = add(deletions, 5)
    results = make_scrubber(deletions, store).scrub_many(locations, TOKEN)
    assert sorted(result.outcome for result in results.values()) == ["purged"] + ["released"] * 4
    assert sorted(deletions.released) == sorted(
        location for location, result in results.items() if result == Result(Outcome.RELEASED)
    )
    assert all(deletions.rows[location].is_due for location in deletions.released)


def test_a_delete_that_hangs_gives_back_what_waits_behind_it_and_keeps_its_own_claim(deletions, store):
    locations = add(deletions, 5)
    scrubber = make_scrubber(deletions, store, lease=0.3)
    store.gate.clear()
    results = {}
    thread = threading.Thread(target=lambda: results.update(scrubber.scrub_many(locations, TOKEN)))
    thread.start()
    wait_for(lambda: deletions.calls["renew"] >= 2)
    assert len(deletions.released) == 4
    store.gate.set()
    thread.join()
    assert sorted(result.outcome for result in results.values()) == ["purged"] + ["released"] * 4
    assert len(store.deleted) == 1


def test_a_stop_finishes_the_delete_in_hand(deletions, store):
    locations, stop = add(deletions, 5), threading.Event()
    delete = store.delete
    store.delete = lambda key: (stop.set(), delete(key))
    results = make_scrubber(deletions, store, stop=stop).scrub_many(locations, TOKEN)
    assert sorted(result.outcome for result in results.values()) == ["purged"] + ["released"] * 4


def test_a_record_that_never_arrived_is_told_again_with_the_same_token(deletions, store):
    locations = add(deletions, 3)
    scrubber = make_scrubber(deletions, store)
    deletions.broken["done"] = Unavailable("down")
    with pytest.raises(Unavailable):
        scrubber.scrub_many(locations, TOKEN)
    deletions.broken.clear()
    results = scrubber.scrub_many(locations, TOKEN)
    assert outcomes(results) == dict.fromkeys(locations, Outcome.ALREADY_GONE)
    assert {row.status for row in deletions.rows.values()} == {"deleted"}


def test_without_an_answer_to_the_claim_nothing_is_deleted(deletions, store):
    locations = add(deletions, 3)
    deletions.broken["claim"] = OutcomeUnknown("no answer")
    with pytest.raises(OutcomeUnknown):
        make_scrubber(deletions, store).scrub_many(locations, TOKEN)
    assert store.deleted == []


def test_an_error_of_the_registry_inside_a_store_gives_the_others_back(deletions, store):
    locations = add(deletions, 3)
    store.error = Unavailable("the registry does not answer")
    with pytest.raises(Unavailable):
        make_scrubber(deletions, store).scrub_many(locations, TOKEN)
    assert len(deletions.released) == 2


def test_what_is_not_durable_is_not_recorded(deletions, store):
    """The sync at the end of the deletes fails: none of them counts (I6)."""
    locations = add(deletions, 3)

    @contextmanager
    def deletes():
        yield store.delete
        raise StoreUnavailable("the directory cannot be synced")

    store.deletes = deletes
    results = make_scrubber(deletions, store).scrub_many(locations, TOKEN)
    assert outcomes(results) == dict.fromkeys(locations, Outcome.RETRY)
    assert {row.status for row in deletions.rows.values()} == {"deleting"}


def test_a_defect_in_one_does_not_stop_the_others(deletions, store, caplog):
    locations = add(deletions, 3)
    done = deletions.done
    deletions.done_many = lambda *_: 1 / 0

    def odd(context, location, token):
        if location == locations[1]:
            raise ZeroDivisionError
        return done(context, location, token)

    deletions.done = odd
    results = make_scrubber(deletions, store).scrub_many(locations, TOKEN)
    assert outcomes(results) == {
        locations[0]: Outcome.ALREADY_GONE, locations[1]: Outcome.BROKEN, locations[2]: Outcome.ALREADY_GONE,
    }
    assert "could not be scrubbed" in caplog.text
