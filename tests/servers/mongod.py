"""A real MongoDB server on a free loopback port, with a user and a password.

The program is the one that a wheel ships (``tests/support/mongod-requirements.txt``).
"""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from deploy.local import processes
from pymongo import MongoClient
from pymongo.errors import PyMongoError

from tests.servers.freezing import Freezable
from tests.support.environments import MONGOD, environment

USER = "glance"
PASSWORD = "p@ss/word"
"""As awkward as passwords are."""
QUOTED = "p%40ss%2Fword"


class Mongod(Freezable):
    """One server; its data are lost with ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.port = processes.free_port()
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        (folder / "db").mkdir()

    def uri(self, port: int | None = None, password: str = QUOTED) -> str:
        """Return the address for stores, as if the server were at another port."""
        return f"mongodb://{USER}:{password}@127.0.0.1:{port or self.port}/?authSource=admin"

    def client(self) -> MongoClient:
        """Return a client of the test's own."""
        return MongoClient(self.uri(), serverSelectionTimeoutMS=30_000)

    def start(self) -> None:
        """Start it and make the user when there is none. Raises StartError."""
        program = next(environment(MONGOD).glob("lib/python3*/site-packages/fiftyone/db/bin/mongod"))
        log = self._folder / "log"
        with log.open("ab") as output:
            self._process = processes.spawn(
                [
                    program, "--auth", "--bind_ip", "127.0.0.1", "--port", str(self.port),
                    "--dbpath", self._folder / "db", "--nounixsocket", "--wiredTigerCacheSizeGB", "0.25",
                    "--setParameter", "diagnosticDataCollectionEnabled=false",
                ],
                output=output, env={"PATH": "/usr/bin:/bin"}, cwd=self._folder, death_signal=signal.SIGKILL,
            )
        processes.wait_until(self._has_user, what="mongod", process=self._process, log=log, seconds=300)

    def _has_user(self) -> bool:
        # Without users a local client may make the first one, and do nothing else.
        try:
            first: MongoClient
            with MongoClient("127.0.0.1", self.port, serverSelectionTimeoutMS=500) as first:
                first.admin.command("createUser", USER, pwd=PASSWORD, roles=["root"])
        except PyMongoError:
            pass
        try:
            with self.client() as client:
                client.admin.command("dbStats")
        except PyMongoError:
            return False
        return True

    def stop(self) -> None:
        """Kill it: the journal brings everything back."""
        if self._process is not None:
            processes.kill_group(self._process)
            self._process = None


def new_database() -> str:
    """Return the name of a database that is not there."""
    return f"glance_{uuid4().hex}"


@contextmanager
def running(folder: Path) -> Iterator[Mongod]:
    """Start a server for the block."""
    server = Mongod(folder)
    server.start()
    try:
        yield server
    finally:
        server.stop()
