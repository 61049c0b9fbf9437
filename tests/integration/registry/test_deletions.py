"""Claims: who may remove bytes, and how it ended."""

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from tests.support.owners import LEASE, MOST_OF_LEASE, Owners, new_id

from glance_common.model import errors
from glance_registry.db.session import Statistics, statistics
from glance_registry.db.tables import images, locations
from glance_registry.records.rows import lock_image

HOUR = 3600


def reason(owners: Owners, location: str, **options: Any) -> str:
    """Return why a claim is refused."""
    with pytest.raises(errors.Conflict) as caught:
        owners.claim(location, **options)
    return str(caught.value.details["reason"])


def deleted(owners: Owners) -> tuple[str, str]:
    """Return an image in pending_delete and its location."""
    image, location = owners.active()
    owners.delete(image)
    return image, location


def test_claim_gives_what_a_scrubber_needs(owners: Owners) -> None:
    image, location = deleted(owners)
    token = new_id()
    assert owners.claim(location, token) == {
        "location": location, "image_id": image, "store": "fast", "key": image, "token": token, "attempts": 0,
        "request_id": "req-owner",
    }
    assert owners.statuses(image) == ("pending_delete", ["deleting"])


def test_claim_again_with_the_same_token_answers_the_same_and_prolongs(owners: Owners) -> None:
    _, location = deleted(owners)
    token = new_id()
    first = owners.claim(location, token)
    owners.pass_time(MOST_OF_LEASE)
    assert owners.claim(location, token) == first
    owners.pass_time(MOST_OF_LEASE)
    assert owners.due()[0] == []
    owners.renew_claim(location, token)
    assert owners.claim(location, token) == first


def test_the_usual_removal_is_three_statements_and_a_refusal_one(owners: Owners) -> None:
    _, location = deleted(owners)

    def statements(work: Callable[[], Any]) -> tuple[Any, int]:
        counted = Statistics()
        mark = statistics.set(counted)
        try:
            return work(), counted.statements
        finally:
            statistics.reset(mark)

    owners.purge(deleted(owners)[1])  # prepares the statements
    assert reason(owners, location, stores=["slow"]) == "other_store"
    claim, count = statements(lambda: owners.claim(location))
    assert count == 2
    assert statements(lambda: reason(owners, location)) == ("claimed", 1)
    assert statements(lambda: owners.done(location, claim["token"])) == (True, 1)
    assert statements(lambda: reason(owners, location)) == ("gone", 1)


def test_a_refusal_waits_for_nobody(owners: Owners) -> None:
    image, location = deleted(owners)
    owners.claim(location)
    with owners.engine.begin() as connection:
        assert lock_image(connection, images.c.id == image) is not None
        assert reason(owners, location) == "claimed"


def test_claim_of_an_unknown_location_is_not_found(owners: Owners) -> None:
    with pytest.raises(errors.NotFound):
        owners.claim(new_id())


def test_refusals_say_why(owners: Owners) -> None:
    _, active = owners.active()
    assert reason(owners, active) == "in_use"
    _, claimed = deleted(owners)
    assert reason(owners, claimed, stores=["slow"]) == "other_store"
    assert reason(owners, claimed, stores=[]) == "other_store"
    owners.claim(claimed, stores=["slow", "fast"])
    assert reason(owners, claimed) == "claimed"
    writing = owners.start(owners.create()).id
    assert reason(owners, writing) == "writing"
    _, waiting = deleted(owners)
    owners.retry(waiting, owners.claim(waiting)["token"], delay=30)
    assert reason(owners, waiting) == "not_due"
    _, broken = deleted(owners)
    owners.retry(broken, owners.claim(broken)["token"], max_attempts=1)
    assert reason(owners, broken) == "failed"
    _, gone = deleted(owners)
    owners.purge(gone)
    assert reason(owners, gone) == "gone"


def test_expired_claim_is_taken_over_and_its_holder_is_told(owners: Owners) -> None:
    image, location = deleted(owners)
    first = owners.claim(location)["token"]
    owners.pass_time(LEASE + 1)
    second = owners.claim(location)["token"]
    for call in (owners.done, owners.renew_claim, owners.retry):
        with pytest.raises(errors.Gone):
            call(location, first)
    assert owners.done(location, second) is True
    assert owners.statuses(image) == ("deleted", ["deleted"])


def test_done_after_the_lease_counts_when_nobody_took_over(owners: Owners) -> None:
    _, location = deleted(owners)
    token = owners.claim(location)["token"]
    owners.pass_time(1000 * LEASE)
    assert owners.done(location, token) is True


def test_done_again_answers_the_same(owners: Owners) -> None:
    image, location = deleted(owners)
    token = owners.claim(location)["token"]
    assert owners.done(location, token) is True
    before = owners.image(image), owners.location(location)
    assert owners.done(location, token) is True
    assert (owners.image(image), owners.location(location)) == before


