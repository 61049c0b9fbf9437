"""Restore of deleted images (S-74): all of it or nothing."""

from typing import Any

import pytest
import sqlalchemy as sa
from tests.support.owners import LEASE, Owners, new_id

from glance_common.model import errors
from glance_registry.db.tables import members


def share(owners: Owners, image: str) -> None:
    row = {"image_id": image, "member": "friend", "status": "accepted"}
    with owners.engine.begin() as connection:
        connection.execute(sa.insert(members).values(**row, image_created_at=owners.image(image).created_at))


def members_of(owners: Owners, image: str) -> list[tuple[str, str]]:
    with owners.engine.connect() as connection:
        rows = connection.execute(sa.select(members.c.member, members.c.status).where(members.c.image_id == image))
        return [(row.member, row.status) for row in rows]


def refuse(owners: Owners, image: str, reason: str) -> None:
    """Check that a restore is refused for ``reason`` and changes nothing."""
    before: Any = owners.image(image), owners.locations(image)
    with pytest.raises(errors.Conflict) as caught:
        owners.restore(image)
    assert caught.value.details == {"reason": reason}
    assert (owners.image(image), owners.locations(image)) == before


@pytest.mark.parametrize("delayed", [True, False])
@pytest.mark.parametrize("status", ["active", "deactivated"])
def test_s74_restore_brings_everything_back(owners: Owners, status: str, delayed: bool) -> None:
    image = owners.create(properties={"os": "debian"}, tags=["one", "two"], visibility="shared")
    location = owners.upload(image)
    copy = owners.add_copy(image, "slow")
    share(owners, image)
    owners.set_status(image, status)
    before = owners.image(image)
    owners.delete(image, delayed=delayed, scrub_time=600)
    owners.restore(image)
    after = owners.image(image)
    unchanged = set(before._fields) - {"updated_at", "row_version", "write_attempt"}
    assert {name: getattr(after, name) for name in unchanged} == {name: getattr(before, name) for name in unchanged}
    assert after.row_version == before.row_version + 2
    assert members_of(owners, image) == [("friend", "accepted")]
    assert owners.statuses(image) == (status, ["active", "active"])
    assert [(row.id, row.not_before, row.lease_until, row.request_id) for row in owners.locations(image)] == [
        (location, None, None, None), (copy, None, None, None),
    ]
    assert owners.due()[0] == []


def test_restored_image_can_be_deleted_and_restored_again(owners: Owners) -> None:
    image, location = owners.active()
    for _ in range(2):
        owners.delete(image, delayed=True, scrub_time=600)
        owners.restore(image)
    assert owners.delete(image) == [location]
    assert owners.purge(location) is True


def test_restore_again_with_the_same_attempt_answers_the_same(owners: Owners) -> None:
    image, _ = owners.active()
    owners.delete(image)
    attempt = new_id()
    owners.restore(image, attempt)
    before = owners.image(image)
    owners.restore(image, attempt)
    assert owners.image(image) == before


def test_restore_of_an_unknown_image_is_not_found(owners: Owners) -> None:
    with pytest.raises(errors.NotFound):
        owners.restore(new_id())


@pytest.mark.parametrize("status", ["active", "deactivated", "queued"])
def test_restore_of_an_image_that_is_not_deleted_is_refused(owners: Owners, status: str) -> None:
    image, _ = owners.active()
    owners.set_status(image, status)
    refuse(owners, image, status)


def test_restore_of_a_deleted_image_is_refused(owners: Owners) -> None:
    image, location = owners.active()
    owners.delete(image)
    owners.purge(location)
    refuse(owners, image, "deleted")


def test_restore_is_refused_once_a_location_is_claimed(owners: Owners) -> None:
    image, location = owners.active()
    copy = owners.add_copy(image, "slow")
    owners.delete(image)
    token = owners.claim(location)["token"]
    refuse(owners, image, "deleting")
    owners.pass_time(LEASE + 1)
    refuse(owners, image, "deleting")
    owners.done(location, token)
    refuse(owners, image, "deleted")
    owners.purge(copy)
    refuse(owners, image, "deleted")


def test_restore_is_refused_after_a_failed_removal(owners: Owners) -> None:
    image, location = owners.active()
    owners.delete(image)
    owners.retry(location, owners.claim(location)["token"], max_attempts=1)
    refuse(owners, image, "failed")


def test_restore_of_a_running_upload_is_refused(owners: Owners) -> None:
    image = owners.create()
    row = owners.start(image)
    owners.delete(image)
    refuse(owners, image, "saving")
    owners.abort(row.attempt)
    refuse(owners, image, "saving")


def test_what_failed_uploads_left_does_not_stop_a_restore(owners: Owners) -> None:
    image = owners.create()
    dead = owners.start(image)
    owners.abort(dead.attempt)
    owners.upload(image)
    owners.delete(image)
    owners.restore(image)
    assert owners.statuses(image) == ("active", ["reaping", "active"])
    owners.done(dead.id, dead.attempt)
    owners.delete(image)
    owners.restore(image)
    assert owners.statuses(image) == ("active", ["deleted", "active"])


def test_location_removed_before_the_delete_does_not_stop_a_restore(owners: Owners) -> None:
    image, _ = owners.active()
    owners.add_copy(image, "slow", status="deleted", deleted_at=sa.func.now())
    owners.delete(image)
    owners.restore(image)
    assert owners.statuses(image) == ("active", ["active", "deleted"])


def test_unfinished_copy_does_not_become_data_by_a_restore(owners: Owners) -> None:
    image, _ = owners.active()
    owners.add_copy(
        image, "slow", status="writing", on_fail="active", lease_until=sa.text("now() + interval '60 s'")
    )
    owners.delete(image)
    owners.restore(image)
    assert owners.statuses(image) == ("active", ["active", "pending_delete"])
    owners.pass_time(LEASE + 1)
    owners.purge(owners.due()[0][0])
    assert owners.statuses(image) == ("active", ["active", "deleted"])


def test_queued_image_with_remains_comes_back_queued(owners: Owners) -> None:
    image = owners.create()
    row = owners.start(image)
    owners.abort(row.attempt)
    owners.delete(image)
    owners.restore(image)
    assert owners.statuses(image) == ("queued", ["reaping"])
    assert owners.start(image).key == f"{image}.1"
