"""Uploads: the attempts that own bytes while these are written."""

import pytest
from tests.support.owners import ADMIN, LEASE, MOST_OF_LEASE, Owners, new_id

from glance_common.model import errors
from glance_common.model.context import RequestContext
from glance_common.model.status import ImageStatus

STRANGER = RequestContext(request_id="req-stranger", project_id="other")


def test_start_takes_image_to_saving_and_makes_owner(owners: Owners) -> None:
    image, attempt = owners.create(), new_id()
    row = owners.start(image, attempt, size=99, on_fail=ImageStatus.KILLED)
    assert (row.image_id, row.store, row.key, row.status) == (image, "fast", image, "writing")
    assert (row.attempt, row.size, row.on_fail, row.metadata) == (attempt, 99, "killed", {})
    assert row.lease_until is not None
    assert owners.statuses(image) == ("saving", ["writing"])


def test_start_moves_version_and_time(owners: Owners) -> None:
    image = owners.create()
    before = owners.image(image)
    owners.start(image)
    after = owners.image(image)
    assert after.row_version == before.row_version + 1
    assert after.updated_at > before.updated_at


def test_start_again_with_the_same_attempt_answers_the_same_row(owners: Owners) -> None:
    image, attempt = owners.create(), new_id()
    first = owners.start(image, attempt)
    assert owners.start(image, attempt).id == first.id
    assert owners.statuses(image) == ("saving", ["writing"])


def test_start_again_prolongs_the_lease(owners: Owners) -> None:
    image, attempt = owners.create(), new_id()
    row = owners.start(image, attempt)
    owners.pass_time(2 * LEASE)
    owners.start(image, attempt)
    with pytest.raises(errors.Conflict):
        owners.claim(row.id)


def test_start_of_an_attempt_that_is_over_is_gone(owners: Owners) -> None:
    image, attempt = owners.create(), new_id()
    owners.start(image, attempt)
    owners.abort(attempt)
    with pytest.raises(errors.Gone) as caught:
        owners.start(image, attempt)
    assert caught.value.details == {"reason": "aborted"}
    assert owners.statuses(image) == ("queued", ["reaping"])


def test_start_with_the_attempt_of_another_image_is_refused(owners: Owners) -> None:
    attempt = new_id()
    owners.start(owners.create(), attempt)
    other = owners.create()
    with pytest.raises(errors.Conflict, match="another image"):
        owners.start(other, attempt)
    assert owners.statuses(other) == ("queued", [])


def test_s67_second_upload_is_refused_and_names_the_status(owners: Owners) -> None:
    image = owners.create()
    owners.start(image)
    with pytest.raises(errors.StatusConflict) as caught:
        owners.start(image)
    assert caught.value.details == {"status": "saving", "wanted": "saving"}
    assert "saving" in caught.value.message


def test_upload_to_an_image_with_data_is_refused(owners: Owners) -> None:
    image, _ = owners.active()
    with pytest.raises(errors.StatusConflict, match="active"):
        owners.start(image)


@pytest.mark.parametrize("field", ["disk_format", "container_format"])
def test_upload_needs_formats(owners: Owners, field: str) -> None:
    image = owners.create(**{field: None})
    with pytest.raises(errors.BadRequest, match=field):
        owners.start(image)
    assert owners.statuses(image) == ("queued", [])


def test_upload_to_an_invisible_or_absent_image_is_not_found(owners: Owners) -> None:
    image = owners.create()
    for identifier in (image, new_id()):
        with pytest.raises(errors.NotFound):
            owners.start(identifier, context=STRANGER)
    assert owners.statuses(image) == ("queued", [])


def test_key_is_the_image_id_again_after_a_clean_abort(owners: Owners) -> None:
    image = owners.create()
    first = owners.start(image)
    owners.abort(first.attempt)
    assert owners.start(image).key == f"{image}.1"
    image = owners.create()
    first = owners.start(image)
    owners.abort(first.attempt)
    owners.done(first.id, first.attempt)
    assert owners.start(image).key == image


def test_key_numbers_use_the_smallest_free_one_of_their_store(owners: Owners) -> None:
    image = owners.create()
    rows = []
    for _ in range(4):
        rows.append(owners.start(image))
        owners.abort(rows[-1].attempt)
    assert [row.key for row in rows] == [image, f"{image}.1", f"{image}.2", f"{image}.3"]
    owners.done(rows[1].id, rows[1].attempt)
    other_store = owners.start(image, store="slow")
    assert other_store.key == image
    owners.abort(other_store.attempt)
    assert owners.start(image).key == f"{image}.1"