def test_done_needs_the_claim(owners: Owners) -> None:
    image, location = deleted(owners)
    for identifier in (location, new_id()):
        with pytest.raises(errors.Gone):
            owners.done(identifier, new_id())
    assert owners.statuses(image) == ("pending_delete", ["pending_delete"])


def test_renew_needs_the_claim(owners: Owners) -> None:
    _, location = deleted(owners)
    token = owners.claim(location)["token"]
    owners.renew_claim(location, token)
    with pytest.raises(errors.Gone):
        owners.renew_claim(location, new_id())
    owners.done(location, token)
    with pytest.raises(errors.Gone):
        owners.renew_claim(location, token)


def test_renewed_claim_is_not_taken_over(owners: Owners) -> None:
    _, location = deleted(owners)
    token = owners.claim(location)["token"]
    owners.pass_time(MOST_OF_LEASE)
    owners.renew_claim(location, token)
    owners.pass_time(MOST_OF_LEASE)
    assert reason(owners, location) == "claimed"


def test_dead_writer_is_reaped_and_its_image_free_again(owners: Owners) -> None:
    image = owners.create()
    row = owners.start(image, size=3)
    owners.pass_time(LEASE + 1)
    assert owners.due()[0] == [row.id]
    token = owners.claim(row.id)["token"]
    assert owners.statuses(image) == ("queued", ["reaping"])
    assert owners.image(image).size is None
    assert owners.done(row.id, token) is False
    assert owners.statuses(image) == ("queued", ["deleted"])


def test_key_of_a_dead_writer_is_deleted_again_after_an_hour_and_a_day(owners: Owners) -> None:
    row = owners.start(owners.create())
    owners.pass_time(LEASE + 1)
    owners.purge(row.id)
    for wait, left in ((HOUR, 1), (23 * HOUR, 0)):
        owners.pass_time(wait - 60)
        assert reason(owners, row.id) == "not_due"
        owners.pass_time(61)
        assert owners.due()[0] == [row.id]
        token = owners.claim(row.id)["token"]
        assert reason(owners, row.id) == "claimed"
        assert owners.done(row.id, token) is False
        assert owners.done(row.id, token) is False
        assert owners.location(row.id).late_passes == left
    owners.pass_time(1000 * HOUR)
    assert owners.due()[0] == []
    assert reason(owners, row.id) == "gone"


def test_late_passes_do_not_keep_the_image(owners: Owners) -> None:
    image = owners.create()
    row = owners.start(image)
    owners.delete(image)
    owners.pass_time(LEASE + 1)
    assert owners.purge(row.id) is True
    owners.pass_time(HOUR + 1)
    assert owners.purge(row.id) is True
    assert owners.image(image).status == "deleted"


def test_key_of_an_expired_claim_has_no_next_owner_before_its_holder_must_have_ended(owners: Owners) -> None:
    """A remover that was stopped past its lease wakes up and deletes the key: nobody else's bytes may be under it."""
    image = owners.create()
    row = owners.start(image)
    owners.abort(row.attempt)
    owners.pass_time(LEASE + 1)
    owners.purge(row.id)
    assert owners.location(row.id).late_passes == 2
    assert owners.start(image).key == f"{image}.1"


def test_retry_waits_counts_and_keeps_the_error(owners: Owners) -> None:
    image, location = deleted(owners)
    token = owners.claim(location)["token"]
    assert owners.retry(location, token, delay=300) == ("deleting", 1)
    row = owners.location(location)
    assert (row.attempts, row.last_error, row.lease_until) == (1, "disk on fire", None)
    owners.pass_time(240)
    assert reason(owners, location) == "not_due"
    owners.pass_time(61)
    claim = owners.claim(location)
    assert claim["attempts"] == 1
    assert owners.done(location, claim["token"]) is True
    # The claim was given back, so nobody can wake up with it.
    assert owners.location(location).late_passes == 0
    assert owners.statuses(image) == ("deleted", ["deleted"])


def test_retry_again_counts_once(owners: Owners) -> None:
    _, location = deleted(owners)
    token = owners.claim(location)["token"]
    assert owners.retry(location, token) == owners.retry(location, token) == ("deleting", 1)


def test_removal_fails_after_so_many_attempts(owners: Owners) -> None:
    image, location = deleted(owners)
    for expected in (("deleting", 1), ("deleting", 2), ("failed", 3)):
        token = owners.claim(location)["token"]
        assert owners.retry(location, token, delay=0, max_attempts=3) == expected
    assert owners.retry(location, token, delay=0, max_attempts=3) == ("failed", 3)
    assert owners.due()[0] == []
    assert owners.statuses(image) == ("pending_delete", ["failed"])
    with pytest.raises(errors.Gone):
        owners.done(location, token)


