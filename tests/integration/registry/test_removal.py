"""Delete of images: what is hidden, what waits, what is due."""

from typing import Any

import pytest
from tests.support.owners import ADMIN, LEASE, Owners, new_id

from glance_common.model import errors
from glance_common.model.context import RequestContext
from glance_common.model.status import ImageStatus

STRANGER = RequestContext(request_id="req-stranger", project_id="other")


def test_delete_without_data_is_final_at_once(owners: Owners) -> None:
    image = owners.create()
    assert owners.delete(image) == []
    row = owners.image(image)
    assert (row.status, row.status_before_delete) == ("deleted", "queued")
    assert row.deleted_at is not None


def test_delete_with_data_hides_the_image_and_names_what_is_due(owners: Owners) -> None:
    image, location = owners.active()
    assert owners.delete(image) == [location]
    row = owners.image(image)
    assert (row.status, row.status_before_delete, row.delayed) == ("pending_delete", "active", False)
    assert owners.location(location).request_id == "req-owner"
    assert owners.purge(location) is True
    assert owners.statuses(image) == ("deleted", ["deleted"])


def test_delayed_delete_is_due_after_scrub_time_only(owners: Owners) -> None:
    image, location = owners.active()
    assert owners.delete(image, delayed=True, scrub_time=600) == []
    owners.pass_time(540)
    assert owners.due()[0] == []
    with pytest.raises(errors.Conflict) as caught:
        owners.claim(location)
    assert caught.value.details == {"reason": "not_due"}
    owners.pass_time(61)
    assert owners.due()[0] == [location]
    assert owners.purge(location) is True


def test_a_delayed_delete_keeps_no_bytes_that_no_restore_brings_back(owners: Owners) -> None:
    """S-11: an upload that never committed waits for its lease, not for ``scrub_time``."""
    image = owners.create()
    row = owners.start(image)
    assert owners.delete(image, delayed=True, scrub_time=600) == []
    assert owners.due(scrub_time=600)[0] == []
    owners.pass_time(LEASE + 1)
    assert owners.due(scrub_time=600)[0] == [row.id]
    assert owners.purge(row.id) is True


def test_scrub_time_without_delay_changes_nothing(owners: Owners) -> None:
    image, location = owners.active()
    assert owners.delete(image, delayed=False, scrub_time=600) == [location]


def test_the_longer_delay_of_both_daemons_holds(owners: Owners) -> None:
    image, location = owners.active()
    owners.delete(image, delayed=True, scrub_time=100)
    owners.pass_time(101)
    assert owners.due(scrub_time=600)[0] == []
    with pytest.raises(errors.Conflict, match="not_due"):
        owners.claim(location, scrub_time=600)
    owners.pass_time(500)
    assert owners.due(scrub_time=600)[0] == [location]
    owners.claim(location, scrub_time=600)


def test_a_scrubbers_delay_does_not_hold_images_deleted_without(owners: Owners) -> None:
    image, location = owners.active()
    owners.delete(image)
    assert owners.due(scrub_time=600)[0] == [location]


def test_delete_again_with_the_same_attempt_answers_the_same(owners: Owners) -> None:
    image, location = owners.active()
    attempt = new_id()
    assert owners.delete(image, attempt) == [location]
    before = owners.image(image)
    assert owners.delete(image, attempt) == [location]
    assert owners.image(image) == before
    owners.purge(location)
    assert owners.delete(image, attempt) == []


def test_delete_of_an_empty_image_again_with_the_same_attempt(owners: Owners) -> None:
    image, attempt = owners.create(), new_id()
    assert owners.delete(image, attempt) == []
    assert owners.delete(image, attempt) == []


@pytest.mark.parametrize("context", [STRANGER, ADMIN])
def test_another_delete_of_a_hidden_image_is_not_found(owners: Owners, context: RequestContext) -> None:
    waiting, _ = owners.active()
    empty = owners.create()
    for image in (waiting, empty):
        owners.delete(image)
        with pytest.raises(errors.NotFound):
            owners.delete(image, context=context)


