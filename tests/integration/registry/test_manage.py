"""glance-manage on real databases (tools section 3)."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from glance_common.config import loading
from glance_registry.config import list_opts
from glance_registry.db import schema
from glance_registry.db.connections import transaction
from glance_registry.db.session import make_engine
from glance_registry.manage import main
from glance_registry.wsgi import check_capacity


def run(folder: Path, url: str, *arguments: str) -> int:
    path = folder / "glance-manage.conf"
    path.write_text(f"[database]\nconnection = {url}\n")
    return main.main(["--config-file", str(path), *arguments])


@pytest.mark.parametrize("old_form", [False, True])
def test_sync_version_and_check(
    tmp_path: Path, empty_database: str, old_form: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    def db(command: str, *more: str) -> int:
        return run(tmp_path, empty_database, *([f"db_{command}"] if old_form else ["db", command]), *more)

    assert db("version") == 0
    assert db("check") == 3
    assert "glance-manage db expand, or glance-manage db sync" in capsys.readouterr().out
    assert db("sync") == 0
    assert f"upgraded to {schema.newest()}" in capsys.readouterr().out
    assert db("sync") == 0
    assert "up to date" in capsys.readouterr().out
    assert db("upgrade", "--version", schema.newest()) == 0
    assert db("check") == 0
    capsys.readouterr()
    assert db("version") == 0
    assert capsys.readouterr().out.strip() == schema.newest()


def test_an_unknown_revision_is_an_error(
    tmp_path: Path, empty_database: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, empty_database, "db", "sync", "--version", "nothing") == 1
    assert "nothing" in capsys.readouterr().err


def test_a_schema_newer_than_the_code_is_an_error_and_not_up_to_date(
    tmp_path: Path, empty_database: str, capsys: pytest.CaptureFixture[str]
) -> None:
    schema.upgrade(empty_database)
    engine = make_engine(empty_database)
    with transaction(engine) as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = 'from the future'"))
    engine.dispose()
    for command in ("check", "sync", "expand", "migrate", "contract"):
        assert run(tmp_path, empty_database, "db", command) == 1
        assert "ERROR: this release of the service knows no revision from the future" in capsys.readouterr().err


def test_more_threads_than_connections_stop_the_start(tmp_path: Path, database: str) -> None:
    path = tmp_path / "glance-registry.conf"
    path.write_text(f"[DEFAULT]\nworkers = 20\nthreads = 10\n[database]\nconnection = {database}\n")
    conf = loading.load("glance-registry", ["--config-file", str(path)], list_opts())
    with pytest.raises(loading.ConfigError, match=r"want 202 connections") as caught:
        check_capacity(conf)
    assert "max_connections" in str(caught.value)


def test_store_init_creates_the_directories_of_images_and_staging(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "glance-api.conf"
    path.write_text(
        f"[DEFAULT]\nnode_staging_uri = file://{tmp_path}/staging\n"
        f"[glance_store]\nfilesystem_store_datadir = {tmp_path}/images\n"
    )
    assert main.main(["--config-file", str(path), "store", "init"]) == 0
    said = capsys.readouterr().out
    assert said == f"file: created {tmp_path}/images\nos_glance_staging_store: created {tmp_path}/staging\n"
    assert main.main(["--config-file", str(path), "store", "init"]) == 0
    assert capsys.readouterr().out == "Every directory is there.\n"
