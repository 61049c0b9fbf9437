"""glance-manage db expand, migrate, contract and what belongs to them (tools section 3; TOO-01, TOO-03)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa
from tests.support.registry_rows import insert_image
from tests.support.waiting import wait_for

from glance_registry.db import schema
from glance_registry.db.schema import Phase
from glance_registry.db.session import make_engine
from glance_registry.manage import main

Db = Callable[..., int]
BEFORE_MIGRATE, MIGRATE = "0009", "0010"
"""The first revision that changes rows, and the one before."""


@pytest.fixture
def db(tmp_path: Path, empty_database: str) -> Db:
    """glance-manage db on an empty database."""
    path = tmp_path / "glance-manage.conf"
    path.write_text(f"[database]\nconnection = {empty_database}\n")
    return lambda *arguments: main.main(["--config-file", str(path), "db", *arguments])


@pytest.fixture
def engine(empty_database: str) -> Iterator[sa.Engine]:
    made = make_engine(empty_database)
    yield made
    made.dispose()


def contracting(monkeypatch: pytest.MonkeyPatch, *revisions: str) -> None:
    """Let these revisions belong to the last phase."""
    step = schema._step

    def changed(revision: str, module: Any) -> schema.Step:
        found = step(revision, module)
        return schema.Step(revision, Phase.CONTRACT, None) if revision in revisions else found

    monkeypatch.setattr(schema, "_step", changed)


def test_too03_the_phases_one_after_the_other(
    db: Db, empty_database: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    contracting(monkeypatch, schema.newest())
    assert db("check") == 3
    assert db("expand") == 0
    assert "Next: glance-manage db migrate." in capsys.readouterr().out
    assert schema.version(empty_database) == BEFORE_MIGRATE
    assert db("check") == 4
    assert db("migrate") == 0
    assert schema.version(empty_database) == MIGRATE
    assert "Next: glance-manage db expand." in capsys.readouterr().out
    assert db("check") == 3
    assert db("expand") == 0
    assert db("check") == 5
    assert db("contract") == 0
    assert "Database is up to date." in capsys.readouterr().out
    assert db("check") == 0
    assert schema.version(empty_database) == schema.newest()


def test_too03_a_phase_that_comes_too_early_is_refused_and_changes_nothing(
    db: Db, empty_database: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for early in ("migrate", "contract"):
        assert db(early) == 1
        assert "comes first: run glance-manage db expand" in capsys.readouterr().err
    assert schema.version(empty_database) is None
    assert db("expand") == 0
    capsys.readouterr()
    assert db("contract") == 1
    assert capsys.readouterr().err == f"ERROR: revision {MIGRATE} comes first: run glance-manage db migrate\n"
    assert schema.version(empty_database) == BEFORE_MIGRATE


def test_too03_a_phase_that_has_nothing_to_do_says_so(db: Db, capsys: pytest.CaptureFixture[str]) -> None:
    assert db("sync") == 0
    capsys.readouterr()
    for phase in Phase:
        assert db(phase) == 0
        assert capsys.readouterr().out == f"Nothing to {phase}.\nDatabase is up to date.\n"


def test_every_revision_says_to_which_phase_it_belongs(empty_database: str) -> None:
    phases = {step.revision: step.phase for step in schema.pending(empty_database)}
    assert list(phases) == sorted(phases)
    assert [revision for revision, phase in phases.items() if phase is Phase.MIGRATE] == [MIGRATE]


def test_too03_rows_are_changed_in_small_transactions_beside_requests(
    db: Db, engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row that a request holds is waited for, and what was done before stays done."""
    assert db("sync", BEFORE_MIGRATE) == 0
    ids = sorted(insert_image(engine, properties={"os_glance_mine": "x", "kept": "y"}) for _ in range(5))
    [step] = [each for each in schema.pending(str(engine.url.render_as_string(False))) if each.batch is not None]
    assert step.batch is not None
    monkeypatch.setitem(step.batch.__globals__, "BATCH", 2)
    holder = engine.connect()
    holder.begin()
    holder.execute(sa.text("SELECT 1 FROM images WHERE id = :id FOR UPDATE"), {"id": ids[4]})
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        """Let the request end once the migration waits for it."""
        waits.append(seconds)
        assert changed(engine) == ids[:4]
        holder.rollback()

    monkeypatch.setattr(schema, "time", SimpleNamespace(sleep=sleep))
    real = schema._step
    monkeypatch.setattr(schema, "_step", lambda name, module: step if name == MIGRATE else real(name, module))
    assert db("migrate") == 0
    holder.close()
    assert waits == [1]
    assert changed(engine) == ids


