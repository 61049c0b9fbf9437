"""The sweep: everything that is due, whatever a single store, row or registry does."""

import logging
import threading

import pytest
from deploy.local.processes import wait_until
from tests.unit.scrubber.fakes import FakeDeletions, FakeStore, make_scrubber

from glance_common.model.errors import ROW_HELD, OutcomeUnknown, Unavailable
from glance_common.purge import Outcome
from glance_common.stores.contract import InUse, StoreUnavailable
from glance_scrubber import batch, scrub, sweep
from glance_scrubber.batch import MOST
from glance_scrubber.sweep import PAGE, Sweep


@pytest.fixture
def deletions():
    return FakeDeletions()


@pytest.fixture
def stop():
    return threading.Event()


def sweep_of(deletions, stop, *stores, **options):
    return Sweep(deletions, make_scrubber(deletions, *stores, stop=stop, **options), stop)


@pytest.mark.parametrize("pool_size", [1, 4])
def test_all_that_is_due_over_many_pages(deletions, stop, pool_size):
    count = 2 * PAGE + 7
    for _ in range(count):
        deletions.add()
    deletions.add(is_due=False)
    store = FakeStore()
    ended = sweep_of(deletions, stop, store, pool_size=pool_size).run_once()
    assert ended == {Outcome.PURGED: count}
    assert len(store.deleted) == count
    assert store.most_together <= pool_size


def test_nothing_due_is_one_question(deletions, stop):
    assert sweep_of(deletions, stop, FakeStore()).run_once() == {}
    assert deletions.calls == {"due": 1}


def test_a_store_that_is_down_is_tried_once_and_holds_up_no_other(deletions, stop, caplog):
    for _ in range(PAGE + 20):
        deletions.add("broken")
    good = [deletions.add("good") for _ in range(30)]
    broken, healthy = FakeStore("broken"), FakeStore("good")
    broken.error = StoreUnavailable("no sentinel")
    with caplog.at_level(logging.INFO):
        sweep_of(deletions, stop, broken, healthy).run_once()
    assert len(broken.deleted) == 1
    assert all(deletions.rows[location].status == "deleted" for location in good)
    assert "the oldest had been due for 5 s" in caplog.text


def test_when_all_stores_are_down_the_pass_ends(deletions, stop):
    for _ in range(5):
        deletions.add()
    store = FakeStore()
    store.error = StoreUnavailable("no sentinel")
    sweep_of(deletions, stop, store).run_once()
    assert deletions.calls["due"] == 1
    assert len(store.deleted) == 1


def test_a_row_that_stays_due_is_tried_once_in_a_pass(deletions, stop):
    location = deletions.add()
    store = FakeStore()
    store.error = InUse("cloned")
    retry = deletions.retry

    def at_once(*args, **kwargs):
        deletions.expire(location)
        return retry(*args, **kwargs)

    deletions.retry = at_once
    assert sweep_of(deletions, stop, store).run_once() == {Outcome.RETRY: 1}
    assert len(store.deleted) == 1


def test_a_registry_that_goes_away_ends_the_pass_quickly(deletions, stop):
    for _ in range(50):
        deletions.add()
    deletions.broken["claim"] = Unavailable("down")
    with pytest.raises(Unavailable):
        sweep_of(deletions, stop, FakeStore(), pool_size=2).run_once()
    assert deletions.calls["claim"] <= 2


def test_a_defect_in_one_row_does_not_stop_the_others(deletions, stop, caplog):
    locations = [deletions.add() for _ in range(5)]
    claim = deletions.claim

    def odd(context, location, token, **kwargs):
        if location == locations[2]:
            raise ZeroDivisionError
        return claim(context, location, token, **kwargs)

    deletions.claim = odd
    assert sweep_of(deletions, stop, FakeStore()).run_once() == {Outcome.PURGED: 4}
    assert "could not be scrubbed" in caplog.text


@pytest.mark.parametrize("pool_size", [1, 40])
def test_rows_that_the_registry_cannot_handle_do_not_stop_the_others(deletions, stop, pool_size):
    locations = [deletions.add() for _ in range(60)]
    deletions.poison.update(locations[::20])
    ended = sweep_of(deletions, stop, FakeStore(), pool_size=pool_size).run_once()
    assert ended == {Outcome.PURGED: 57}
    assert all(deletions.rows[location].status == "pending_delete" for location in locations[::20])


