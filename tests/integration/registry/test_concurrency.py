"""Two callers at the same row at the same moment: the database decides once, and everybody hears the same."""

import threading
from typing import Any

import pytest
import sqlalchemy as sa
from tests.support.owners import LEASE, OWNER, Owners, new_id
from tests.support.races import failures, race

from glance_common.model import errors
from glance_registry.db.tables import images, locations
from glance_registry.images import delete
from glance_registry.locations import purge
from glance_registry.records.rows import lock_image

ROUNDS = 8


@pytest.mark.parametrize("_round", range(ROUNDS))
def test_two_claims_have_one_winner(owners: Owners, _round: int) -> None:
    image, location = owners.active()
    owners.delete(image)
    outcomes = race(*[lambda: owners.claim(location)] * 4)
    lost = failures(outcomes)
    assert [error.details["reason"] for error in lost] == ["claimed"] * 3
    winner = next(outcome for outcome in outcomes if outcome not in lost)
    assert owners.location(location).token == winner["token"]


@pytest.mark.parametrize("_round", range(ROUNDS))
def test_one_claim_repeated_at_the_same_moment_is_one_claim(owners: Owners, _round: int) -> None:
    image, location = owners.active()
    owners.delete(image)
    token = new_id()
    first, second = race(*[lambda: owners.claim(location, token)] * 2)
    assert first == second
    assert first["token"] == token


@pytest.mark.parametrize("_round", range(ROUNDS))
def test_restore_against_claim_has_one_winner(owners: Owners, _round: int) -> None:
    image, location = owners.active()
    owners.delete(image)
    claimed, restored = race(lambda: owners.claim(location), lambda: owners.restore(image))
    if isinstance(restored, errors.Conflict):
        assert claimed["location"] == location
        assert owners.statuses(image) == ("pending_delete", ["deleting"])
    else:
        assert isinstance(claimed, errors.Conflict)
        assert claimed.details["reason"] == "in_use"
        assert owners.statuses(image) == ("active", ["active"])


@pytest.mark.parametrize("_round", range(ROUNDS))
def test_commit_against_delete_leaves_no_bytes_without_owner(owners: Owners, _round: int) -> None:
    image = owners.create()
    row = owners.start(image)
    committed, due = race(lambda: owners.commit(row.attempt), lambda: owners.delete(image))
    assert owners.statuses(image) == ("pending_delete", ["pending_delete"])
    if isinstance(committed, errors.Gone):
        # The writer was too late: its bytes are its own to remove.
        assert due == []
        claim = owners.abort(row.attempt)
        assert claim is not None
        assert owners.done(row.id, claim["token"]) is True
    else:
        assert due == [row.id]
        assert owners.purge(row.id) is True


@pytest.mark.parametrize("_round", range(ROUNDS))
def test_commit_against_reaper_has_one_winner(owners: Owners, _round: int) -> None:
    image = owners.create()
    row = owners.start(image)
    owners.pass_time(LEASE + 1)
    committed, claimed = race(lambda: owners.commit(row.attempt), lambda: owners.claim(row.id))
    if isinstance(committed, errors.Gone):
        assert claimed["location"] == row.id
        assert owners.statuses(image) == ("queued", ["reaping"])
    else:
        assert isinstance(claimed, errors.Conflict)
        assert owners.statuses(image) == ("active", ["active"])


@pytest.mark.parametrize("_round", range(ROUNDS))
def test_renewal_against_reaper_has_one_winner(owners: Owners, _round: int) -> None:
    row = owners.start(owners.create())
    owners.pass_time(LEASE + 1)
    renewed, claimed = race(lambda: owners.renew_upload(row.attempt), lambda: owners.claim(row.id))
    assert len(failures([renewed, claimed])) == 1
    assert owners.location(row.id).status == ("reaping" if isinstance(renewed, errors.Gone) else "writing")


@pytest.mark.parametrize("_round", range(ROUNDS))
def test_s67_two_uploads_have_one_winner(owners: Owners, _round: int) -> None:
    image = owners.create()
    outcomes = race(*[lambda: owners.start(image)] * 4)
    assert len(failures(outcomes)) == 3
    assert all(isinstance(error, errors.StatusConflict) for error in failures(outcomes))
    assert owners.statuses(image) == ("saving", ["writing"])


