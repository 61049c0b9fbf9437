"""Many locations together: one that fails does not fail the others, and nothing is held that is not worked."""

import threading
from contextlib import contextmanager

import pytest
from tests.support.waiting import wait_for
from tests.unit.scrubber.fakes import FakeDeletions, FakeStore, make_scrubber

from glance_common.model.errors import ROW_HELD, OutcomeUnknown, Unavailable
from glance_common.purge import Outcome
from glance_common.stores.contract import DeleteUnsupported, InUse, StoreForbidden, StoreUnavailable
from glance_scrubber import batch, scrub
from glance_scrubber.scrub import Batch, Result


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


def scrubbed(scrubber, together):
    """Scrub, again while something is left, and return how all ended."""
    scrubber.scrub_many(together)
    if together.left:
        scrubber.scrub_many(together)
    assert together.left == []
    return together.results


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
    results = scrubbed(make_scrubber(deletions, store), Batch(locations))
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
    results = scrubbed(scrubber, Batch([good, cloned, locked, kept, gone, other]))
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
    results = scrubbed(make_scrubber(deletions, down, healthy), Batch(broken + good))
    assert len(down.deleted) == 1
    assert outcomes({location: results[location] for location in good}) == dict.fromkeys(good, Outcome.PURGED)
    assert sorted(results[location].outcome for location in broken) == ["released"] * 4 + ["retry"]
    assert {results[location].down for location in broken} == {"a"}
    assert len(deletions.released) == 4


def test_a_store_that_is_down_is_asked_once_beside_an_older_registry(deletions):
    deletions.is_older = True
    broken, good = add(deletions, 5, "a"), add(deletions, 5, "b")
    down, healthy = FakeStore("a"), FakeStore("b")
    down.error = StoreUnavailable("no sentinel")
    results = scrubbed(make_scrubber(deletions, down, healthy), Batch(broken + good))
    assert len(down.deleted) == 1
    assert outcomes({location: results[location] for location in good}) == dict.fromkeys(good, Outcome.PURGED)
    assert sorted(results[location].outcome for location in broken) == ["not ours"] * 4 + ["retry"]


def test_what_is_not_begun_in_time_is_given_back(deletions, store, monkeypatch):
    monkeypatch.setattr(batch, "LONGEST", 0.0)
    locations = add(deletions, 5)
    results = scrubbed(make_scrubber(deletions, store), Batch(locations))
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
    thread = threading.Thread(target=lambda: results.update(scrubbed(scrubber, Batch(locations))))
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
    results = scrubbed(make_scrubber(deletions, store, stop=stop), Batch(locations))
    assert sorted(result.outcome for result in results.values()) == ["purged"] + ["released"] * 4


def test_a_record_that_never_arrived_is_told_again_with_the_same_token(deletions, store):
    locations = add(deletions, 3)
    scrubber, together = make_scrubber(deletions, store), Batch(locations)
    deletions.broken["done"] = Unavailable("down")
    with pytest.raises(Unavailable):
        scrubbed(scrubber, together)
    deletions.broken.clear()
    results = scrubbed(scrubber, together)
    assert outcomes(results) == dict.fromkeys(locations, Outcome.ALREADY_GONE)
    assert {row.status for row in deletions.rows.values()} == {"deleted"}


def test_without_an_answer_to_the_claim_nothing_is_deleted(deletions, store):
    locations = add(deletions, 3)
    deletions.broken = dict.fromkeys(("claim", "due"), OutcomeUnknown("no answer"))
    with pytest.raises(OutcomeUnknown):
        make_scrubber(deletions, store).scrub_many(Batch(locations))
    assert store.deleted == []


def test_an_error_of_the_registry_inside_a_store_gives_the_others_back(deletions, store):
    locations = add(deletions, 3)
    store.error = Unavailable("the registry does not answer")
    with pytest.raises(Unavailable):
        scrubbed(make_scrubber(deletions, store), Batch(locations))
    assert len(deletions.released) == 2


