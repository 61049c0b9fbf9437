"""Copies in quarantine, orphans, and runs over stores: the registry's transitions on a real database."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from tests.support.owners import LEASE, OWNER, Owners, new_id

from glance_common.model import errors
from glance_common.model.limits import Limits
from glance_common.model.status import ImageStatus
from glance_registry.db.tables import locations as location_rows
from glance_registry.db.tables import orphans as orphan_rows
from glance_registry.db.tables import store_runs as run_rows
from glance_registry.locations import edit, orphans, quarantine, store_runs, uploads
from glance_registry.locations.orphans import Orphan
from glance_registry.quota import usage


def put(owners: Owners, location: str) -> tuple[dict[str, Any], bool]:
    return owners.run(quarantine.put, location, "digest: other bytes")


def replace(owners: Owners, location: str, attempt: str | None = None) -> Any:
    begin = uploads.Begin(attempt or new_id(), "", None, LEASE, ImageStatus.QUEUED)
    return owners.run(uploads.replace, location, begin)


def used(owners: Owners) -> int:
    return owners.run(usage.of_owner, "own").size


def commit(owners: Owners, attempt: str, **values: Any) -> str:
    content = {
        "size": 7, "checksum": "c" * 32, "os_hash_algo": "sha512", "os_hash_value": "h" * 128, "virtual_size": None,
        "metadata": {},
    }
    return owners.run(uploads.commit, attempt, uploads.Content(**{**content, **values}), uploads.Terms())


def two_copies(owners: Owners) -> tuple[str, str, str]:
    """Return an active image with a copy in each of two stores."""
    image, first = owners.active()
    return image, first, owners.add_copy(image, "slow", size=7)


def test_a_copy_in_quarantine_is_not_shown_and_not_counted(owners: Owners) -> None:
    image, location = owners.active()
    before = used(owners)
    document, is_new = put(owners, location)
    assert (is_new, document["copies"], document["reason"]) == (True, 0, "digest: other bytes")
    assert put(owners, location)[1] is False
    assert owners.statuses(image) == ("active", ["quarantined"])
    assert owners.run(edit.document, OWNER, image).count('"locations":[]') == 1
    assert (before, used(owners)) == (7, 0)
    (listed,) = owners.run(quarantine.listed, 10, None)
    assert (listed["id"], listed["copies"], listed["reason"]) == (location, 0, "digest: other bytes")
    assert owners.run(quarantine.count) == 1
    # Nothing purges it by itself.
    owners.pass_time(10**7)
    assert owners.due() == ([], 0.0)
    with pytest.raises(errors.Conflict, match="quarantined"):
        owners.claim(location)


def test_the_key_of_a_quarantined_copy_stays_taken(owners: Owners) -> None:
    image, location = owners.active()
    put(owners, location)
    replaced_by = replace(owners, location)
    assert owners.location(location).key == image
    assert replaced_by.key == f"{image}.1"
    with pytest.raises(sa.exc.IntegrityError):
        owners.add_copy(image, "fast")


@pytest.mark.parametrize("status", ["writing", "deleting", "deleted"])
def test_what_is_not_in_use_does_not_go_into_quarantine(owners: Owners, status: str) -> None:
    _, location = owners.active()
    with owners.engine.begin() as connection:
        connection.execute(sa.update(location_rows).values(status=status))
    with pytest.raises(errors.Conflict, match=status):
        put(owners, location)
    with pytest.raises(errors.NotFound):
        put(owners, new_id())


def test_a_verdict_is_recorded_of_a_copy_in_use_only(owners: Owners) -> None:
    _, location = owners.active()
    assert owners.location(location).verified_at is None
    assert owners.run(quarantine.verified, location) is True
    seen = owners.location(location).verified_at
    assert seen is not None
    put(owners, location)
    assert owners.run(quarantine.verified, location) is False
    assert owners.location(location).verified_at == seen


def test_release_brings_the_copy_back_and_forgets_the_reason(owners: Owners) -> None:
    image, location = owners.active()
    put(owners, location)
    owners.run(quarantine.release, location)
    assert owners.statuses(image) == ("active", ["active"])
    assert owners.location(location).quarantine_reason is None
    assert owners.location(location).verified_at is not None
    assert used(owners) == 7
    with pytest.raises(errors.Conflict, match="not in quarantine"):
        owners.run(quarantine.release, location)


def test_only_a_copy_that_is_not_the_last_is_discarded(owners: Owners) -> None:
    image, location = owners.active()
    put(owners, location)
    with pytest.raises(errors.Conflict, match="last copy") as refused:
        owners.run(quarantine.discard, location, "req-1")
    assert refused.value.details["reason"] == "last"
    owners.add_copy(image, "slow", size=7)
    owners.run(quarantine.discard, location, "req-1")
    owners.run(quarantine.discard, location, "req-1")  # a repeated call
    assert owners.due()[0] == [location]
    assert owners.purge(location) is False
    assert owners.statuses(image) == ("active", ["deleted", "active"])


def test_a_delete_takes_the_copy_along_and_a_restore_leaves_it_in_quarantine(owners: Owners) -> None:
    image, damaged, _ = two_copies(owners)
    put(owners, damaged)
    owners.delete(image, delayed=True, scrub_time=60)
    assert owners.statuses(image) == ("pending_delete", ["pending_delete", "pending_delete"])
    owners.restore(image)
    assert owners.statuses(image) == ("active", ["quarantined", "active"])
    owners.delete(image)
    for location in owners.due()[0]:
        owners.purge(location)
    assert owners.statuses(image) == ("deleted", ["deleted", "deleted"])


def test_a_good_copy_replaces_a_damaged_one(owners: Owners) -> None:
    image, damaged, _ = two_copies(owners)
    put(owners, damaged)
    attempt = new_id()
    begun = replace(owners, damaged, attempt)
    assert (begun.store, begun.status, begun.key) == ("fast", "writing", f"{image}.1")
    assert replace(owners, damaged, attempt).id == begun.id
    with pytest.raises(errors.Conflict, match="replaced by another"):
        replace(owners, damaged)
    before = owners.image(image)
    assert commit(owners, attempt) == image
    assert commit(owners, attempt) == image
    assert owners.statuses(image) == ("active", ["quarantined", "active", "active"])
    assert (owners.image(image).size, owners.image(image).status) == (before.size, before.status)
    assert used(owners) == 14
    for refused in (replace, lambda *given: owners.run(quarantine.release, given[1])):
        with pytest.raises(errors.Conflict) as error:
            refused(owners, damaged)
        assert error.value.details["reason"] == "replaced"


def test_a_full_quota_does_not_keep_a_copy_from_being_replaced(owners: Owners) -> None:
    _, damaged, _ = two_copies(owners)
    put(owners, damaged)
    attempt = new_id()
    replace(owners, damaged, attempt)
    commit(owners, attempt)
    assert used(owners) == 14
    other = owners.create()
    limits = Limits("own", {"image_size_total": 0})
    begin = uploads.Begin(new_id(), "fast", 2**20, LEASE, ImageStatus.QUEUED, limits=limits)
    with pytest.raises(errors.TooLarge):
        owners.run(uploads.start, OWNER, other, begin)


@pytest.mark.parametrize("wrong", [{"size": 8}, {"checksum": "d" * 32}])
def test_other_data_never_replace_a_copy(owners: Owners, wrong: dict[str, Any]) -> None:
    image, damaged, _ = two_copies(owners)
    put(owners, damaged)
    attempt = new_id()
    replace(owners, damaged, attempt)
    with pytest.raises(errors.Conflict) as error:
        commit(owners, attempt, **wrong)
    assert error.value.details["reason"] == "differs"
    assert owners.statuses(image)[0] == "active"


def test_a_replacement_that_dies_is_reaped_and_the_image_stays_active(owners: Owners) -> None:
    image, damaged, _ = two_copies(owners)
    put(owners, damaged)
    begun = replace(owners, damaged)
    owners.pass_time(2 * LEASE)
    assert owners.due()[0] == [begun.id]
    owners.purge(begun.id)
    assert owners.statuses(image) == ("active", ["quarantined", "active", "deleted"])
    again = replace(owners, damaged)
    assert again.key == f"{image}.2"  # the first key waits for its late passes


def test_a_replacement_of_a_deleted_image_is_over(owners: Owners) -> None:
    image, damaged, _ = two_copies(owners)
    put(owners, damaged)
    attempt = new_id()
    replace(owners, damaged, attempt)
    owners.delete(image)
    with pytest.raises(errors.Gone):
        commit(owners, attempt)
    with pytest.raises(errors.Conflict):
        replace(owners, damaged)


def test_pages_come_in_the_order_of_keys_and_leave_out_what_is_not_ours(owners: Owners) -> None:
    made = sorted(owners.active()[0] for _ in range(5))
    image, external = owners.active()
    with owners.engine.begin() as connection:
        connection.execute(
            sa.update(location_rows).where(location_rows.c.id == external).values(external=True, key="http://x/")
        )
    wanted = quarantine.CopyQuery(limit=2, store="fast")
    found: list[str] = []
    while page := owners.run(quarantine.page, wanted):
        found += [row["key"] for row in page]
        wanted = quarantine.CopyQuery(limit=2, store="fast", after=found[-1])
    assert found == made
    assert owners.run(quarantine.page, quarantine.CopyQuery(10, store="fast", key=made[1]))[0]["image_id"] == made[1]
    assert owners.run(quarantine.page, quarantine.CopyQuery(10, image_id=image)) == []
    assert owners.run(quarantine.page, quarantine.CopyQuery(10, image_id=made[0]))[0]["image_size"] == 7


def make_old(owners: Owners) -> None:
    with owners.engine.begin() as connection:
        connection.execute(sa.update(orphan_rows).values(found_at=sa.text("now() - interval '2 minutes'")))


def test_an_object_with_an_owner_is_no_orphan(owners: Owners) -> None:
    image, _ = owners.active()
    stray = new_id()
    found = [Orphan(image, 7), Orphan(stray, 3)]
    assert owners.run(orphans.record, "fast", found) == 1
    assert owners.run(orphans.record, "fast", found) == 0
    (listed,) = owners.run(orphans.listed, 10, None, None)
    assert (listed["store"], listed["key"], listed["size"]) == ("fast", stray, 3)
    assert owners.run(orphans.listed, 10, None, "slow") == []
    assert owners.run(orphans.count) == 1


def test_no_upload_gets_the_key_of_an_orphan(owners: Owners) -> None:
    image = owners.create()
    owners.run(orphans.record, "fast", [Orphan(image, 3), Orphan(f"{image}.1", 3)])
    begun = uploads.Begin(new_id(), "fast", 7, LEASE, ImageStatus.QUEUED)
    assert owners.run(uploads.start, OWNER, image, begun).key == f"{image}.2"


def test_one_process_at_a_time_removes_an_orphan(owners: Owners) -> None:
    owners.run(orphans.record, "fast", [Orphan(new_id(), 3)])
    (orphan,) = owners.run(orphans.listed, 10, None, None)
    one, two = new_id(), new_id()
    with pytest.raises(errors.Conflict, match="less than a minute"):
        owners.run(orphans.claim, orphan["id"], one, LEASE)
    make_old(owners)
    assert owners.run(orphans.claim, orphan["id"], one, LEASE)["key"] == orphan["key"]
    owners.run(orphans.claim, orphan["id"], one, LEASE)
    with pytest.raises(errors.Conflict, match="another process"):
        owners.run(orphans.claim, orphan["id"], two, LEASE)
    assert owners.run(orphans.forget, orphan["id"]) is False
    owners.run(orphans.done, orphan["id"], two)
    assert owners.run(orphans.count) == 1
    owners.run(orphans.done, orphan["id"], one)
    assert owners.run(orphans.count) == 0
    with pytest.raises(errors.NotFound):
        owners.run(orphans.claim, orphan["id"], one, LEASE)


def test_an_orphan_that_a_location_owns_by_now_is_not_removed(owners: Owners) -> None:
    key = new_id()
    owners.run(orphans.record, "fast", [Orphan(key, 7)])
    make_old(owners)
    (orphan,) = owners.run(orphans.listed, 10, None, None)
    _, location = owners.active()
    with owners.engine.begin() as connection:
        connection.execute(sa.update(location_rows).where(location_rows.c.id == location).values(key=key))
    with pytest.raises(errors.Conflict) as error:
        owners.run(orphans.claim, orphan["id"], new_id(), LEASE)
    assert error.value.details["reason"] == "owned"
    assert owners.run(orphans.forget, orphan["id"]) is True


def test_a_run_has_one_holder_and_goes_on_where_it_stopped(owners: Owners) -> None:
    run, one, two = ("verify", "fast"), new_id(), new_id()
    assert owners.run(store_runs.start, run, one, LEASE, 0) is None
    assert owners.run(store_runs.start, run, one, LEASE, 0) is None
    with pytest.raises(errors.Conflict) as error:
        owners.run(store_runs.start, run, two, LEASE, 0)
    assert error.value.details["reason"] == "running"
    owners.run(store_runs.start, ("verify", "slow"), two, LEASE, 0)
    owners.run(store_runs.start, ("reconcile", "fast"), two, LEASE, 0)
    owners.run(store_runs.renew, run, one, LEASE, "k5")
    owners.run(store_runs.renew, run, one, LEASE, None)
    owners.run(store_runs.end, run, one, is_finished=False)
    with pytest.raises(errors.Gone):
        owners.run(store_runs.renew, run, one, LEASE, "k6")
    assert owners.run(store_runs.start, run, two, LEASE, 3600) == "k5"
    owners.run(store_runs.end, run, two, is_finished=True)
    with pytest.raises(errors.Conflict) as error:
        owners.run(store_runs.start, run, one, LEASE, 3600)
    assert error.value.details["reason"] == "not_due"
    assert owners.run(store_runs.start, run, one, LEASE, 0) is None


def test_a_run_whose_holder_died_is_taken_over(owners: Owners) -> None:
    run, one, two = ("verify", "fast"), new_id(), new_id()
    owners.run(store_runs.start, run, one, LEASE, 0)
    owners.run(store_runs.renew, run, one, LEASE, "k5")
    with owners.engine.begin() as connection:
        connection.execute(sa.update(run_rows).values(lease_until=sa.text("now() - interval '1 second'")))
    assert owners.run(store_runs.start, run, two, LEASE, 0) == "k5"
    for lost in (
        lambda: owners.run(store_runs.renew, run, one, LEASE, "k9"),
        lambda: owners.run(store_runs.end, run, one, is_finished=True),
    ):
        with pytest.raises(errors.Gone):
            lost()
