"""Operations: the import lock, who works on what, and who takes over (lifecycle sections 6 and 7)."""

import pytest
from tests.support.owners import ADMIN, LEASE, MOST_OF_LEASE, Owners, new_id
from tests.support.owners_imports import HOST, Imports

from glance_common.model import errors
from glance_common.model.context import RequestContext
from glance_common.model.operation import PATIENCE, Held
from glance_common.model.status import ImageStatus
from glance_registry.operations import lifecycle, steps
from glance_registry.records.operations import MAX_ATTEMPTS

STRANGER = RequestContext(request_id="req-stranger", project_id="other")


def test_create_locks_the_image_and_keeps_who_asked(owners: Owners, imports: Imports) -> None:
    image = owners.create(properties={"os": "debian"})
    user = RequestContext("req-1", user_id="u", project_id="own", roles=("member",))
    operation = imports.create(image, context=user, stores=("a", "b"))
    row = imports.row(operation)
    assert (row.owner, row.user_id, row.request_id, row.roles) == ("own", "u", "req-1", ["member"])
    assert (row.status, row.token, row.lease_until, row.attempts, row.expires_at) == ("pending", None, None, 0, None)
    assert owners.image(image).status == "importing"
    assert owners.image(image).properties == {
        "os": "debian", "os_glance_import_task": operation, "os_glance_importing_to_stores": "a,b",
        "os_glance_failed_import": "",
    }


def test_create_again_with_the_same_id_answers_the_same(owners: Owners, imports: Imports) -> None:
    image, operation = owners.create(), new_id()
    imports.create(image, operation)
    before = owners.image(image)
    assert imports.create(image, operation) == operation
    assert owners.image(image) == before
    imports.finish(imports.claimed(), success=False)
    assert imports.create(image, operation) == operation
    assert imports.status(operation) == "failure"
    with pytest.raises(errors.Duplicate):
        imports.create(owners.create(), operation)


def test_a_held_lock_refuses_and_names_its_task(owners: Owners, imports: Imports) -> None:
    image, _ = owners.active()
    holder = imports.copying(image)
    with pytest.raises(errors.Conflict) as caught:
        imports.copying(image)
    assert caught.value.details == {"operation": holder.operation, "reason": "locked"}
    assert imports.status(holder.operation) == "processing"


def test_create_checks_status_and_visibility(owners: Owners, imports: Imports) -> None:
    image, _ = owners.active()
    with pytest.raises(errors.StatusConflict) as caught:
        imports.create(image)
    assert caught.value.details == {"status": "active", "wanted": "importing"}
    for identifier in (image, new_id()):
        with pytest.raises(errors.NotFound):
            imports.create(identifier, context=STRANGER)
    assert imports.claim() is None


def test_the_oldest_is_claimed_first_and_only_by_the_host_that_has_its_data(owners: Owners, imports: Imports) -> None:
    there = imports.create(owners.create(), host="there")
    first, second = (imports.create(owners.create()) for _ in range(2))
    assert [imports.claimed().operation for _ in range(2)] == [first, second]
    assert imports.claim() is None
    assert imports.claimed(host="there").operation == there


def test_a_claim_is_answered_again_and_counts_once(owners: Owners, imports: Imports) -> None:
    imports.create(owners.create())
    token = new_id()
    first = imports.claim(token)
    assert first is not None
    assert imports.claim(token) == first
    assert (imports.row(first["id"]).attempts, imports.row(first["id"]).status) == (1, "processing")


def test_an_expired_lease_is_taken_over_and_the_first_worker_hears_of_it(owners: Owners, imports: Imports) -> None:
    held = imports.begun()
    image = imports.row(held.operation).image_id
    imports.owners.pass_time(LEASE + 1)
    taken = imports.claimed()
    assert (taken.operation, imports.row(held.operation).attempts) == (held.operation, 2)
    for call in (
        lambda: imports.renew(held),
        lambda: imports.finish(held),
        lambda: imports.copy(image, held),
        lambda: owners.run(steps.unstage, held),
        lambda: owners.run(steps.store_failed, held, "fast"),
        lambda: owners.run(steps.update, held, {}, {"a": "b"}),
        lambda: owners.run(lifecycle.release, held),
    ):
        with pytest.raises(errors.Gone):
            call()
    assert imports.renew(taken) is True


