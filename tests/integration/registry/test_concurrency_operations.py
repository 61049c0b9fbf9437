"""Two at the same operation at the same moment: one works, one lock holds, and nobody waits in a circle."""

from typing import Any

import pytest
from tests.support.owners import LEASE, Owners, new_id
from tests.support.owners_imports import Imports
from tests.support.races import failures, race

from glance_common.model import errors
from glance_common.model.operation import PATIENCE
from glance_registry.locations.purge import ABANDONED
from glance_registry.operations import completion
from glance_registry.records.operations import MAX_ATTEMPTS

ROUNDS = 6


@pytest.mark.parametrize("_round", range(ROUNDS))
def test_two_imports_of_an_image_have_one_winner(owners: Owners, imports: Imports, _round: int) -> None:
    image, _ = owners.active()
    options: dict[str, Any] = {"allowed": ("active",), "image_status": None}
    outcomes = race(*[lambda: imports.create(image, **options)] * 4)
    lost = failures(outcomes)
    (winner,) = [outcome for outcome in outcomes if outcome not in lost]
    assert [error.details for error in lost] == [{"operation": winner, "reason": "locked"}] * 3


@pytest.mark.parametrize("_round", range(ROUNDS))
def test_one_import_repeated_at_the_same_moment_is_one(owners: Owners, imports: Imports, _round: int) -> None:
    image, operation = owners.create(), new_id()
    assert race(*[lambda: imports.create(image, operation)] * 3) == [operation] * 3


@pytest.mark.parametrize("_round", range(ROUNDS))
def test_one_task_without_image_repeated_at_the_same_moment_is_one(imports: Imports, _round: int) -> None:
    operation = new_id()
    assert race(*[lambda: imports.create(None, operation, kind="import")] * 3) == [operation] * 3


@pytest.mark.parametrize("_round", range(ROUNDS))
def test_claimers_get_different_operations(owners: Owners, imports: Imports, _round: int) -> None:
    made = {imports.create(owners.create()) for _ in range(3)}
    found = race(*[imports.claim] * 5)
    ids = [each["id"] for each in found if each is not None]
    assert len(ids) == len(set(ids))
    # A row that another one locked at that moment is passed over; the next poll finds it.
    while (each := imports.claim()) is not None:
        ids.append(each["id"])
    assert sorted(ids) == sorted(made)


@pytest.mark.parametrize("_round", range(ROUNDS))
def test_an_expired_lease_has_one_heir(imports: Imports, _round: int) -> None:
    held = imports.begun()
    imports.owners.pass_time(LEASE + 1)
    outcomes = race(*[imports.claim] * 4)
    assert [each["id"] for each in outcomes if each is not None] == [held.operation]
    assert imports.row(held.operation).attempts == 2


@pytest.mark.parametrize("_round", range(ROUNDS))
def test_renewal_against_heir_has_one_winner(imports: Imports, _round: int) -> None:
    held = imports.begun()
    imports.owners.pass_time(LEASE + 1)
    renewed, claimed = race(lambda: imports.renew(held), imports.claim)
    assert isinstance(renewed, errors.Gone) is (claimed is not None)


@pytest.mark.parametrize("_round", range(ROUNDS))
def test_a_stale_lock_is_broken_by_exactly_one(owners: Owners, imports: Imports, _round: int) -> None:
    image = owners.create()
    stale = imports.create(image)
    owners.pass_time(PATIENCE + 1)
    outcomes = race(*[lambda: imports.create(image)] * 4)
    lost = failures(outcomes)
    assert len(lost) == 3
    assert all(isinstance(error, errors.Conflict) for error in lost)
    assert imports.status(stale) == "failure"
    assert owners.image(image).status == "importing"


@pytest.mark.parametrize("_round", range(ROUNDS))
def test_a_stale_lock_against_its_worker_has_one_winner(owners: Owners, imports: Imports, _round: int) -> None:
    image = owners.create()
    held = imports.begun(image)
    owners.pass_time(PATIENCE + 1)
    renewed, created = race(lambda: imports.renew(held), lambda: imports.create(image))
    assert renewed is isinstance(created, errors.Conflict)
    assert imports.status(held.operation) == ("processing" if renewed else "failure")


@pytest.mark.parametrize("_round", range(ROUNDS))
def test_commit_against_delete_leaves_no_bytes_without_owner(owners: Owners, imports: Imports, _round: int) -> None:
    image = owners.create()
    held = imports.begun(image)
    row = owners.start(image, operation=held)
    committed, due = race(
        lambda: owners.commit(row.attempt, operation=held, activate=False), lambda: owners.delete(image)
    )
    assert imports.row(held.operation).cancelled is True
    if isinstance(committed, errors.Gone):
        assert (due, owners.statuses(image)) == ([], ("pending_delete", ["pending_delete"]))
        claim = owners.abort(row.attempt)
        assert claim is not None
        assert owners.done(row.id, claim["token"]) is True
    else:
        assert (due, owners.statuses(image)) == ([row.id], ("pending_delete", ["deleting"]))
        assert owners.purge(row.id) is True


