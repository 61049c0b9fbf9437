"""The purge of one location: what follows from each end of a deletion, and what is recorded."""

import logging
from uuid import uuid4

import pytest
from tests.support.waiting import wait_for
from tests.unit.scrubber.fakes import FakeDeletions, FakeStore

from glance_common.leases import LeaseKeeper
from glance_common.model.context import RequestContext
from glance_common.model.errors import Gone, Unavailable
from glance_common.model.image import Deletion
from glance_common.observability.log_context import request_id
from glance_common.purge import Outcome, Purger, Verdict, error_text, judge
from glance_common.stores import contract

CONTEXT = RequestContext("req-of-the-purge")
TOKEN = "11111111-1111-4111-8111-111111111111"
LATER = Verdict(Outcome.RETRY, "later", 60, 5)


@pytest.fixture
def deletions():
    return FakeDeletions()


@pytest.fixture
def store():
    return FakeStore()


@pytest.fixture
def purger(deletions, store):
    return Purger(deletions, {"one": store}.__getitem__, lambda error, attempts: LATER, LeaseKeeper(120))


def due(deletions, store, **values):
    location = deletions.add(**values)
    store.keys.add(deletions.rows[location].key)
    return location


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (None, Outcome.PURGED),
        (contract.BlobNotFound("k"), Outcome.ALREADY_GONE),
        (contract.DeleteUnsupported("k"), Outcome.KEPT),
        *((error, Outcome.RETRY) for error in (
            contract.StoreUnavailable("down"), contract.WriteDenied("read-only"), contract.InUse("cloned"),
            contract.StoreForbidden("locked"), contract.BadLocation("odd"), contract.UnknownStore("gone"),
            OSError("disk"), ZeroDivisionError(),
        )),
    ],
)
def test_every_end_of_a_deletion_has_an_outcome(error, outcome):
    asked = []

    def on_failure(raised, attempts):
        asked.append((raised, attempts))
        return LATER

    assert judge(error, 3, on_failure).outcome is outcome
    assert asked == ([(error, 3)] if outcome is Outcome.RETRY else [])


def test_s75_texts_of_unknown_errors_are_not_repeated():
    try:
        raise ValueError("swift://account:secret@host/container")
    except ValueError as error:
        text = error_text(error)
    assert "secret" not in text
    assert "ValueError at test_purge.py:" in text
    assert error_text(contract.StoreUnavailable("no sentinel")) == "StoreUnavailable: no sentinel"


def test_a_purge_claims_deletes_and_records_for_the_request_that_deleted(deletions, store, purger):
    location = due(deletions, store, request_id="req-of-the-delete")
    seen = []
    delete = store.delete
    store.delete = lambda key: (seen.append(request_id.get()), delete(key))
    purged = purger.purge(CONTEXT, location, TOKEN, stores=["one"])
    assert (purged.outcome, purged.deletion.location) == (Outcome.PURGED, location)
    assert purged.seconds >= 0
    assert store.keys == set()
    assert deletions.rows[location].status == "deleted"
    assert deletions.asked == [("claim", "req-of-the-purge"), ("done", "req-of-the-delete")]
    assert seen == ["req-of-the-delete"]


def test_what_cannot_be_claimed_is_not_touched(deletions, store, purger):
    location = due(deletions, store, is_due=False)
    assert purger.purge(CONTEXT, location, TOKEN, stores=["one"]) is None
    assert store.deleted == []


def test_a_failure_is_recorded_as_the_caller_says(deletions, store, purger):
    location = due(deletions, store, attempts=1)
    store.error = contract.InUse("cloned")
    purged = purger.purge(CONTEXT, location, TOKEN, stores=["one"])
    assert (purged.outcome, purged.verdict) == (Outcome.RETRY, LATER)
    row = deletions.rows[location]
    assert (row.status, row.error, row.delay, row.attempts) == ("deleting", "later", 60, 2)


def test_a_claim_that_is_left_is_neither_ended_nor_given_back(deletions, store):
    location = due(deletions, store)
    store.error = contract.StoreUnavailable("down")
    purger = Purger(
        deletions, {"one": store}.__getitem__, lambda error, _: Verdict(Outcome.LEFT, str(error)), LeaseKeeper(120)
    )
    purged = purger.purge(CONTEXT, location, TOKEN, stores=["one"])
    assert (purged.outcome, purged.verdict.error) == (Outcome.LEFT, "down")
    assert deletions.calls == {"claim": 1}
    assert deletions.rows[location].status == "deleting"


def test_what_is_claimed_already_is_only_deleted_and_recorded(deletions, store, purger):
    location = due(deletions, store)
    row = deletions.rows[location]
    row.status, row.token = "deleting", TOKEN
    purged = purger.finish(CONTEXT, Deletion(location, "image", "one", row.key, TOKEN, 0, None))
    assert purged.outcome is Outcome.PURGED
    assert deletions.asked == [("done", "req-of-the-purge")]


@pytest.mark.parametrize("error", [None, contract.InUse("cloned")])
def test_a_claim_that_another_process_took_over_is_its_own(deletions, store, purger, error):
    location = due(deletions, store)
    store.error = error
    deletions.broken = {"done": Gone("another's"), "retry": Gone("another's")}
    assert purger.purge(CONTEXT, location, TOKEN, stores=["one"]).outcome is Outcome.NOT_OURS


def test_an_error_of_the_registry_inside_a_store_goes_up(deletions, store, purger):
    location = due(deletions, store)
    store.error = Unavailable("the registry does not answer")
    with pytest.raises(Unavailable):
        purger.purge(CONTEXT, location, TOKEN, stores=["one"])
    assert deletions.calls == {"claim": 1}


def test_a_claim_that_runs_out_while_the_store_works_is_logged_and_the_deletion_ends(deletions, store, caplog):
    location = due(deletions, store)
    deletions.broken = {"renew": Gone("another's")}
    delete = store.delete

    def slow(key):
        wait_for(lambda: not leases._kept)
        delete(key)

    store.delete, leases = slow, LeaseKeeper(0.03)
    purger = Purger(deletions, {"one": store}.__getitem__, lambda *_: LATER, leases)
    with caplog.at_level(logging.WARNING):
        assert purger.purge(CONTEXT, location, str(uuid4()), stores=["one"]).outcome is Outcome.PURGED
    assert f"the claim on location {location} ran out" in caplog.text