def test_renew_keeps_the_operation_and_tells_the_progress(imports: Imports) -> None:
    held = imports.begun()
    imports.owners.pass_time(MOST_OF_LEASE)
    assert imports.renew(held, "Copied 15 MiB") is True
    assert imports.row(held.operation).message == "Copied 15 MiB"
    imports.owners.pass_time(MOST_OF_LEASE)
    assert imports.renew(held) is True
    assert imports.row(held.operation).message == "Copied 15 MiB"
    assert imports.claim() is None


def test_an_expired_lease_nobody_took_is_revived(imports: Imports) -> None:
    held = imports.begun()
    imports.owners.pass_time(10 * PATIENCE)
    assert imports.renew(held) is True
    assert imports.claim() is None


def test_released_work_is_claimed_again_and_the_attempt_does_not_count(imports: Imports) -> None:
    held = imports.begun()
    for _ in range(2):
        imports.owners.run(lifecycle.release, held)
        assert (imports.status(held.operation), imports.row(held.operation).attempts) == ("pending", 0)
    assert imports.claimed().operation == held.operation


def test_what_kills_its_worker_each_time_is_given_up(owners: Owners, imports: Imports) -> None:
    """I7: no image stays importing because of work that nobody survives."""
    image = owners.create()
    held = imports.begun(image)
    for _ in range(MAX_ATTEMPTS - 1):
        owners.pass_time(LEASE + 1)
        assert imports.claimed().operation == held.operation
    owners.pass_time(LEASE + 1)
    assert imports.claim() is None
    row = imports.row(held.operation)
    assert (row.status, row.message) == ("failure", f"given up after {MAX_ATTEMPTS} attempts, of which none ended")
    assert (owners.image(image).status, owners.image(image).properties) == ("queued", {})


def test_giving_up_names_what_the_last_worker_said(owners: Owners, imports: Imports) -> None:
    held = imports.begun(owners.create())
    for _ in range(MAX_ATTEMPTS - 1):
        owners.pass_time(LEASE + 1)
        held = imports.claimed()
    imports.renew(held, "the key manager is down")
    owners.pass_time(LEASE + 1)
    assert imports.claim() is None
    assert imports.row(held.operation).message == (
        f"given up after {MAX_ATTEMPTS} attempts, of which none ended; the last message: the key manager is down"
    )


def test_staged_data_of_a_lost_host_fail_the_task_and_free_the_image(owners: Owners, imports: Imports) -> None:
    """I7: others may only fail it, with the reason, after its deadline."""
    image = owners.create()
    staged = imports.stage(image)
    operation = imports.create(image, host="gone")
    owners.pass_time(PATIENCE - 60)
    assert imports.claim() is None
    assert imports.status(operation) == "pending"
    owners.pass_time(61)
    assert imports.claim() is None
    assert imports.status(operation) == "failure"
    assert "host gone" in imports.row(operation).message
    assert owners.statuses(image) == ("queued", ["deleting"])
    assert owners.due(stores=["staging"])[0] == [staged]


def test_a_busy_host_keeps_what_waits_for_it(owners: Owners, imports: Imports) -> None:
    first, second = (imports.create(owners.create(), host=HOST) for _ in range(2))
    owners.pass_time(PATIENCE - 60)
    assert imports.claimed().operation == first
    owners.pass_time(PATIENCE - 60)
    assert imports.claim(host="other") is None
    assert imports.status(second) == "pending"


def test_a_host_whose_workers_are_all_busy_keeps_what_waits_for_it(owners: Owners, imports: Imports) -> None:
    """It claims nothing for hours, but its renewals show that it lives."""
    held = imports.begun(host=HOST)
    waiting = imports.create(owners.create(), host=HOST)
    for _ in range(3):
        owners.pass_time(PATIENCE - 60)
        imports.renew(held)
    owners.pass_time(10)
    assert imports.claim(host="other") is None
    assert imports.status(waiting) == "pending"


def test_what_only_one_process_can_do_ends_soon_after_it(owners: Owners, imports: Imports) -> None:
    """I7: a token of a user is in the memory of one process; when that is gone nobody can go on."""
    operation = imports.create(owners.create(), host="process", patience=120)
    for _ in range(3):
        owners.pass_time(75)
        imports.alive("process")
        assert imports.claim() is None
    assert imports.status(operation) == "pending"
    owners.pass_time(121)
    assert imports.claim() is None
    assert imports.status(operation) == "failure"
    assert owners.image(imports.row(operation).image_id).status == "queued"