@pytest.mark.parametrize("_round", range(ROUNDS))
def test_finish_against_delete_ends_the_operation_once(owners: Owners, imports: Imports, _round: int) -> None:
    image = owners.create()
    held = imports.begun(image)
    location = imports.copy(image, held)
    finished, due = race(lambda: imports.finish(held), lambda: owners.delete(image))
    assert due == [location]
    row = imports.row(held.operation)
    assert (finished["status"], row.cancelled) in (("success", False), ("failure", True))
    assert finished["status"] == row.status
    assert owners.purge(location) is True


@pytest.mark.parametrize("_round", range(ROUNDS))
def test_finish_repeated_at_the_same_moment_is_one_end(owners: Owners, imports: Imports, _round: int) -> None:
    image = owners.create()
    held = imports.begun(image)
    imports.copy(image, held)
    first, second = race(lambda: imports.finish(held), lambda: imports.finish(held, success=False))
    assert first == second
    assert owners.statuses(image) in (("active", ["active"]), ("queued", ["deleting"]))


@pytest.mark.parametrize("_round", range(ROUNDS))
def test_finish_against_heir_has_one_winner(owners: Owners, imports: Imports, _round: int) -> None:
    image = owners.create()
    held = imports.begun(image)
    imports.copy(image, held)
    owners.pass_time(LEASE + 1)
    finished, claimed = race(lambda: imports.finish(held), imports.claim)
    assert isinstance(finished, errors.Gone) is (claimed is not None)
    assert owners.image(image).status == ("importing" if claimed else "active")


@pytest.mark.parametrize("_round", range(ROUNDS))
def test_copies_committed_at_the_same_moment_are_both_there(owners: Owners, imports: Imports, _round: int) -> None:
    """Parallel copies to several stores: none forgets what the other wrote to the image."""
    image = owners.create()
    held = imports.begun(image, stores=("a", "b"))
    outcomes = race(*[lambda store=store: imports.copy(image, held, store) for store in ("a", "b")])
    assert failures(outcomes) == []
    imports.finish(held)
    assert owners.image(image).properties == {"os_glance_importing_to_stores": "", "os_glance_failed_import": ""}


@pytest.mark.parametrize("_round", range(ROUNDS))
def test_hopeless_work_is_given_up_by_many_at_once(owners: Owners, imports: Imports, _round: int) -> None:
    made = [imports.create(owners.create()) for _ in range(2)]
    for _ in range(MAX_ATTEMPTS * len(made)):
        imports.claimed()
        owners.pass_time(LEASE + 1)
    assert race(*[imports.claim] * 3) == [None] * 3
    assert [imports.status(operation) for operation in made] == ["failure"] * 2


@pytest.mark.parametrize("_round", range(ROUNDS))
def test_a_commit_against_giving_its_upload_up_has_one_winner(owners: Owners, imports: Imports, _round: int) -> None:
    image = owners.create()
    row = owners.start(image)
    owners.pass_time(ABANDONED + LEASE + 1)
    committed, _ = race(lambda: owners.commit(row.attempt), imports.claim)
    if isinstance(committed, errors.Gone):
        assert owners.statuses(image) == ("queued", ["reaping"])
    else:
        assert owners.statuses(image) == ("active", ["active"])


@pytest.mark.parametrize("_round", range(ROUNDS))
def test_attach_against_give_up_leaves_no_image_behind(owners: Owners, imports: Imports, _round: int) -> None:
    """I7: the image that a dying operation just made does not stay importing."""
    held = imports.begun_without_image(kind="import")
    for _ in range(MAX_ATTEMPTS - 1):
        owners.pass_time(LEASE + 1)
        held = imports.claimed()
    owners.pass_time(LEASE + 1)
    image = owners.create()
    attached, claimed = race(lambda: imports.attach(held, image), imports.claim)
    assert claimed is None
    assert isinstance(attached, str | errors.Gone)
    assert (imports.status(held.operation), owners.image(image).status) == ("failure", "queued")


def test_a_worker_that_dies_before_its_commit_changes_nothing(owners: Owners, imports: Imports) -> None:
    image = owners.create()
    held = imports.begun(image)
    imports.copy(image, held)
    before = owners.image(image), owners.locations(image), imports.row(held.operation)
    with owners.engine.connect() as connection:
        completion.finish(connection, held, True, "over", None)
        connection.rollback()
    assert (owners.image(image), owners.locations(image), imports.row(held.operation)) == before