def test_s01_delete_of_an_invisible_image_is_not_found_and_touches_nothing(owners: Owners) -> None:
    image, _ = owners.active()
    with pytest.raises(errors.NotFound):
        owners.delete(image, context=STRANGER)
    assert owners.statuses(image) == ("active", ["active"])


@pytest.mark.parametrize("delayed", [False, True])
def test_s01_protected_image_is_not_deleted(owners: Owners, delayed: bool) -> None:
    image = owners.create(protected=True)
    owners.upload(image)
    before = owners.image(image)
    with pytest.raises(errors.Forbidden, match=f"{image} is protected"):
        owners.delete(image, delayed=delayed, context=ADMIN)
    assert owners.image(image) == before
    assert owners.statuses(image) == ("active", ["active"])


@pytest.mark.parametrize("delayed", [False, True])
@pytest.mark.parametrize("context", ["owner", "admin"])
def test_s72_s73_delete_of_a_deactivated_image_schedules_its_data(owners: Owners, delayed: bool, context: str) -> None:
    image = owners.create()
    location = owners.upload(image)
    owners.set_status(image, "deactivated")
    who: dict[str, Any] = {"context": ADMIN} if context == "admin" else {}
    due = owners.delete(image, delayed=delayed, scrub_time=60, **who)
    assert due == ([] if delayed else [location])
    assert owners.statuses(image) == ("pending_delete", ["pending_delete"])
    assert owners.image(image).status_before_delete == "deactivated"


def test_s11_delete_while_uploading_leaves_the_bytes_with_their_owner(owners: Owners) -> None:
    image = owners.create()
    row = owners.start(image)
    assert owners.delete(image) == []
    assert owners.statuses(image) == ("pending_delete", ["pending_delete"])
    assert owners.due()[0] == []
    with pytest.raises(errors.Conflict) as caught:
        owners.claim(row.id)
    assert caught.value.details == {"reason": "writing"}
    owners.pass_time(LEASE + 1)
    assert owners.due()[0] == [row.id]
    assert owners.purge(row.id) is True
    assert owners.statuses(image) == ("deleted", ["deleted"])
    # The writer may wake up and write the key: it is deleted again later.
    assert owners.location(row.id).late_passes == 2


def test_delete_of_a_killed_image_with_remains_waits_for_them(owners: Owners) -> None:
    image = owners.create()
    row = owners.start(image, on_fail=ImageStatus.KILLED)
    claim = owners.abort(row.attempt)
    assert claim is not None
    assert owners.delete(image) == []
    assert owners.statuses(image) == ("pending_delete", ["reaping"])
    assert owners.done(row.id, claim["token"]) is True
    assert owners.statuses(image) == ("deleted", ["deleted"])


def test_delete_with_nothing_but_tombstones_is_final_at_once(owners: Owners) -> None:
    image = owners.create()
    row = owners.start(image)
    owners.pass_time(LEASE + 1)
    owners.purge(row.id)
    assert owners.delete(image) == []
    assert owners.image(image).status == "deleted"


def test_failed_rows_keep_the_image_waiting(owners: Owners) -> None:
    image = owners.create()
    dead = owners.start(image)
    claim = owners.abort(dead.attempt)
    assert claim is not None
    owners.retry(dead.id, claim["token"], max_attempts=1)
    location = owners.upload(image)
    assert owners.delete(image) == [location]
    assert owners.purge(location) is False
    assert owners.statuses(image) == ("pending_delete", ["failed", "deleted"])


def test_image_goes_with_the_last_of_its_locations(owners: Owners) -> None:
    image, first = owners.active()
    second = owners.add_copy(image, "slow")
    assert sorted(owners.delete(image)) == sorted([first, second])
    assert owners.purge(first) is False
    assert owners.image(image).status == "pending_delete"
    assert owners.purge(second) is True
    assert owners.image(image).status == "deleted"