def test_work_that_any_host_can_do_waits_as_long_as_it_takes(owners: Owners, imports: Imports) -> None:
    operation = imports.create(owners.create())
    owners.pass_time(100 * PATIENCE)
    assert imports.claimed().operation == operation


@pytest.mark.parametrize("was_claimed", [True, False])
def test_a_stale_lock_is_broken(owners: Owners, imports: Imports, was_claimed: bool) -> None:
    image = owners.create()
    stale = imports.create(image, stores=("a",))
    held = imports.claimed() if was_claimed else None
    owners.pass_time(PATIENCE + 1)
    fresh = imports.create(image, stores=("b",))
    assert (imports.status(stale), imports.row(stale).message) == ("failure", lifecycle.PREEMPTED)
    assert owners.image(image).status == "importing"
    # The stores of the old task are no matter of the new one.
    assert owners.image(image).properties == {
        "os_glance_import_task": fresh, "os_glance_importing_to_stores": "b", "os_glance_failed_import": "",
    }
    if held is not None:
        assert imports.renew(held) is False


def test_a_lock_whose_worker_lives_is_never_stale(owners: Owners, imports: Imports) -> None:
    image = owners.create()
    held = imports.begun(image)
    for _ in range(3):
        owners.pass_time(PATIENCE + 1)
        imports.renew(held)
        with pytest.raises(errors.Conflict):
            imports.create(image)


def test_an_operation_may_make_its_image(owners: Owners, imports: Imports) -> None:
    held = imports.begun_without_image(kind="import", on_fail="delete")
    image = owners.create()
    for _ in range(2):
        assert owners.run(lifecycle.attach, held, image, ["a"]) == image
    assert imports.row(held.operation).image_id == image
    assert owners.image(image).status == "importing"
    assert owners.image(image).properties["os_glance_import_task"] == held.operation
    with pytest.raises(errors.Conflict):
        owners.run(lifecycle.attach, held, owners.create(), [])


def test_attach_needs_a_free_queued_image_and_a_held_operation(owners: Owners, imports: Imports) -> None:
    busy = owners.create()
    imports.begun(busy)
    held = imports.begun_without_image(kind="import")
    with pytest.raises(errors.Conflict, match="being worked on"):
        owners.run(lifecycle.attach, held, busy, [])
    with pytest.raises(errors.StatusConflict):
        owners.run(lifecycle.attach, held, owners.active()[0], [])
    with pytest.raises(errors.NotFound):
        owners.run(lifecycle.attach, held, new_id(), [])
    with pytest.raises(errors.Gone):
        owners.run(lifecycle.attach, Held(held.operation, new_id()), owners.create(), [])


def test_update_changes_formats_and_merges_properties(owners: Owners, imports: Imports) -> None:
    image = owners.create(disk_format=None, properties={"keep": "1", "drop": "2"})
    held = imports.begun(image)
    changes = {"disk_format": "qcow2", "virtual_size": 99, "size": 5}
    owners.run(steps.update, held, changes, {"drop": None, "new": "3"})
    after = owners.image(image)
    assert (after.disk_format, after.virtual_size, after.size) == ("qcow2", 99, 5)
    assert after.properties == {"keep": "1", "new": "3", "os_glance_import_task": held.operation}
    with pytest.raises(errors.Conflict, match="never changes"):
        owners.run(steps.update, held, {"size": 6}, {})
    assert owners.image(image) == after


def test_no_upload_beside_an_operation_that_left_its_image_queued(owners: Owners, imports: Imports) -> None:
    queued = imports.begun(owners.create(), image_status=None)
    with pytest.raises(errors.StatusConflict):
        owners.start(imports.row(queued.operation).image_id, operation=queued)


def test_a_step_needs_an_image(imports: Imports) -> None:
    held = imports.begun_without_image(kind="import")
    with pytest.raises(errors.Conflict, match="no image"):
        imports.owners.run(steps.store_failed, held, "fast")


def test_s67_an_upload_cannot_slip_between(owners: Owners, imports: Imports) -> None:
    image = owners.create()
    imports.begun(image)
    with pytest.raises(errors.StatusConflict):
        owners.start(image)
    assert owners.locations(image) == []


def test_administrators_see_and_may_import_every_image(owners: Owners, imports: Imports) -> None:
    operation = imports.create(owners.create(), context=ADMIN)
    assert (imports.row(operation).owner, imports.row(operation).is_admin) == (None, True)
    assert imports.claimed().operation == operation
    assert ImageStatus(owners.image(imports.row(operation).image_id).status) is ImageStatus.IMPORTING