def test_failed_rows_are_listed_in_pages(owners: Owners) -> None:
    expected = []
    for _ in range(3):
        image, location = deleted(owners)
        owners.retry(location, owners.claim(location)["token"], max_attempts=1)
        expected.append((location, image))
    expected.sort()
    first = owners.failed(limit=2)
    rest = owners.failed(limit=2, marker=first[-1]["location"])
    assert [(row["location"], row["image_id"]) for row in first + rest] == expected
    assert {(row["store"], row["attempts"], row["last_error"], row["status"]) for row in first} == {
        ("fast", 1, "disk on fire", "failed")
    }


def test_replay_makes_a_failed_row_claimable_now(owners: Owners) -> None:
    image, location = deleted(owners)
    owners.retry(location, owners.claim(location)["token"], max_attempts=1)
    row = owners.replay(location)
    assert (row["status"], row["attempts"], row["last_error"]) == ("deleting", 0, "disk on fire")
    assert owners.failed() == []
    assert owners.due()[0] == [location]
    assert owners.purge(location) is True
    assert owners.image(image).status == "deleted"


def test_replay_of_a_failed_upload_reaps_it(owners: Owners) -> None:
    image = owners.create()
    row = owners.start(image)
    owners.abort(row.attempt)
    owners.retry(row.id, row.attempt, max_attempts=1)
    assert owners.replay(row.id)["status"] == "reaping"
    assert owners.purge(row.id) is False
    assert owners.statuses(image) == ("queued", ["deleted"])


def test_replay_again_answers_the_row_at_every_later_stage(owners: Owners) -> None:
    _, location = deleted(owners)
    owners.retry(location, owners.claim(location)["token"], max_attempts=1)
    attempt = new_id()
    first = owners.replay(location, attempt)
    assert owners.replay(location, attempt) == first
    token = owners.claim(location)["token"]
    assert owners.replay(location, attempt)["status"] == "deleting"
    owners.done(location, token)
    assert owners.replay(location, attempt)["status"] == "deleted"


def test_replay_of_bytes_in_use_is_refused(owners: Owners) -> None:
    _, location = owners.active()
    with pytest.raises(errors.Conflict):
        owners.replay(location)
    with pytest.raises(errors.NotFound):
        owners.replay(new_id())


def test_late_pass_that_keeps_failing_is_given_up(owners: Owners) -> None:
    row = owners.start(owners.create())
    owners.pass_time(LEASE + 1)
    owners.purge(row.id)
    for wait, left in ((HOUR + 1, 1), (23 * HOUR + 1, 0)):
        owners.pass_time(wait)
        token = owners.claim(row.id)["token"]
        assert owners.retry(row.id, token, delay=0, max_attempts=2) == ("deleted", 1)
        token = owners.claim(row.id)["token"]
        assert owners.retry(row.id, token, max_attempts=2) == ("deleted", 0)
        assert owners.location(row.id).late_passes == left
    assert owners.due()[0] == []


def test_failed_row_of_a_dead_writer_is_not_due_for_a_late_pass(owners: Owners) -> None:
    row = owners.start(owners.create())
    owners.pass_time(LEASE + 1)
    owners.retry(row.id, owners.claim(row.id)["token"], max_attempts=1)
    owners.pass_time(100 * HOUR)
    assert owners.due()[0] == []
    assert reason(owners, row.id) == "failed"


def test_due_lists_the_oldest_first_with_its_age(owners: Owners) -> None:
    locations = []
    for _ in range(3):
        locations.append(deleted(owners)[1])
        owners.pass_time(100)
    ids, oldest = owners.due()
    assert ids == locations
    assert 300 <= oldest < 390
    assert owners.due(limit=2)[0] == locations[:2]


def test_due_asks_only_for_the_scrubbers_stores(owners: Owners) -> None:
    image = owners.create()
    location = owners.upload(image, store="slow")
    owners.delete(image)
    assert owners.due(stores=["fast"]) == ([], 0.0)
    assert owners.due(stores=[]) == ([], 0.0)
    assert owners.due(stores=["fast", "slow"])[0] == [location]


def test_due_is_what_a_claim_accepts(owners: Owners) -> None:
    """Every kind of row at once: those listed can be claimed, the others cannot."""
    owners.active()
    owners.start(owners.create())
    deleted(owners)
    claimed = deleted(owners)[1]
    owners.claim(claimed, lease=5000)
    delayed, _ = owners.active()
    owners.delete(delayed, delayed=True, scrub_time=7000)
    for lease in (10, 5000):
        owners.start(owners.create(), lease=lease)
        owners.abort(owners.start(owners.create()).attempt, lease=lease)
        owners.start(image := owners.create(), lease=lease)
        owners.delete(image, delayed=lease == 10, scrub_time=100)
    owners.pass_time(1000)
    due = set(owners.due()[0])
    with owners.engine.connect() as connection:
        everything = set(connection.scalars(sa.select(locations.c.id)))
    accepted = set()
    for location in everything:
        try:
            owners.claim(location)
        except errors.Conflict:
            continue
        accepted.add(location)
    assert due == accepted
    assert due
    assert due != everything
