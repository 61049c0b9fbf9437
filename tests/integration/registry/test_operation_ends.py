"""How operations end: success, failure, a delete of the image; and what stays of the data (I1 to I3, I7)."""

from typing import Any

import pytest
from tests.support.owners import LEASE, Owners, new_id
from tests.support.owners_imports import Imports

from glance_common.model import errors
from glance_common.model.operation import Held
from glance_registry.operations import steps
from glance_registry.records.operations import MAX_ATTEMPTS

STORES = ("a", "b")
NO_DATA = (None, None, None, None, None)


def data_of(owners: Owners, image: str) -> tuple[Any, ...]:
    row = owners.image(image)
    return (row.size, row.virtual_size, row.checksum, row.os_hash_algo, row.os_hash_value)


def lists_of(owners: Owners, image: str) -> tuple[Any, Any]:
    """Return the stores that are to come and those that failed, as clients see them."""
    properties = owners.image(image).properties
    return properties.get("os_glance_importing_to_stores"), properties.get("os_glance_failed_import")


def test_success_makes_the_image_active_with_every_copy(owners: Owners, imports: Imports) -> None:
    image = owners.create()
    held = imports.begun(image, stores=STORES, ttl=2)
    for store in STORES:
        imports.copy(image, held, store)
        assert owners.image(image).status == "importing"
    ended = imports.finish(held, message="done")
    assert (ended["status"], ended["message"]) == ("success", "done")
    row = imports.row(held.operation)
    assert (row.expires_at - row.updated_at).total_seconds() == 2 * 3600
    assert owners.statuses(image) == ("active", ["active", "active"])
    assert [each.operation for each in owners.locations(image)] == [None, None]
    assert lists_of(owners, image) == ("", "")
    assert "os_glance_import_task" not in owners.image(image).properties
    assert data_of(owners, image) == (7, 14, "c" * 32, "sha512", "h" * 128)


def test_finish_again_answers_how_it_ended_and_changes_nothing(owners: Owners, imports: Imports) -> None:
    image = owners.create()
    held = imports.begun(image)
    imports.copy(image, held)
    ended = imports.finish(held, message="first")
    before = owners.image(image)
    assert imports.finish(held, success=False, message="second") == ended
    assert owners.image(image) == before


def test_finish_counts_after_the_lease_until_somebody_takes_over(owners: Owners, imports: Imports) -> None:
    image = owners.create()
    held = imports.begun(image)
    imports.copy(image, held)
    owners.pass_time(10 * LEASE)
    assert imports.finish(held)["status"] == "success"
    assert owners.image(image).status == "active"


def test_success_without_data_is_refused(owners: Owners, imports: Imports) -> None:
    image = owners.create()
    held = imports.begun(image)
    owners.start(image, operation=held)
    with pytest.raises(errors.Conflict) as caught:
        imports.finish(held)
    assert caught.value.details == {"reason": "no_data"}
    assert (owners.image(image).status, imports.status(held.operation)) == ("importing", "processing")


def test_failure_takes_back_the_copies_and_frees_the_image(owners: Owners, imports: Imports) -> None:
    """A required store failed: data are removed from the stores that were filled already (API section 11)."""
    image = owners.create()
    held = imports.begun(image, stores=STORES)
    first = imports.copy(image, held, "a")
    owners.run(steps.store_failed, held, "b")
    assert lists_of(owners, image) == ("", "b")
    assert imports.finish(held, success=False, message="no space")["status"] == "failure"
    assert owners.statuses(image) == ("queued", ["deleting"])
    assert data_of(owners, image) == NO_DATA
    assert lists_of(owners, image) == ("", "b")
    assert owners.due()[0] == [first]
    assert owners.purge(first) is False
    assert owners.image(image).status == "queued"


def test_stores_that_were_never_reached_count_as_failed(owners: Owners, imports: Imports) -> None:
    image = owners.create()
    held = imports.begun(image, stores=STORES)
    imports.finish(held, success=False, message="no such host")
    assert lists_of(owners, image) == ("", "a,b")