@pytest.mark.parametrize("_round", range(ROUNDS))
def test_one_start_repeated_at_the_same_moment_is_one_upload(owners: Owners, _round: int) -> None:
    image, attempt = owners.create(), new_id()
    first, second = race(*[lambda: owners.start(image, attempt)] * 2)
    assert first.id == second.id
    assert owners.statuses(image) == ("saving", ["writing"])


@pytest.mark.parametrize("_round", range(ROUNDS))
def test_two_deletes_have_one_winner(owners: Owners, _round: int) -> None:
    image, location = owners.active()
    outcomes = race(*[lambda: owners.delete(image)] * 3)
    assert sum(outcome == [location] for outcome in outcomes) == 1
    assert all(isinstance(error, errors.NotFound) for error in failures(outcomes))


@pytest.mark.parametrize("_round", range(ROUNDS))
def test_last_two_locations_done_at_the_same_moment_finish_the_image(owners: Owners, _round: int) -> None:
    image, first = owners.active()
    second = owners.add_copy(image, "slow")
    owners.delete(image)
    tokens = {location: owners.claim(location)["token"] for location in (first, second)}
    outcomes = race(*[lambda location=location: owners.done(location, tokens[location]) for location in tokens])
    assert sorted(outcomes) == [False, True]
    assert owners.image(image).status == "deleted"


@pytest.mark.parametrize("_round", range(ROUNDS))
def test_abort_against_reaper_has_one_owner_of_the_bytes(owners: Owners, _round: int) -> None:
    image = owners.create()
    row = owners.start(image)
    owners.pass_time(LEASE + 1)
    aborted, claimed = race(lambda: owners.abort(row.attempt), lambda: owners.claim(row.id))
    assert (aborted is None) is not isinstance(claimed, errors.Conflict)
    assert owners.statuses(image) == ("queued", ["reaping"])


def test_protection_that_comes_first_is_seen_by_a_waiting_delete(owners: Owners) -> None:
    """S-01: the delete looks at the row that it has locked, not at one it read before."""
    image, _ = owners.active()
    outcomes: list[Any] = []
    with owners.engine.begin() as connection:
        connection.execute(sa.update(images).where(images.c.id == image).values(protected=True))
        thread = threading.Thread(target=lambda: outcomes.extend(race(lambda: owners.delete(image))))
        thread.start()
        wait_for_waiting_lock(owners)
    thread.join()
    assert isinstance(outcomes[0], errors.Forbidden)
    assert owners.statuses(image) == ("active", ["active"])


def test_data_that_come_while_a_delete_waits_are_seen_by_it(owners: Owners) -> None:
    """I3: the row of the image stays as it was, only its lock tells of the bytes that it is about to have."""
    image = owners.create()
    outcomes: list[Any] = []
    with owners.engine.begin() as connection:
        lock_image(connection, images.c.id == image)
        thread = threading.Thread(target=lambda: outcomes.extend(race(lambda: owners.delete(image))))
        thread.start()
        wait_for_waiting_lock(owners)
        location = insert_location(connection, image)
    thread.join()
    assert outcomes == [[location]]
    assert owners.statuses(image) == ("pending_delete", ["pending_delete"])


def test_process_that_dies_before_its_commit_changes_nothing(owners: Owners) -> None:
    image, location = owners.active()
    with owners.engine.connect() as connection:
        delete.delete(connection, OWNER, image, delete.Delete(new_id(), delayed=False, scrub_time=0))
        purge.claim(connection, location, purge.PurgeClaim(new_id(), LEASE, None, 0))
        connection.rollback()
    assert owners.statuses(image) == ("active", ["active"])


def wait_for_waiting_lock(owners: Owners) -> None:
    """Return as soon as some session waits for a lock."""
    here = "wait_event_type = 'Lock' AND datname = current_database()"
    waiting = sa.text(f"SELECT count(*) FROM pg_stat_activity WHERE {here}")
    with owners.engine.connect() as connection:
        for _ in range(6000):
            if connection.execute(waiting).scalar():
                return
            connection.rollback()
            connection.execute(sa.text("SELECT pg_sleep(0.01)"))
    raise AssertionError("nobody waits for a lock")


def insert_location(connection: sa.Connection, image: str) -> str:
    location = new_id()
    row = {"id": location, "image_id": image, "store": "fast", "key": image, "status": "active", "attempt": new_id()}
    connection.execute(sa.insert(locations).values(row))
    return location
