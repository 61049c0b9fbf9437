"""One location: nothing is deleted without a claim, nothing is recorded that did not happen."""

import logging
import threading
import time
from itertools import pairwise

import pytest
from deploy.local.processes import wait_until
from tests.unit.scrubber.fakes import FakeDeletions, FakeStore, make_scrubber

from glance_common.model.errors import NotAuthenticated, OutcomeUnknown, Unavailable
from glance_common.purge import Outcome
from glance_common.stores.contract import DeleteUnsupported, StoreForbidden, StoreUnavailable

TOKEN = "11111111-1111-4111-8111-111111111111"


@pytest.fixture
def deletions():
    return FakeDeletions()


@pytest.fixture
def store():
    return FakeStore()


def test_what_is_due_is_claimed_removed_and_recorded(deletions, store, caplog):
    location = deletions.add(request_id="req-of-the-delete")
    scrubber = make_scrubber(deletions, store)
    with caplog.at_level(logging.INFO):
        result = scrubber.scrub(location, TOKEN, request_id="req-of-the-message")
    assert result.outcome is Outcome.PURGED
    assert store.keys == set()
    assert deletions.rows[location].status == "deleted"
    assert deletions.asked == [("claim", "req-of-the-message"), ("done", "req-of-the-delete")]
    assert [record.getMessage() for record in caplog.records] == ["removal: purged"]


@pytest.mark.parametrize("reason", ["unknown", "not due", "other store"])
def test_what_is_not_ours_is_not_touched(deletions, store, reason):
    location = {
        "unknown": lambda: "22222222-2222-4222-8222-222222222222",
        "not due": lambda: deletions.add(is_due=False),
        "other store": lambda: deletions.add(store="two"),
    }[reason]()
    scrubber = make_scrubber(deletions, store)
    assert scrubber.scrub(location, TOKEN).outcome is Outcome.NOT_OURS
    assert store.deleted == []
    assert deletions.calls == {"claim": 1}


def test_only_the_stores_of_this_pass_are_worked(deletions, store):
    location = deletions.add()
    scrubber = make_scrubber(deletions, store, FakeStore("two"))
    assert scrubber.scrub(location, TOKEN, stores=["two"]).outcome is Outcome.NOT_OURS
    assert store.deleted == []


def test_bytes_that_are_gone_already_are_recorded_as_gone(deletions, store):
    location = deletions.add()
    scrubber = make_scrubber(deletions, store)
    store.keys.clear()
    assert scrubber.scrub(location, TOKEN).outcome is Outcome.ALREADY_GONE
    assert deletions.rows[location].status == "deleted"


def test_bytes_of_others_are_kept_and_the_row_is_closed(deletions, store):
    location = deletions.add()
    scrubber = make_scrubber(deletions, store)
    store.error = DeleteUnsupported("http")
    assert scrubber.scrub(location, TOKEN).outcome is Outcome.KEPT
    assert deletions.rows[location].status == "deleted"


def test_a_store_that_is_down_means_later_and_never_deleted(deletions, store):
    location = deletions.add()
    scrubber = make_scrubber(deletions, store, max_attempts=1)
    store.error = StoreUnavailable("no sentinel")
    result = scrubber.scrub(location, TOKEN)
    assert (result.outcome, result.down) == (Outcome.RETRY, "one")
    row = deletions.rows[location]
    assert (row.status, row.error, row.delay) == ("deleting", "StoreUnavailable: no sentinel", 30)
    assert deletions.calls["done"] == 0


def test_after_the_last_attempt_it_has_failed(deletions, store, caplog):
    location = deletions.add(attempts=4)
    scrubber = make_scrubber(deletions, store, max_attempts=5)
    store.error = StoreForbidden("locked")
    result = scrubber.scrub(location, TOKEN)
    assert (result.outcome, result.down) == (Outcome.FAILED, None)
    assert [record.levelname for record in caplog.records] == ["ERROR"]


@pytest.mark.parametrize("error", [OutcomeUnknown("no answer"), Unavailable("down"), NotAuthenticated("secret")])
def test_without_an_answer_to_the_claim_nothing_is_deleted(deletions, store, error):
    location = deletions.add()
    scrubber = make_scrubber(deletions, store)
    deletions.broken["claim"] = error
    with pytest.raises(type(error)):
        scrubber.scrub(location, TOKEN)
    assert store.deleted == []


@pytest.mark.parametrize("call", ["claim", "done"])
def test_a_lost_answer_is_made_good_by_the_same_token(deletions, store, call):
    location = deletions.add()
    scrubber = make_scrubber(deletions, store)
    deletions.broken[call], deletions.late = OutcomeUnknown("no answer"), True
    with pytest.raises(OutcomeUnknown):
        scrubber.scrub(location, TOKEN)
    deletions.broken.clear()
    expected = Outcome.PURGED if call == "claim" else Outcome.NOT_OURS
    assert scrubber.scrub(location, TOKEN).outcome is expected
    assert deletions.rows[location].status == "deleted"
    assert len(store.deleted) == 1