def test_a_copy_that_activated_outlives_a_failure(owners: Owners, imports: Imports) -> None:
    """``all_stores_must_succeed`` is false: the image is active after the first success."""
    image = owners.create()
    held = imports.begun(image, stores=STORES)
    imports.copy(image, held, "a", activate=True)
    assert owners.image(image).status == "active"
    imports.finish(held, success=False)
    assert owners.statuses(image) == ("active", ["active"])
    assert lists_of(owners, image) == ("", "b")


def test_a_failed_copy_leaves_the_active_image_as_it_was(owners: Owners, imports: Imports) -> None:
    image, first = owners.active()
    held = imports.copying(image, stores=STORES)
    copy = imports.copy(image, held, "a")
    imports.finish(held, success=False)
    assert owners.statuses(image) == ("active", ["active", "deleting"])
    assert owners.due()[0] == [copy]
    assert owners.location(first).status == "active"
    assert data_of(owners, image)[0] == 7


def test_a_copy_that_became_the_only_one_stays(owners: Owners, imports: Imports) -> None:
    """I1: an active image never loses its last data, also when its other location was taken away meanwhile."""
    image, first = owners.active()
    held = imports.copying(image)
    imports.copy(image, held, "slow")
    with owners.engine.begin() as connection:
        connection.exec_driver_sql(
            "UPDATE locations SET status = 'deleting', deleted_at = now(), not_before = now() WHERE id = %s", (first,)
        )
    imports.finish(held, success=False)
    assert owners.statuses(image) == ("active", ["deleting", "active"])


def test_a_copy_of_other_data_is_refused(owners: Owners, imports: Imports) -> None:
    """I2: the data of an image never change."""
    image, _ = owners.active()
    held = imports.copying(image)
    row = owners.start(image, store="slow", operation=held)
    with pytest.raises(errors.Conflict) as caught:
        owners.commit(row.attempt, 8, operation=held)
    assert caught.value.details == {"reason": "differs"}
    assert owners.location(row.id).status == "writing"
    claim = owners.abort(row.attempt)
    assert claim is not None
    assert owners.statuses(image) == ("active", ["active", "reaping"])


@pytest.mark.parametrize(
    ("on_fail", "status"), [("queued", "queued"), ("killed", "killed"), ("delete", "pending_delete")]
)
def test_failure_leads_where_the_operation_said(owners: Owners, imports: Imports, on_fail: str, status: str) -> None:
    image = owners.create(protected=True)
    held = imports.begun(image, on_fail=on_fail)
    location = imports.copy(image, held)
    imports.finish(held, success=False)
    assert owners.statuses(image) == (status, ["deleting"])
    assert owners.purge(location) is (on_fail == "delete")


def test_a_failed_import_that_wrote_nothing_deletes_its_image_at_once(owners: Owners, imports: Imports) -> None:
    image = owners.create()
    imports.finish(imports.begun(image, on_fail="delete"), success=False)
    assert owners.statuses(image) == ("deleted", [])


def test_delete_of_the_image_ends_its_operation(owners: Owners, imports: Imports) -> None:
    image = owners.create()
    held = imports.begun(image, stores=STORES)
    stored = imports.copy(image, held, "a")
    row = owners.start(image, store="b", operation=held)
    assert owners.delete(image, delayed=True, scrub_time=600) == [stored]
    ended = imports.row(held.operation)
    assert (ended.status, ended.cancelled, ended.message) == ("failure", True, "the image was deleted")
    assert imports.renew(held) is False
    assert imports.finish(held)["status"] == "failure"
    with pytest.raises(errors.Gone) as caught:
        owners.commit(row.attempt, operation=held)
    assert caught.value.details == {"reason": "deleted"}
    claim = owners.abort(row.attempt)
    assert claim is not None
    owners.done(row.id, claim["token"])
    assert owners.purge(stored) is True
    assert owners.statuses(image) == ("deleted", ["deleted", "deleted"])