def test_a_row_that_another_request_holds_does_not_end_the_pass(deletions, stop):
    deletions.poisoned = Unavailable("another request holds the row for too long", reason=ROW_HELD)
    held, *others = [deletions.add() for _ in range(PAGE + 5)]
    deletions.poison.add(held)
    assert sweep_of(deletions, stop, FakeStore()).run_once() == {Outcome.PURGED: len(others)}
    assert deletions.rows[held].status == "pending_delete"


@pytest.mark.parametrize("count", [PAGE, 2 * PAGE + 50])
def test_rows_that_the_registry_cannot_handle_do_not_hide_newer_ones(deletions, stop, count):
    deletions.poison.update(deletions.add() for _ in range(count))
    newer = [deletions.add() for _ in range(PAGE + 5)]
    assert sweep_of(deletions, stop, FakeStore()).run_once() == {Outcome.PURGED: len(newer)}
    assert {deletions.rows[location].status for location in newer} == {"deleted"}


def test_the_registry_is_asked_for_no_more_rows_than_it_lists(deletions, stop, monkeypatch):
    monkeypatch.setattr(sweep, "MOST_DUE", PAGE + 10)
    deletions.poison.update(deletions.add() for _ in range(PAGE + 10))
    deletions.add()
    ask, limits = deletions.due, []

    def due(context, *, limit, **terms):
        limits.append(limit)
        return ask(context, limit=limit, **terms)

    deletions.due = due
    assert sweep_of(deletions, stop, FakeStore()).run_once() == {}
    assert max(limits) == PAGE + 10


def test_a_registry_that_goes_away_without_an_answer_ends_the_pass(deletions, stop):
    deletions.poison.update(deletions.add() for _ in range(3))
    ask, asked = deletions.due, []

    def once(*args, **kwargs):
        asked.append(True)
        if len(asked) > 1:
            raise Unavailable("down")
        return ask(*args, **kwargs)

    deletions.due = once
    with pytest.raises(OutcomeUnknown):
        sweep_of(deletions, stop, FakeStore()).run_once()
    assert len(asked) == 2


def test_a_slow_store_lowers_what_is_claimed_at_a_time(deletions, stop, monkeypatch):
    """Each batch begins one delete only here: what it gives back is not claimed and given back again and again."""
    monkeypatch.setattr(batch, "LONGEST", 0.0)
    monkeypatch.setattr(scrub, "LONGEST", 0.0)
    for _ in range(30):
        deletions.add()
    assert sweep_of(deletions, stop, FakeStore()).run_once() == {Outcome.PURGED: 30}
    assert len(deletions.released) == 29
    assert deletions.calls["claim"] == 59


def test_a_stop_ends_the_pass_after_what_is_in_hand(deletions, stop):
    for _ in range(20):
        deletions.add()
    store = FakeStore()
    store.gate.clear()
    sweep = sweep_of(deletions, stop, store)
    thread = threading.Thread(target=sweep.run, args=(300,))
    thread.start()
    assert store.entered.wait(60)
    stop.set()
    store.gate.set()
    thread.join(60)
    assert not thread.is_alive()
    assert len(store.deleted) == 1
    assert list(deletions.calls.items()) == [("due", 1), ("claim", 20), ("done", 1)]
    assert len(deletions.released) == 19, "the others are given back"


def test_i10_the_daemons_sweep_survives_a_registry_that_is_away(deletions, stop):
    location = deletions.add()
    deletions.broken["due"] = Unavailable("down")
    sweep = sweep_of(deletions, stop, FakeStore())
    thread = threading.Thread(target=sweep.run, args=(0.1,))
    thread.start()
    wait_until(lambda: deletions.calls["due"] >= 2, what="a try after the first error")
    deletions.broken.clear()
    try:
        wait_until(lambda: deletions.rows[location].status == "deleted", what="the removal")
    finally:
        stop.set()
        thread.join(60)


def test_a_page_that_others_work_already_is_given_up_for_a_new_one(deletions, stop, monkeypatch):
    taken = [deletions.add() for _ in range(PAGE)]
    left = [deletions.add() for _ in range(3)]
    ask = deletions.due

    def due(*args, **kwargs):
        answer = ask(*args, **kwargs)
        for location in taken:
            deletions.rows[location].is_due = False
        return answer

    monkeypatch.setattr(deletions, "due", due)
    ended = sweep_of(deletions, stop, FakeStore()).run_once()
    assert ended == {Outcome.NOT_OURS: MOST, Outcome.PURGED: len(left)}