def test_key_of_a_reaped_attempt_stays_taken_until_the_late_passes_are_over(owners: Owners) -> None:
    image = owners.create()
    dead = owners.start(image)
    owners.pass_time(LEASE + 1)
    owners.purge(dead.id)
    second = owners.start(image)
    assert second.key == f"{image}.1"
    owners.abort(second.attempt)
    for wait in (3601, 23 * 3600 + 1):
        owners.pass_time(wait)
        owners.purge(dead.id)
    assert owners.start(image).key == image


def test_renew_keeps_the_reaper_away(owners: Owners) -> None:
    row = owners.start(owners.create())
    owners.pass_time(MOST_OF_LEASE)
    owners.renew_upload(row.attempt)
    owners.pass_time(MOST_OF_LEASE)
    with pytest.raises(errors.Conflict) as caught:
        owners.claim(row.id)
    assert caught.value.details == {"reason": "writing"}


def test_renew_leaves_the_image_row_alone(owners: Owners) -> None:
    image = owners.create()
    row = owners.start(image)
    before = owners.image(image)
    owners.renew_upload(row.attempt)
    assert owners.image(image) == before


def test_renew_revives_an_expired_lease_nobody_took(owners: Owners) -> None:
    row = owners.start(owners.create())
    owners.pass_time(LEASE + 1)
    owners.renew_upload(row.attempt)
    assert owners.due()[0] == []


def test_every_end_of_an_attempt_has_its_reason(owners: Owners) -> None:
    def reason(attempt: str) -> str:
        with pytest.raises(errors.Gone) as caught:
            owners.renew_upload(attempt)
        return str(caught.value.details["reason"])

    deleted = owners.start(image := owners.create()).attempt
    owners.delete(image)
    aborted = owners.start(owners.create()).attempt
    owners.abort(aborted)
    committed = owners.start(owners.create()).attempt
    owners.commit(committed)
    reaped = owners.start(owners.create())
    owners.pass_time(LEASE + 1)
    owners.claim(reaped.id)
    assert [reason(attempt) for attempt in (deleted, aborted, committed, reaped.attempt, new_id())] == [
        "deleted", "aborted", "committed", "reaped", "unknown",
    ]


def test_commit_makes_image_and_location_active(owners: Owners) -> None:
    image = owners.create()
    row = owners.start(image, size=None)
    assert owners.commit(row.attempt, size=7) == image
    found, location = owners.image(image), owners.location(row.id)
    assert (found.status, found.size, found.virtual_size, found.checksum) == ("active", 7, 14, "c" * 32)
    assert (found.os_hash_algo, found.os_hash_value) == ("sha512", "h" * 128)
    assert (location.status, location.size, location.metadata) == ("active", 7, {"place": "/a"})
    assert (location.lease_until, location.on_fail, location.token) == (None, None, None)


def test_commit_again_answers_the_image_and_changes_nothing(owners: Owners) -> None:
    image = owners.create()
    row = owners.start(image)
    owners.commit(row.attempt, size=7)
    before = owners.image(image)
    assert owners.commit(row.attempt, size=8) == image
    assert owners.image(image) == before


def test_commit_again_is_answered_also_after_the_image_was_deleted(owners: Owners) -> None:
    image = owners.create()
    row = owners.start(image)
    owners.commit(row.attempt)
    owners.delete(image)
    assert owners.commit(row.attempt) == image
    owners.purge(row.id)
    assert owners.commit(row.attempt) == image
    assert owners.statuses(image) == ("deleted", ["deleted"])


def test_commit_after_an_expired_lease_counts_as_long_as_nobody_reaped(owners: Owners) -> None:
    image = owners.create()
    row = owners.start(image)
    owners.pass_time(1000 * LEASE)
    owners.commit(row.attempt)
    assert owners.statuses(image) == ("active", ["active"])


@pytest.mark.parametrize("end", ["deleted", "aborted", "reaped"])
def test_commit_of_an_attempt_that_is_over_is_gone(owners: Owners, end: str) -> None:
    image = owners.create()
    row = owners.start(image)
    if end == "deleted":
        owners.delete(image)
    elif end == "aborted":
        owners.abort(row.attempt)
    else:
        owners.pass_time(LEASE + 1)
        owners.claim(row.id)
    before = owners.statuses(image)
    with pytest.raises(errors.Gone) as caught:
        owners.commit(row.attempt)
    assert caught.value.details == {"reason": end}
    assert owners.statuses(image) == before


def test_commit_of_an_unknown_attempt_is_gone(owners: Owners) -> None:
    with pytest.raises(errors.Gone):
        owners.commit(new_id())


def test_a_reaped_attempt_cannot_commit_into_the_next_one(owners: Owners) -> None:
    image = owners.create()
    dead = owners.start(image)
    owners.pass_time(LEASE + 1)
    owners.claim(dead.id)
    live = owners.start(image)
    with pytest.raises(errors.Gone):
        owners.commit(dead.attempt)
    owners.commit(live.attempt)
    assert owners.statuses(image) == ("active", ["reaping", "active"])