def test_a_done_that_never_arrived_is_said_again(deletions, store):
    location = deletions.add()
    scrubber = make_scrubber(deletions, store)
    deletions.broken["done"] = Unavailable("down")
    with pytest.raises(Unavailable):
        scrubber.scrub(location, TOKEN)
    assert deletions.rows[location].status == "deleting"
    deletions.broken.clear()
    assert scrubber.scrub(location, TOKEN).outcome is Outcome.ALREADY_GONE
    assert deletions.rows[location].status == "deleted"


def test_an_error_of_the_registry_inside_the_store_is_not_the_stores(deletions, store):
    location = deletions.add()
    scrubber = make_scrubber(deletions, store)
    store.error = Unavailable("the registry does not answer")
    with pytest.raises(Unavailable):
        scrubber.scrub(location, TOKEN)
    assert deletions.calls["retry"] == 0


def test_the_claim_is_renewed_while_the_store_takes_its_time(deletions, store):
    location, lease, renewals = deletions.add(), 0.9, []
    renew = deletions.renew

    def noted(*args, **kwargs):
        renewals.append(time.monotonic())
        return renew(*args, **kwargs)

    deletions.renew = noted
    scrubber = make_scrubber(deletions, store, lease=lease)
    store.gate.clear()
    thread = threading.Thread(target=scrubber.scrub, args=(location, TOKEN), kwargs={"request_id": "req-1"})
    began = time.monotonic()
    thread.start()
    wait_until(lambda: len(renewals) >= 6, what="six renewals")
    store.gate.set()
    thread.join()
    assert renewals[5] - began > 2 * lease - 0.1, "no more than three times within the lease"
    # The shortest pause of them all: a machine may be late now and then.
    assert min(later - earlier for earlier, later in pairwise(renewals)) < lease / 2, "nor less"
    assert ("renew", "req-1") in deletions.asked
    assert deletions.rows[location].status == "deleted"


def test_a_registry_that_is_away_for_a_renewal_does_not_end_the_removal(deletions, store, caplog):
    location = deletions.add()
    scrubber = make_scrubber(deletions, store, lease=0.15)
    deletions.broken["renew"] = Unavailable("down")
    store.gate.clear()
    thread = threading.Thread(target=scrubber.scrub, args=(location, TOKEN))
    thread.start()
    wait_until(lambda: "was not renewed: down" in caplog.text, what="a renewal that fails")
    store.gate.set()
    thread.join()
    assert deletions.rows[location].status == "deleted"


def test_a_claim_that_another_took_over_does_no_harm(deletions, store):
    location = deletions.add()
    slow, quick = make_scrubber(deletions, store), make_scrubber(deletions, store)
    store.gate.clear()
    results = []
    threads = [
        threading.Thread(target=lambda token=token, one=one: results.append(one.scrub(location, token).outcome))
        for token, one in (("a", slow), ("b", quick))
    ]
    threads[0].start()
    assert store.entered.wait(60)
    deletions.expire(location)
    threads[1].start()
    wait_until(lambda: store.together == 2, what="both in the store")
    store.gate.set()
    for thread in threads:
        thread.join()
    assert deletions.rows[location].status == "deleted"
    assert Outcome.NOT_OURS in results
    assert len(results) == 2


def test_after_a_stop_nothing_is_begun_also_by_those_that_waited_for_their_turn(deletions, store):
    locations = [deletions.add() for _ in range(3)]
    stop = threading.Event()
    scrubber = make_scrubber(deletions, store, stop=stop)
    store.gate.clear()
    results = []
    threads = [
        threading.Thread(target=lambda location=location: results.append(scrubber.scrub(location, TOKEN).outcome))
        for location in locations
    ]
    for thread in threads:
        thread.start()
    assert store.entered.wait(60)
    stop.set()
    store.gate.set()
    for thread in threads:
        thread.join()
    assert sorted(results) == [Outcome.PURGED, Outcome.STOPPED, Outcome.STOPPED]
    assert deletions.calls["claim"] == 1


def test_no_more_than_the_pool_size_at_the_same_time(deletions, store):
    locations = [deletions.add() for _ in range(12)]
    scrubber = make_scrubber(deletions, store, pool_size=3)
    store.gate.clear()
    threads = [threading.Thread(target=scrubber.scrub, args=(location, location)) for location in locations]
    for thread in threads:
        thread.start()
    wait_until(lambda: store.together == 3, what="three in the store")
    time.sleep(0.1)
    store.gate.set()
    for thread in threads:
        thread.join()
    assert store.most_together == 3
    assert store.keys == set()