def test_what_is_not_durable_is_not_recorded(deletions, store):
    """The sync at the end of the deletes fails: none of them counts (I6)."""
    locations = add(deletions, 3)

    @contextmanager
    def deletes():
        yield store.delete
        raise StoreUnavailable("the directory cannot be synced")

    store.deletes = deletes
    results = scrubbed(make_scrubber(deletions, store), Batch(locations))
    assert outcomes(results) == dict.fromkeys(locations, Outcome.RETRY)
    assert {row.status for row in deletions.rows.values()} == {"deleting"}


@pytest.mark.parametrize("error", [
    OutcomeUnknown("an error of the registry"), Unavailable("another request holds the row", reason=ROW_HELD),
], ids=["unclear", "row held"])
@pytest.mark.parametrize("when", ["at the claim", "at the record"])
def test_one_that_the_registry_cannot_handle_does_not_hold_the_others(deletions, store, when, error):
    deletions.poisoned = error
    locations = add(deletions, 5)
    odd = locations[2]
    scrubber, delete = make_scrubber(deletions, store), store.delete
    if when == "at the claim":
        deletions.poison.add(odd)
    else:
        store.delete = lambda key: (delete(key), deletions.poison.add(odd))
    results = scrubbed(scrubber, Batch(locations))
    others = [location for location in locations if location != odd]
    assert outcomes(results) == dict.fromkeys(others, Outcome.PURGED) | {odd: Outcome.BROKEN}
    assert {deletions.rows[location].status for location in others} == {"deleted"}
    assert len(store.deleted) == (4 if when == "at the claim" else 5)


def test_a_failure_that_the_registry_cannot_note_does_not_hold_the_others(deletions, store):
    bad, good = add(deletions, 2)
    scrubber = make_scrubber(deletions, store)
    fail(store, {deletions.rows[bad].key: InUse("cloned")})
    deletions.broken["retry"] = OutcomeUnknown("an error of the registry")
    assert outcomes(scrubbed(scrubber, Batch([bad, good]))) == {bad: Outcome.BROKEN, good: Outcome.PURGED}


@pytest.mark.parametrize("count", [1, 3])
def test_nothing_is_given_up_while_the_registry_does_not_work(deletions, store, count):
    """An answer that got lost is the first sign of a registry that dies."""
    locations = add(deletions, count)
    scrubber, together = make_scrubber(deletions, store), Batch(locations)
    deletions.poison.update(locations)
    deletions.broken["due"] = Unavailable("down")
    for _ in range(3):
        with pytest.raises(OutcomeUnknown):
            scrubber.scrub_many(together)
    deletions.broken.clear()
    scrubber.scrub_many(together)
    assert len(together.left) == count, "once may have been the end of the outage"
    deletions.poison.clear()
    assert outcomes(scrubbed(scrubber, together)) == dict.fromkeys(locations, Outcome.PURGED)


@pytest.mark.parametrize("count", [1, 3])
def test_what_the_registry_cannot_handle_twice_while_it_works_is_given_up(deletions, store, count):
    locations = add(deletions, count)
    deletions.poison.update(locations)
    results = scrubbed(make_scrubber(deletions, store), Batch(locations))
    assert outcomes(results) == dict.fromkeys(locations, Outcome.BROKEN)


def test_what_ended_before_the_registry_went_away_is_not_done_again(deletions, store):
    locations = add(deletions, 4)
    scrubber, together = make_scrubber(deletions, store), Batch(locations)
    deletions.poison.add(locations[2])
    claim = deletions.claim

    def claimed(context, location, token, **terms):
        if location == locations[2]:
            deletions.broken["claim"] = Unavailable("down")
        return claim(context, location, token, **terms)

    deletions.claim = claimed
    with pytest.raises(Unavailable):
        scrubbed(scrubber, together)
    assert outcomes(together.results) == dict.fromkeys(locations[:2], Outcome.PURGED)
    deletions.claim = claim
    deletions.broken.clear()
    deletions.poison.clear()
    assert outcomes(scrubbed(scrubber, together)) == dict.fromkeys(locations, Outcome.PURGED)
    assert len(store.deleted) == 4


