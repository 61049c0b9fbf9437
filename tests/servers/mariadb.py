"""A MariaDB server for tests, in a folder of its own; what it keeps is lost when the machine is."""

from __future__ import annotations

import getpass
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from deploy.local import processes

from tests.support.waiting import accepts_connections

PACKAGE = "mariadb-server"
USER, PASSWORD = "glance", "maria secret"
_START_SECONDS = 300
_FAST = (
    "--innodb-flush-log-at-trx-commit=0", "--innodb-doublewrite=0", "--sync-binlog=0", "--skip-log-bin",
    "--innodb-buffer-pool-size=64M", "--character-set-server=utf8mb3",
)


class MariaDB:
    """One server on a free port of loopback, with the user ``USER`` who may do everything."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = processes.free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Make its files and start it. Raises StartError, CalledProcessError."""
        program = shutil.which("mariadbd", path="/usr/sbin:/usr/bin")
        assert program, f"mariadbd is missing: apt-get install {PACKAGE}"
        data, log = self.folder / "data", self.folder / "output.log"
        user = f"--user={getpass.getuser()}"
        with log.open("ab") as output:
            subprocess.run(
                ["mariadb-install-db", "--no-defaults", f"--datadir={data}", user, "--skip-test-db",
                 "--auth-root-authentication-method=normal"],
                check=True, stdout=output, stderr=output, stdin=subprocess.DEVNULL,
            )
            self._process = processes.spawn(
                [program, "--no-defaults", f"--datadir={data}", user, f"--port={self.port}",
                 f"--bind-address={processes.LOOPBACK}", f"--socket={self.folder / 'socket'}",
                 f"--pid-file={self.folder / 'pid'}", *_FAST],
                output=output, cwd=self.folder, death_signal=signal.SIGKILL,
            )
        processes.wait_until(
            lambda: accepts_connections(self.port), what="MariaDB", process=self._process, log=log,
            seconds=_START_SECONDS,
        )
        self._run("root", "", f"CREATE USER {USER}@'%' IDENTIFIED BY '{PASSWORD}'", f"GRANT ALL ON *.* TO {USER}@'%'")

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            processes.stop(self._process)

    def url(self, database: str) -> str:
        """Return the URL of a database as configuration files have it."""
        return f"mysql+pymysql://{USER}:{PASSWORD.replace(' ', '%20')}@{processes.LOOPBACK}:{self.port}/{database}"

    def create_database(self, name: str) -> None:
        """Make an empty database."""
        self._run(USER, PASSWORD, f"CREATE DATABASE {name}")

    def drop_database(self, name: str) -> None:
        """Drop a database; nothing happens when there is none of that name."""
        self._run(USER, PASSWORD, f"DROP DATABASE IF EXISTS {name}")

    def _run(self, user: str, password: str, *statements: str) -> None:
        with closing(self._connect(user, password)) as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            connection.commit()

    def _connect(self, user: str, password: str) -> Any:
        import pymysql

        if user == "root":
            return pymysql.connect(unix_socket=str(self.folder / "socket"), user=user, password=password)
        return pymysql.connect(host=processes.LOOPBACK, port=self.port, user=user, password=password)


@contextmanager
def running_mariadb() -> Iterator[MariaDB]:
    """Run a server within the block. Its folder is in /tmp: the path of a socket has at most 107 bytes."""
    folder = Path(tempfile.mkdtemp(prefix="glance-test-mariadb-"))
    server = MariaDB(folder)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)
