"""What glance-manage adopt refuses: one line on stderr, exit code 1, and nothing changed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from deploy.local.embedded_postgres import PostgresServer
from deploy.local.processes import free_port
from tests.integration.registry.adopting import Adopting
from tests.servers.mariadb import MariaDB
from tests.servers.postgres import drop_database
from tests.support.old_database import YEAR, OldDatabase
from tests.unit.registry.test_adopt_cipher import KEY, encrypted

from glance_common.model.errors import Unavailable
from glance_registry.adopt.source import parse, snapshot
from glance_registry.db.session import make_engine, run_transaction
from glance_registry.manage.adopt import KEY_VARIABLE, LEFT_OUT, URL_VARIABLE

BAD_PORT = "postgresql://glance:a@b:hunter2@db/glance"
"""A password with characters that are not escaped: a part of it is read as the port."""
WAITING: dict[str, Any] = {"status": "pending_delete", "deleted": True, "deleted_at": YEAR}


@pytest.fixture
def adopting(
    postgres: PostgresServer, database: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Iterator[Adopting]:
    """A database of Mitaka with one image."""
    postgres.create_database("refused")
    old = OldDatabase(postgres.url("refused"))
    old.make_tables()
    old.image()
    (tmp_path / "images").mkdir()
    made = Adopting(old, database, tmp_path, capsys)
    yield made
    made.close()
    drop_database(postgres, "refused")


def refused(adopting: Adopting, *arguments: str, source: str | None = None) -> str:
    """Run the tool, which must refuse in one line and change nothing; return the line."""
    for mode in ([], ["--dry-run"], ["--verify"]):
        said = adopting.run(*arguments, *mode, expected=1, source=source)
        assert said.startswith("ERROR: ")
        assert said.count("\n") == 1
    assert not adopting.rows("SELECT FROM images")
    return said


def test_a_database_of_another_service(adopting: Adopting, postgres: PostgresServer):
    postgres.create_database("stranger")
    try:
        other = OldDatabase(postgres.url("stranger"))
        assert "the other database is empty" in refused(adopting, source=other.url)
        other.run(
            "CREATE TABLE alembic_version (version_num VARCHAR(32))",
            "INSERT INTO alembic_version VALUES ('29e87d24a316')",
            "CREATE TABLE project (id VARCHAR(64))", "CREATE TABLE images (id VARCHAR(64))",
        )
        assert "is not that of an image service" in refused(adopting, source=other.url)
        other.close()
    finally:
        drop_database(postgres, "stranger")


def test_our_own_database(adopting: Adopting):
    assert "is one of this service already" in refused(adopting, source=adopting.target)


@pytest.mark.parametrize("version", [12, 99])
def test_an_unknown_version_of_old_schemas(adopting: Adopting, version: int):
    adopting.old.run(f"UPDATE migrate_version SET version = {version}")
    assert f"a schema that is not known here: revision {version}" in refused(adopting)


@pytest.mark.parametrize(("revision", "said"), [
    ("2031_2_expand01", "a schema that is not known here: revision 2031_2_expand01"),
    ("wallaby_expand01", "has revision wallaby_expand01, but no column images.visibility"),
])  # fmt: skip
def test_a_revision_that_is_unknown_or_does_not_fit(adopting: Adopting, revision: str, said: str):
    adopting.old.run("CREATE TABLE alembic_version (version_num VARCHAR(32))",
                     f"INSERT INTO alembic_version VALUES ('{revision}')")
    assert said in refused(adopting)


def test_a_column_that_is_missing(adopting: Adopting):
    adopting.old.run("ALTER TABLE image_locations DROP COLUMN meta_data")
    assert "no column image_locations.meta_data" in refused(adopting)


def test_no_revision(adopting: Adopting):
    adopting.old.run("DROP TABLE migrate_version")
    assert "does not say which schema it has" in refused(adopting)


@pytest.mark.parametrize("url", ["sqlite:///glance.db", "no url", "http://user:hunter2@example.org/", BAD_PORT])
def test_a_url_of_another_kind(adopting: Adopting, url: str):
    said = refused(adopting, source=url)
    assert "--from: must be the URL of the other database" in said
    assert "hunter2" not in said


@pytest.mark.parametrize("kind", ["postgresql", "mysql+pymysql"])
def test_a_server_that_does_not_answer(adopting: Adopting, kind: str):
    port = free_port()
    said = refused(adopting, source=f"{kind}://glance:hunter2@127.0.0.1:{port}/glance")
    assert f"127.0.0.1:{port}/glance" in said
    assert "hunter2" not in said


def test_a_wrong_password(adopting: Adopting, mariadb: MariaDB):
    said = refused(adopting, source=mariadb.url("glance").replace("maria%20secret", "hunter2"))
    assert "Access denied" in said
    assert "hunter2" not in said


def test_an_unknown_option_of_the_url(adopting: Adopting, mariadb: MariaDB):
    said = refused(adopting, source=mariadb.url("glance") + "?strange=1")
    assert "an option that the driver does not know" in said


def test_our_database_without_the_schema(adopting: Adopting, empty_database: str):
    adopting.target, kept = empty_database, adopting.target
    assert "run glance-manage db sync" in adopting.run(expected=1)
    adopting.target = kept


def test_two_runs_at_once(adopting: Adopting):
    def while_locked(connection):
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(hashtext('glance adopt'))")
        return adopting.run(expected=1)

    engine = make_engine(adopting.target)
    assert "another run of glance-manage adopt" in run_transaction(engine, while_locked)
    engine.dispose()


def test_s76_encrypted_locations(adopting: Adopting, monkeypatch: pytest.MonkeyPatch):
    image = adopting.old.image()
    adopting.old.location(image, encrypted(adopting.file(image)))
    assert "no metadata_encryption_key is given" in adopting.run(expected=LEFT_OUT)
    assert "encrypted with another metadata_encryption_key" in adopting.run(
        "--metadata-encryption-key", "x" * 16, expected=LEFT_OUT
    )
    assert not adopting.rows("SELECT FROM locations")
    assert "16, 24 or 32" in adopting.run("--metadata-encryption-key", "short", expected=1)
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    adopting.run()
    assert adopting.locations(image) == [("disk", image, "active", 3)]


def test_what_cannot_be_told_again_stays(adopting: Adopting):
    """A forgotten key, or a store that is not configured this time, is no word about the data there."""
    old, key = adopting.old, ("--metadata-encryption-key", KEY)
    living, waiting, deleted, mixed = old.image(), old.image(**WAITING), old.image(), old.image()
    for image in (living, waiting, deleted, mixed):
        old.location(image, encrypted(adopting.file(image)))
    old.location(mixed, f"s3://s3.example.org:8080/images/{mixed}")
    adopting.run(*key)
    before = adopting.contents()
    assert "no metadata_encryption_key is given" in adopting.run(expected=LEFT_OUT)
    assert adopting.contents() == before
    usual = adopting.stores
    adopting.stores = usual.replace("disk:file, ", "").replace("default_backend = disk", "default_backend = bucket")
    assert "no store for file is configured" in adopting.run(*key, expected=LEFT_OUT)
    assert adopting.contents() == before
    adopting.stores = usual
    old.update("images", f"id = '{deleted}'", **WAITING)
    adopting.run(expected=LEFT_OUT)
    assert adopting.image(deleted).status == "pending_delete", "its data have to be purged yet"
    adopting.run(*key)
    assert adopting.locations(deleted) == [("disk", deleted, "pending_delete", 3)]
    assert adopting.locations(waiting) == [("disk", waiting, "pending_delete", 3)]
    assert len(adopting.locations(mixed)) == 2
    old.update("image_locations", f"image_id = '{mixed}' AND value LIKE 's3:%'", status="deleted", deleted=True)
    adopting.run(*key)
    assert [status for _, _, status, _ in adopting.locations(mixed)] == ["active", "deleted"]


def test_s76_the_key_of_the_configuration(adopting: Adopting):
    image, web = adopting.old.image(), adopting.old.image()
    adopting.old.location(image, encrypted(adopting.file(image)))
    adopting.old.location(web, encrypted("http://user:secret@example.org/image"))
    adopting.stores = adopting.stores.replace("[DEFAULT]", f"[DEFAULT]\nmetadata_encryption_key = {KEY}")
    adopting.run()
    before = adopting.contents()
    assert adopting.locations(web)[0][1].startswith("sealed:1:"), "what is secret there is secret here"
    adopting.run()
    assert adopting.contents() == before
    assert "no difference" in adopting.run("--verify")


def test_the_url_may_come_in_the_environment(adopting: Adopting, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(URL_VARIABLE, adopting.old.url)
    adopting.run(source="")
    assert len(adopting.rows("SELECT FROM images")) == 1


def test_nothing_changes_there(adopting: Adopting):
    """The session is read only, whatever is sent."""
    with pytest.raises(Unavailable, match="read-only transaction"), snapshot(parse(adopting.old.url)) as connection:
        connection.exec_driver_sql("DELETE FROM images")


def test_nothing_changes_there_on_mysql(mariadb: MariaDB):
    mariadb.create_database("untouched")
    try:
        with pytest.raises(Unavailable, match="READ ONLY"), snapshot(parse(mariadb.url("untouched"))) as connection:
            connection.exec_driver_sql("CREATE TABLE t (id INTEGER)")
    finally:
        mariadb.drop_database("untouched")


def test_a_source_that_dies_half_way(adopting: Adopting, monkeypatch: pytest.MonkeyPatch):
    def dies(*_arguments: object) -> None:
        raise Unavailable("the database there closed the connection")

    adopting.old.task("success")
    monkeypatch.setattr("glance_registry.adopt.tasks.task", dies)
    said = adopting.run(expected=1)
    assert "closed the connection; 1 images were done before and stay: run it again" in said
    monkeypatch.undo()
    adopting.run()
    assert len(adopting.rows("SELECT FROM operations")) == 1