def changed(engine: sa.Engine) -> list[str]:
    """Return the ids of images without the reserved property."""
    with engine.connect() as connection:
        select = sa.text("SELECT id::text FROM images WHERE NOT properties ? 'os_glance_mine' ORDER BY id")
        return list(connection.scalars(select))


def test_too03_a_change_of_a_table_lets_requests_go_first(
    db: Db, engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waits for a moment only: every other request would wait behind it."""
    assert db("sync", "0012") == 0
    holder = engine.connect()
    holder.execute(sa.text("SELECT count(*) FROM locations"))
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        insert_image(engine, status="queued")
        holder.rollback()

    monkeypatch.setattr(schema, "time", SimpleNamespace(sleep=sleep))
    assert db("expand") == 0
    holder.close()
    assert waits == [1]
    assert db("check") == 0


def test_too03_an_index_is_built_while_rows_are_written(db: Db, engine: sa.Engine) -> None:
    assert db("sync", "0014") == 0
    with engine.begin() as connection:
        # A try that was broken off left it.
        connection.execute(sa.text("CREATE INDEX ix_images_deleted_at ON images (id)"))
    image = insert_image(engine, status="queued")
    older, codes = engine.connect(), []
    older.begin()
    older.execute(sa.text("UPDATE images SET name = 'x' WHERE id = :id"), {"id": image})
    building = threading.Thread(target=lambda: codes.append(db("expand")))
    building.start()
    wait_for(lambda: waiting(engine))
    insert_image(engine, status="queued")
    older.rollback()
    building.join()
    older.close()
    assert codes == [0]
    with engine.connect() as connection:
        found = connection.execute(sa.text("SELECT indexdef FROM pg_indexes WHERE indexname = 'ix_images_deleted_at'"))
        assert "(deleted_at)" in found.scalar_one()


def waiting(engine: sa.Engine) -> bool:
    """Say whether a change of indexes waits for a transaction."""
    select = sa.text(
        "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%INDEX CONCURRENTLY%' AND wait_event_type = 'Lock'"
        " AND pid <> pg_backend_pid()"
    )
    with engine.connect() as connection:
        return bool(connection.execute(select).scalar_one())


def test_hosts_that_begin_the_same_phase_wait_for_each_other(db: Db, empty_database: str) -> None:
    codes: list[int] = []
    threads = [threading.Thread(target=lambda: codes.append(db("expand"))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes == [0, 0, 0]
    assert schema.version(empty_database) == BEFORE_MIGRATE


def test_too01_version_control_marks_what_is_there(
    db: Db, engine: sa.Engine, empty_database: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert db("version_control", "0014") == 1
    assert "has no table images" in capsys.readouterr().err
    assert db("sync", "--version", "0014") == 0
    assert db("version_control", "--version", "0014") == 1
    assert "under version control already, at revision 0014" in capsys.readouterr().err
    with engine.begin() as connection:
        connection.execute(sa.text("DROP TABLE alembic_version"))
    assert db("version_control", "--version", "none") == 1
    assert db("version_control", "--version", "0014") == 0
    assert schema.version(empty_database) == "0014"
    with engine.begin() as connection:
        connection.execute(sa.text("DROP TABLE alembic_version"))
    assert db("sync", "--current_version", "0014") == 0
    assert db("check") == 0
    assert db("sync", "--current_version", "0014") == 1


def test_too01_a_downgrade_says_why_not(db: Db, capsys: pytest.CaptureFixture[str]) -> None:
    assert db("sync") == 0
    capsys.readouterr()
    assert db("downgrade", "--version", "0001") == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("ERROR: the schema does not go back")
    assert db("upgrade", "0001") == 0, "an older revision is no reason to go back"
    assert db("check") == 0