@pytest.mark.parametrize("on_fail", [ImageStatus.QUEUED, ImageStatus.KILLED])
def test_abort_gives_the_bytes_to_the_uploader(owners: Owners, on_fail: ImageStatus) -> None:
    image = owners.create()
    row = owners.start(image, size=5, on_fail=on_fail)
    claim = owners.abort(row.attempt, error="client hung up")
    assert claim == {
        "location": row.id, "image_id": image, "store": "fast", "key": image, "token": row.attempt, "attempts": 0,
        "request_id": None,
    }
    assert owners.statuses(image) == (on_fail, ["reaping"])
    location = owners.location(row.id)
    assert (location.token, location.last_error, location.late_passes) == (row.attempt, "client hung up", 0)
    assert owners.image(image).size is None
    assert owners.done(row.id, row.attempt) is False
    assert owners.statuses(image) == (on_fail, ["deleted"])


def test_abort_again_answers_the_same_and_prolongs_the_claim(owners: Owners) -> None:
    row = owners.start(owners.create())
    first = owners.abort(row.attempt)
    owners.pass_time(LEASE + 1)
    assert owners.abort(row.attempt) == first
    assert owners.due()[0] == []


def test_abort_leaves_bytes_to_a_scrubber_when_the_uploader_does_not_remove_them(owners: Owners) -> None:
    row = owners.start(owners.create())
    owners.abort(row.attempt)
    assert owners.due()[0] == []
    owners.pass_time(LEASE + 1)
    assert owners.due()[0] == [row.id]


def test_abort_after_delete_gives_the_bytes_to_the_uploader_at_once(owners: Owners) -> None:
    image = owners.create()
    row = owners.start(image)
    owners.delete(image, delayed=True, scrub_time=1000)
    claim = owners.abort(row.attempt)
    assert claim is not None
    assert owners.statuses(image) == ("pending_delete", ["deleting"])
    assert owners.done(row.id, claim["token"]) is True
    assert owners.statuses(image) == ("deleted", ["deleted"])


def test_abort_of_a_committed_attempt_is_refused(owners: Owners) -> None:
    image = owners.create()
    row = owners.start(image)
    owners.commit(row.attempt)
    for _ in range(2):
        with pytest.raises(errors.Conflict) as caught:
            owners.abort(row.attempt)
        assert caught.value.details == {"reason": "committed"}
        owners.delete(image, attempt=row.attempt)


def test_abort_removes_nothing_that_another_holds_or_that_is_gone(owners: Owners) -> None:
    reaped = owners.start(owners.create())
    owners.pass_time(LEASE + 1)
    owners.claim(reaped.id)
    assert owners.abort(reaped.attempt) is None
    finished = owners.start(image := owners.create())
    owners.abort(finished.attempt)
    owners.done(finished.id, finished.attempt)
    # The key has a new owner by now, whose bytes the uploader must not touch.
    assert owners.start(image).key == finished.key
    assert owners.abort(finished.attempt) is None
    returned = owners.start(owners.create())
    owners.abort(returned.attempt)
    owners.retry(returned.id, returned.attempt)
    assert owners.abort(returned.attempt) is None
    assert owners.abort(new_id()) is None


def test_late_abort_does_not_disturb_the_next_upload(owners: Owners) -> None:
    image = owners.create()
    dead = owners.start(image)
    owners.pass_time(LEASE + 1)
    owners.claim(dead.id)
    owners.start(image)
    assert owners.abort(dead.attempt) is None
    assert owners.statuses(image) == ("saving", ["reaping", "writing"])


def test_s16_commit_needs_nobodys_token(owners: Owners) -> None:
    """The attempt is all that a commit needs, so that a token that expires during the upload leaves nothing behind."""
    image = owners.create(owner="another user")
    row = owners.start(image, context=ADMIN)
    owners.commit(row.attempt)
    assert owners.statuses(image) == ("active", ["active"])


def test_a_store_may_choose_the_key(owners: Owners) -> None:
    image = owners.create()
    row = owners.start(image)
    owners.commit(row.attempt, key="volume-1")
    assert [(place.key, place.status) for place in owners.locations(image)] == [("volume-1", "active")]
    owners.commit(row.attempt, key="volume-1")
    other = owners.create()
    second = owners.start(other)
    with pytest.raises(errors.Duplicate):
        owners.commit(second.attempt, key="volume-1")
    claim = owners.abort(second.attempt)
    assert claim is not None
    assert claim["key"] == other, "what the attempt left is found by the key that it was given"
    owners.delete(image)
    assert owners.claim(row.id)["key"] == "volume-1"
