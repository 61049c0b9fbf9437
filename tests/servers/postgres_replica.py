"""A streaming replica of a PostgreSQL server of one's own: a copy of its data that follows it."""

from __future__ import annotations

import os
import subprocess
from contextlib import closing
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import psycopg2
from deploy.local import accounts
from deploy.local.embedded_postgres import SUPERUSER, PostgresServer, find_binaries


def new_replica(primary: PostgresServer, folder: Path, **how: object) -> PostgresServer:
    """Return a replica of a running server, with its files in ``folder``; start() begins to follow.

    ``how`` are more arguments of PostgresServer. Raises CalledProcessError.
    """
    account = accounts.server_account()
    accounts.hand_over(folder, account)
    # The folder is renamed when it is complete: a half copy would be started as a server with wrong data.
    unfinished = folder / "data.unfinished"
    subprocess.run(
        [
            find_binaries(_major(primary), account) / "pg_basebackup", "--pgdata", unfinished, "--write-recovery-conf",
            "--checkpoint=fast", "--no-sync", "--host", sockets_of(primary), "--username", SUPERUSER,
        ],
        check=True, stdin=subprocess.DEVNULL, capture_output=True, timeout=300, cwd=folder,
        env={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"},
        user=account.pw_uid if account else None, group=account.pw_gid if account else None,
        extra_groups=() if account else None,
    )
    os.rename(unfinished, folder / "data")
    return PostgresServer(folder, **how)  # type: ignore[arg-type] # passed on as they are


def sockets_of(server: PostgresServer) -> str:
    """Return the folder of the socket of a running server."""
    return parse_qs(urlsplit(server.url("postgres")).query)["host"][0]


def bytes_behind(primary: PostgresServer) -> int | None:
    """Return how much a replica has not written to its data yet; None while none follows."""
    connected = psycopg2.connect(host=sockets_of(primary), user=SUPERUSER, dbname="postgres", connect_timeout=60)
    with closing(connected) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT max(pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn)) FROM pg_stat_replication")
        found = cursor.fetchone()
    return None if found is None or found[0] is None else int(found[0])


def _major(server: PostgresServer) -> int:
    return int((server.folder / "data" / "PG_VERSION").read_text())
