"""Rows of what was deleted long ago leave the database (tools section 3; DEL-10, S-25)."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa
from tests.support.owners import Owners
from tests.support.owners_imports import Imports
from tests.support.registry_rows import insert_members

from glance_common.model import errors
from glance_registry import housekeeping
from glance_registry.db.tables import images as image_rows
from glance_registry.db.tables import metadata
from glance_registry.housekeeping import Ages, Housekeeping
from glance_registry.manage import main
from glance_registry.records import deleted_rows

DAY = 86400.0
Manage = Callable[..., int]


@pytest.fixture
def manage(owners: Owners, tmp_path: Path) -> Manage:
    """glance-manage on the database of ``owners``."""
    url = owners.engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    path = tmp_path / "glance-manage.conf"
    path.write_text(f"[database]\nconnection = {url}\n")
    return lambda *arguments: main.main(["--config-file", str(path), *arguments])


def deleted(owners: Owners) -> str:
    """Return an image that is deleted for good, with a member."""
    image, location = owners.active(visibility="shared")
    insert_members(owners.engine, image, {"other": "accepted"})
    owners.delete(image)
    owners.purge(location)
    return image


def left(owners: Owners) -> dict[str, int]:
    names = ("images", "members", "locations", "operations")
    with owners.engine.connect() as connection:
        return {name: connection.execute(sa.text(f"SELECT count(*) FROM {name}")).scalar_one() for name in names}


@pytest.mark.parametrize("old_form", [False, True])
def test_del10_old_rows_go_and_young_ones_stay(
    owners: Owners, imports: Imports, manage: Manage, old_form: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    def db(command: str, *more: str) -> int:
        return manage(*([f"db_{command}"] if old_form else ["db", command]), *more)

    deleted(owners)
    imports.finish(imports.begun(ttl=1), success=False)
    owners.pass_time(29 * DAY)
    deleted(owners)
    live, _ = owners.active()
    assert db("purge") == 0
    assert capsys.readouterr().out == "locations: 0 rows purged\nmembers: 0 rows purged\noperations: 0 rows purged\n"
    owners.pass_time(2 * DAY)
    assert db("purge") == 0
    assert capsys.readouterr().out == "locations: 1 rows purged\nmembers: 1 rows purged\noperations: 1 rows purged\n"
    owners.pass_time(DAY)
    assert db("purge", "--age_in_days", "30") == 0
    assert left(owners) == {"images": 4, "members": 1, "locations": 2, "operations": 0}
    assert db("purge", "--age_in_days", "0") == 0
    assert left(owners) == {"images": 4, "members": 0, "locations": 1, "operations": 0}
    capsys.readouterr()
    assert db("purge_images_table", "--age_in_days", "0") == 0
    told = capsys.readouterr()
    assert told.out == "images: 2 rows purged\n"
    assert told.err.startswith("WARNING: the ids of purged images are free")
    assert left(owners) == {"images": 2, "members": 0, "locations": 1, "operations": 0}
    assert owners.statuses(live) == ("active", ["active"])


def test_s25_the_id_of_a_deleted_image_is_taken_until_its_row_is_purged(owners: Owners, manage: Manage) -> None:
    image = deleted(owners)
    owners.pass_time(31 * DAY)
    assert manage("db", "purge") == 0
    assert manage("db", "purge_images_table") == 0, "179 days are not enough"
    with pytest.raises(sa.exc.IntegrityError):
        owners.create(id=image)
    owners.pass_time(150 * DAY)
    assert manage("db", "purge_images_table") == 0
    assert owners.create(id=image) == image


def test_del10_children_go_before_images(
    owners: Owners, manage: Manage, capsys: pytest.CaptureFixture[str]
) -> None:
    deleted(owners)
    deleted(owners)
    owners.pass_time(200 * DAY)
    assert manage("db", "purge_images_table") == 1
    assert capsys.readouterr().err.splitlines()[-1] == (
        "ERROR: 2 deleted images stay, as rows of the table locations refer to them: run db purge first"
    )
    assert left(owners)["images"] == 2
    assert manage("db", "purge") == 0
    assert manage("db", "purge_images_table") == 0
    assert set(left(owners).values()) == {0}


def test_del10_rows_of_another_table_are_told_and_nothing_goes(
    owners: Owners, manage: Manage, capsys: pytest.CaptureFixture[str]
) -> None:
    image = deleted(owners)
    owners.pass_time(200 * DAY)
    assert manage("db", "purge") == 0
    with owners.engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE notes (image_id UUID CONSTRAINT fk_notes REFERENCES images (id))"))
        connection.execute(sa.text("INSERT INTO notes VALUES (:id)"), {"id": image})
    try:
        assert manage("db", "purge_images_table") == 1
        assert "ERROR: rows of another table refer to images that are to go: fk_notes" in capsys.readouterr().err
        assert owners.image(image).status == "deleted"
        Housekeeping(owners.engine, Ages(images=1, rows=1))()
    finally:
        with owners.engine.begin() as connection:
            connection.execute(sa.text("DROP TABLE notes"))


def test_del10_what_can_be_restored_or_is_still_under_way_stays(owners: Owners, manage: Manage) -> None:
    restorable, _ = owners.active()
    owners.delete(restorable, delayed=True, scrub_time=400 * DAY)
    half = owners.create()
    first, second = owners.upload(half), owners.add_copy(half, "slow")
    owners.delete(half)
    owners.purge(first)
    dead = owners.create()
    upload = owners.start(dead)
    owners.pass_time(2 * 3600)
    owners.purge(upload.id)
    owners.pass_time(300 * DAY)
    assert manage("db", "purge", "--age_in_days", "0", "--max_rows", "-1") == 0
    assert manage("db", "purge_images_table", "--age_in_days", "0", "--max_rows", "-1") == 0
    assert owners.statuses(restorable) == ("pending_delete", ["pending_delete"])
    assert owners.statuses(half) == ("pending_delete", ["deleted", "pending_delete"])
    assert owners.location(upload.id).late_passes == 2, "its key is deleted again later"
    with pytest.raises(errors.Conflict, match="cannot be restored whole"):
        owners.restore(half)
    assert second


def test_del10_most_rows_and_all_rows_in_small_transactions(
    owners: Owners, manage: Manage, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(deleted_rows, "BATCH", 2)
    for _ in range(7):
        deleted(owners)
    owners.pass_time(200 * DAY)
    assert manage("db", "purge", "--max_rows", "3", "--dry-run") == 0
    assert "locations: 3 rows would be purged\n" in capsys.readouterr().out
    assert left(owners) == {"images": 7, "members": 7, "locations": 7, "operations": 0}
    assert manage("db", "purge", "--max_rows", "3") == 0
    assert left(owners) == {"images": 7, "members": 4, "locations": 4, "operations": 0}
    transactions: list[int] = []
    real = deleted_rows.purge_images

    def purge(connection: sa.Connection, days: int, limit: int) -> int:
        transactions.append(limit)
        return real(connection, days, limit)

    monkeypatch.setattr(deleted_rows, "purge_images", purge)
    assert manage("db", "purge", "--max_rows", "-1") == 0
    assert manage("db", "purge_images_table", "--max_rows", "5") == 0
    assert transactions == [2, 2, 1]
    assert left(owners) == {"images": 2, "members": 0, "locations": 0, "operations": 0}


def test_del10_progress_is_shown_on_a_terminal_alone(
    owners: Owners, manage: Manage, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(deleted_rows, "BATCH", 2)
    for _ in range(3):
        deleted(owners)
    owners.pass_time(31 * DAY)
    assert manage("db", "purge", "--max_rows", "1") == 0
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    assert manage("db", "purge") == 0
    told = capsys.readouterr().err
    assert "\r\x1b[Klocations: 2 rows purged" in told
    assert told.endswith("\r\x1b[K"), "nothing of it is left"


def test_del10_rows_that_a_request_holds_are_left_out(owners: Owners, manage: Manage) -> None:
    held, free = deleted(owners), deleted(owners)
    owners.pass_time(200 * DAY)
    assert manage("db", "purge") == 0
    with owners.engine.begin() as connection:
        connection.execute(sa.select(image_rows.c.id).where(image_rows.c.id == held).with_for_update())
        assert manage("db", "purge_images_table") == 0
        with owners.engine.connect() as other:
            assert list(other.scalars(sa.select(image_rows.c.id))) == [held]
    assert free != held


@pytest.mark.parametrize("command", ["purge", "purge_images_table"])
@pytest.mark.parametrize(("option", "value", "said"), [
    ("--age_in_days", "-1", "must be a number of days from 0 to"),
    ("--age_in_days", "99999999999", "must be a number of days from 0 to"),
    ("--max_rows", "-2", "must be a number from 1 to 2147483647, or -1 for all"),
    ("--max_rows", "0", "must be a number from 1 to 2147483647, or -1 for all"),
    ("--max_rows", "2147483648", "must be a number from 1 to 2147483647, or -1 for all"),
])
def test_del10_numbers_without_sense(
    owners: Owners, manage: Manage, command: str, option: str, value: str, said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    deleted(owners)
    assert manage("db", command, option, value) == 1
    assert capsys.readouterr().err.startswith(f"ERROR: {option} = {value}: {said}")
    assert left(owners)["locations"] == 1
    with pytest.raises(SystemExit) as caught:
        manage("db", command, option, "many")
    assert caught.value.code == 2


def test_every_table_is_purged_or_has_a_reason_not_to_be() -> None:
    reasons = {
        "images": "purge_images_table", "store_identities": "proofs of places, for ever",
        "cached_copies": "the nodes remove theirs with the copies", "metadef_writes": "the next write removes old ones",
        "orphans": "gone with the bytes, or when they are forgotten", "store_runs": "two rows for each store",
    }
    catalogue = {name for name in metadata.tables if name.startswith("metadef_")} - reasons.keys()
    assert set(metadata.tables) - catalogue - reasons.keys() == set(deleted_rows.CHILDREN)


def test_del10_housekeeping_purges_by_the_options_in_bounded_pieces(
    owners: Owners, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deleted_rows, "BATCH", 2)
    clock = [1000.0]
    monkeypatch.setattr(housekeeping, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    for _ in range(5):
        deleted(owners)
    owners.pass_time(20 * DAY)
    off, on = Housekeeping(owners.engine, Ages()), Housekeeping(owners.engine, Ages(images=25, rows=10))
    off()
    assert left(owners)["locations"] == 5
    found = []
    for _ in range(4):
        on()
        found.append(left(owners)["locations"])
    assert found == [3, 1, 0, 0]
    assert left(owners)["images"] == 5
    owners.pass_time(6 * DAY)
    on()
    assert left(owners)["images"] == 5, "it has looked a moment ago"
    clock[0] += housekeeping.INTERVAL
    on()
    assert left(owners) == {"images": 3, "members": 3, "locations": 0, "operations": 0}


def test_del10_two_registries_purge_at_the_same_time(owners: Owners, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deleted_rows, "BATCH", 3)
    for _ in range(12):
        deleted(owners)
    owners.pass_time(20 * DAY)
    problems: list[Any] = []

    def work() -> None:
        try:
            keeper = Housekeeping(owners.engine, Ages(images=10, rows=10))
            for _ in range(10):
                for duty in keeper._duties:
                    duty.due = 0.0
                keeper()
        except Exception as error:
            problems.append(error)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert set(left(owners).values()) == {0}