def test_a_release_that_arrives_late_ends_no_claim(deletions, store):
    """What was given back is never claimed with the token of the release again, which may end that claim."""
    locations = add(deletions, 5)
    scrubber, together = make_scrubber(deletions, store, lease=0.3), Batch(locations)
    release, late = deletions.release, []
    deletions.release = lambda *asked: late.append(asked)
    store.gate.clear()
    deletions.broken["done"] = Unavailable("down")
    raised = []

    def work():
        with pytest.raises(Unavailable):
            scrubbed(scrubber, together)
        raised.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    wait_for(lambda: late)
    store.gate.set()
    thread.join()
    assert raised
    deletions.broken.clear()
    held = {location for location, row in deletions.rows.items() if row.token == together.token}
    assert held == set(locations)
    results = scrubbed(scrubber, together)
    assert sorted(result.outcome for result in results.values()) == ["already gone"] + ["released"] * 4
    for location in late[0][1]:
        deletions.expire(location)
    again = scrubbed(scrubber, Batch(late[0][1]))
    for asked in late:
        release(*asked)
    assert outcomes(again) == dict.fromkeys(late[0][1], Outcome.PURGED)
    assert deletions.released == []
    assert len(store.deleted) == 6


def test_with_a_registry_of_the_release_before_one_claim_is_held_at_a_time(deletions, store, monkeypatch):
    deletions.is_older = True
    locations = add(deletions, 4)
    held = []
    scrubber, delete = make_scrubber(deletions, store), store.delete

    def noted(key):
        held.append(sum(row.status == "deleting" for row in deletions.rows.values()))
        delete(key)

    store.delete = noted
    assert outcomes(scrubbed(scrubber, Batch(locations))) == dict.fromkeys(locations, Outcome.PURGED)
    assert held == [1] * 4
    monkeypatch.setattr(scrub, "LONGEST", 0.0)
    slow = [deletions.add() for _ in range(3)]
    store.keys |= {deletions.rows[location].key for location in slow}
    results = scrubbed(scrubber, Batch(slow))
    assert [results[location].outcome for location in slow] == [Outcome.PURGED, Outcome.RELEASED, Outcome.RELEASED]
    assert [deletions.rows[location].status for location in slow] == ["deleted", "pending_delete", "pending_delete"]
    assert deletions.released == [], "nothing was claimed that had to be given back"


def test_the_size_of_a_batch_follows_the_time_it_takes():
    done, left = Result(Outcome.PURGED), Result(Outcome.RELEASED)
    assert scrub.next_size(50, [done, left], 0.1) == 1
    assert scrub.next_size(50, [done, Result(Outcome.RELEASED, down="fast")], 0.1) == 50
    assert scrub.next_size(1, [done], 0.1) == 2
    assert scrub.next_size(1, [done], batch.LONGEST / 2) == 1
    assert scrub.next_size(4, [done] * 3, 0.1) == 4
    assert scrub.next_size(32, [done] * 32, 0.1) == batch.MOST


def test_a_defect_in_one_does_not_stop_the_others(deletions, store, caplog):
    locations = add(deletions, 3)
    done = deletions.done
    deletions.done_many = lambda *_: 1 / 0

    def odd(context, location, token):
        if location == locations[1]:
            raise ZeroDivisionError
        return done(context, location, token)

    deletions.done = odd
    results = scrubbed(make_scrubber(deletions, store), Batch(locations))
    assert outcomes(results) == {
        locations[0]: Outcome.ALREADY_GONE, locations[1]: Outcome.BROKEN, locations[2]: Outcome.ALREADY_GONE,
    }
    assert "could not be scrubbed" in caplog.text