def test_delete_cancels_work_that_nobody_began(owners: Owners, imports: Imports) -> None:
    image = owners.create()
    operation = imports.create(image)
    owners.delete(image)
    assert imports.claim() is None
    assert imports.row(operation).cancelled is True
    assert owners.image(image).status == "deleted"


def test_restore_of_an_image_under_import_is_queued_without_its_data(owners: Owners, imports: Imports) -> None:
    image = owners.create()
    held = imports.begun(image, stores=STORES)
    stored = imports.copy(image, held, "a")
    owners.delete(image, delayed=True, scrub_time=600)
    owners.restore(image)
    assert owners.statuses(image) == ("queued", ["deleting"])
    assert data_of(owners, image) == NO_DATA
    assert "os_glance_import_task" not in owners.image(image).properties
    assert owners.purge(stored) is False
    assert imports.begun(image).operation != held.operation


def test_restore_of_an_image_that_was_being_copied_brings_back_its_own_data_only(
    owners: Owners, imports: Imports
) -> None:
    image, first = owners.active()
    held = imports.copying(image)
    copy = imports.copy(image, held, "slow")
    owners.delete(image, delayed=True, scrub_time=600)
    owners.purge(copy)
    owners.restore(image)
    assert owners.statuses(image) == ("active", ["active", "deleted"])
    assert owners.location(first).status == "active"


def test_a_dead_write_leaves_the_image_to_the_operation_that_lives(owners: Owners, imports: Imports) -> None:
    """Its worker died: the bytes are reaped, and another worker takes the operation up where it stands."""
    image = owners.create()
    held = imports.begun(image, stores=STORES)
    dead = owners.start(image, store="a", operation=held)
    owners.pass_time(LEASE + 1)
    taken = imports.claimed()
    assert owners.purge(dead.id) is False
    assert owners.statuses(image) == ("importing", ["deleted"])
    for store in STORES:
        imports.copy(image, taken, store)
    imports.finish(taken)
    assert owners.statuses(image) == ("active", ["deleted", "active", "active"])


def test_an_aborted_write_leaves_the_image_to_the_operation(owners: Owners, imports: Imports) -> None:
    image = owners.create()
    held = imports.begun(image)
    row = owners.start(image, operation=held)
    claim = owners.abort(row.attempt)
    assert claim is not None
    assert owners.statuses(image) == ("importing", ["reaping"])


def test_a_late_worker_of_a_failed_operation_commits_nothing(owners: Owners, imports: Imports) -> None:
    """I3: what it still writes has an owner, and no way into the image."""
    image = owners.create()
    held = imports.begun(image)
    row = owners.start(image, operation=held)
    for _ in range(MAX_ATTEMPTS - 1):
        owners.pass_time(LEASE + 1)
        imports.claimed()
    owners.pass_time(LEASE + 1)
    imports.claim()
    assert owners.image(image).status == "queued"
    next_one = owners.start(image)
    with pytest.raises(errors.Gone):
        owners.commit(row.attempt, operation=held)
    owners.claim(row.id)
    assert owners.image(image).status == "saving"
    owners.commit(next_one.attempt)
    assert owners.image(image).status == "active"


def test_a_write_must_name_the_operation_that_began_it(owners: Owners, imports: Imports) -> None:
    image = owners.create()
    held = imports.begun(image)
    row = owners.start(image, operation=held)
    for other in (None, Held(new_id(), held.token), Held(held.operation, new_id())):
        with pytest.raises(errors.Gone) as caught:
            owners.commit(row.attempt, operation=other)
        assert caught.value.details == {"reason": "operation"}
    with pytest.raises(errors.Gone):
        owners.start(image, operation=Held(held.operation, new_id()))
    assert owners.statuses(image) == ("importing", ["writing"])
