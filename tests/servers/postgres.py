"""A PostgreSQL server for tests: the embedded one, told that nobody will miss its data."""

from __future__ import annotations

import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import psycopg2
from deploy.local import accounts
from deploy.local.embedded_postgres import SUPERUSER, PostgresServer, find_binaries
from psycopg2 import sql

# synchronous_commit stays on: without it a killed server loses what it has just acknowledged.
_FAST = {"fsync": "off", "full_page_writes": "off"}
_SMALL = {"max_connections": "200", "shared_buffers": "32MB", "max_wal_size": "256MB"}


@contextmanager
def running_postgres(*, durable: bool = False) -> Iterator[PostgresServer]:
    """Run a server of one's own within the block.

    Without ``durable`` nothing is synced: the data survives a killed server, but not a killed machine. The folder is a
    new one in /tmp, because pytest's own are closed to the user that root's server runs as.
    """
    folder = Path(tempfile.mkdtemp(prefix="glance-test-postgres-"))
    accounts.hand_over(folder, accounts.server_account())
    settings = _SMALL if durable else {**_SMALL, **_FAST}
    server = PostgresServer(folder, settings=settings, death_signal=signal.SIGQUIT)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


def drop_database(server: PostgresServer, name: str) -> None:
    """Drop a database, ending the sessions that use it; nothing happens when there is none of that name."""
    with closing(psycopg2.connect(server.url("postgres").replace("+psycopg2", ""))) as connection:
        connection.autocommit = True  # databases are not dropped inside a transaction
        with connection.cursor() as cursor:
            cursor.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


@contextmanager
def streaming_replica(primary: PostgresServer) -> Iterator[PostgresServer]:
    """Run a server that replays what ``primary`` writes. All databases are there, under the same names."""
    folder = Path(tempfile.mkdtemp(prefix="glance-test-replica-"))
    account = accounts.server_account()
    accounts.hand_over(folder, account)
    server = PostgresServer(folder, settings={**_SMALL, **_FAST}, death_signal=signal.SIGQUIT)
    # A URL of a server without a port names its folder of sockets.
    sockets = parse_qs(urlsplit(primary.url("postgres")).query)["host"][0]
    command = [
        str(find_binaries(None, account) / "pg_basebackup"), f"--host={sockets}", f"--username={SUPERUSER}",
        f"--pgdata={folder / 'data'}", "--write-recovery-conf", "--checkpoint=fast", "--no-sync",
    ]
    try:
        subprocess.run(
            command, check=True, capture_output=True, timeout=120, start_new_session=True, env={"LANG": "C.UTF-8"},
            cwd=folder, user=account.pw_uid if account else None, group=account.pw_gid if account else None,
        )
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)
