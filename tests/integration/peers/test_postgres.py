"""The embedded PostgreSQL: what it promises to run-local and to the tests that kill it."""

import os
import pwd
import shutil
import stat
import tempfile
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest
from deploy.local import accounts, processes
from deploy.local.embedded_postgres import DatabaseError, PostgresServer
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url
from tests.servers.postgres import drop_database, running_postgres
from tests.support.run_local import running_below


def query(url, statement):
    engine = create_engine(url)
    try:
        with engine.begin() as connection:
            result = connection.execute(text(statement))
            return result.scalar() if result.returns_rows else None
    finally:
        engine.dispose()


def connect(url):
    parts = make_url(url)
    return psycopg2.connect(host=parts.query["host"], user=parts.username, dbname=parts.database)


def test_databases_are_made_copied_and_dropped_in_use(own_postgres):
    own_postgres.create_database("one")
    with closing(connect(own_postgres.url("one"))) as session, session, session.cursor() as cursor:
        cursor.execute("CREATE TABLE t AS SELECT 7 AS n")
    own_postgres.create_database("two", template="one")
    assert query(own_postgres.url("two"), "SELECT n FROM t") == 7
    with closing(connect(own_postgres.url("two"))):
        drop_database(own_postgres, "two")
    assert own_postgres.has_database("one")
    assert not own_postgres.has_database("two")
    drop_database(own_postgres, "two")


def test_text_is_utf8_compared_by_bytes_and_time_is_utc(postgres):
    assert query(postgres.url("postgres"), "SHOW server_encoding") == "UTF8"
    assert query(postgres.url("postgres"), "SELECT 'Z' < 'a'") is True
    assert query(postgres.url("postgres"), "SHOW timezone") in ("UTC", "Etc/UTC")


def test_what_was_committed_is_there_after_a_restart_and_after_a_kill(own_postgres):
    own_postgres.create_database("kept")
    query(own_postgres.url("kept"), "CREATE TABLE t (n int)")
    for end in (own_postgres.stop, own_postgres.kill):
        query(own_postgres.url("kept"), "INSERT INTO t VALUES (1)")
        with closing(connect(own_postgres.url("kept"))) as open_session:
            end()
            with pytest.raises(psycopg2.OperationalError), open_session.cursor() as cursor:
                cursor.execute("SELECT 1")
            with pytest.raises(psycopg2.OperationalError):
                connect(own_postgres.url("kept"))
        own_postgres.start()
    assert query(own_postgres.url("kept"), "SELECT count(*) FROM t") == 2


def test_a_durable_server_syncs():
    with running_postgres(durable=True) as server:
        assert query(server.url("postgres"), "SHOW fsync") == "on"
        assert query(server.url("postgres"), "SHOW synchronous_commit") == "on"


def test_nobody_else_gets_at_the_socket_and_no_port_is_open(postgres):
    assert query(postgres.url("postgres"), "SHOW listen_addresses") == ""
    sockets = Path(str(make_url(postgres.url("postgres")).query["host"]))
    assert stat.S_IMODE(sockets.stat().st_mode) == 0o700
    assert stat.S_IMODE(postgres.folder.stat().st_mode) == 0o700


@pytest.mark.skipif(os.geteuid() != 0, reason="only root drops to another user")
def test_root_runs_it_as_a_user_that_owns_nothing_else(postgres):
    owner = Path(f"/proc/{postgres.pid}").stat().st_uid
    assert pwd.getpwuid(owner).pw_name == accounts.NAME
    assert Path(f"/proc/{postgres.pid}/status").read_text().split("Groups:")[1].splitlines()[0].split() == []


def test_a_long_path_is_no_obstacle():
    with running_postgres() as outer:
        deep = outer.folder / ("d" * 60) / ("e" * 60)
        accounts.hand_over(deep.parent, accounts.server_account())
        server = PostgresServer(deep, settings={"fsync": "off", "shared_buffers": "16MB"})
        server.start()
        try:
            assert query(server.url("postgres"), "SELECT 1") == 1
            elsewhere = Path(str(make_url(server.url("postgres")).query["host"]))
            assert deep not in elsewhere.parents
        finally:
            server.stop()
        assert not elsewhere.exists()


def test_an_interrupted_first_start_is_done_again(tmp_path_factory):
    with running_postgres() as outer:
        folder = outer.folder / "again"
        accounts.hand_over(folder, accounts.server_account())
        (folder / "data.unfinished").mkdir()
        (folder / "data.unfinished" / "half").touch()
        server = PostgresServer(folder, settings={"fsync": "off", "shared_buffers": "16MB"})
        server.start()
        server.stop()
        assert sorted(path.name for path in folder.iterdir()) == ["data", "postgres.log", "socket"]


def test_data_of_a_version_that_is_not_installed(tmp_path_factory):
    with running_postgres() as outer:
        folder = outer.folder / "old"
        accounts.hand_over(folder, accounts.server_account())
        (folder / "data").mkdir()
        (folder / "data" / "PG_VERSION").write_text("9\n")
        with pytest.raises(DatabaseError, match=r"PostgreSQL 9 \(the version of the existing data folder\)"):
            PostgresServer(folder).start()


@pytest.mark.parametrize("seen", ["data.unfinished", "data/postmaster.pid"])
def test_a_start_that_is_no_longer_wanted_ends_with_all_its_processes(seen):
    folder = Path(tempfile.mkdtemp(prefix="glance-test-postgres-"))
    folder.chmod(0o755)
    server = PostgresServer(folder / "server", stopping=(folder / "server" / seen).exists)
    try:
        with pytest.raises(processes.StopRequestedError):
            server.start()
        server.stop()
        assert running_below(folder) == []
        again = PostgresServer(folder / "server")
        again.start()
        again.stop()
    finally:
        server.stop()
        shutil.rmtree(folder)
