"""A registry and an API of ours beside an installation that stays as it is: own database, own ports, no scrubber.

They use its configuration files, so that the stores are its stores, and own options after them. Nothing is written to
the stores but the mark by which a store is recognized; nothing is deleted, as only a scrubber deletes.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from deploy.local import configuration, processes
from deploy.local.configuration import Options
from deploy.local.embedded_postgres import PostgresServer
from deploy.local.processes import StartError
from deploy.local.readiness import ReadySocket

PROGRAMS = Path(sys.executable).parent
_DATABASE = "glance"
_READY_SECONDS = 120
_MOST_LINES = 20
_CREDENTIALS = re.compile(r"(?<=://)\S+(?=@)")


class Beside:
    """The two daemons in ``folder``; ``files`` are the configuration files of the installation."""

    def __init__(self, folder: Path, files: Sequence[Path]) -> None:
        self.folder = folder
        self._files = files
        self._postgres = PostgresServer(folder / "postgres")
        self._registry_port, self._api_port = processes.free_port(), processes.free_port()
        self.url = f"http://{processes.LOOPBACK}:{self._api_port}"
        self._running = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._running.close()

    def prepare(self) -> None:
        """Start the database, make the schema, and write the configuration. Raises DatabaseError, StartError."""
        (self.folder / "postgres").mkdir()
        self._running.callback(self._postgres.stop)
        self._postgres.start()
        self._postgres.create_database(_DATABASE)
        for name in ("queue", "staging", "tasks", "etc"):
            (self.folder / name).mkdir()
        (self.folder / "policy.yaml").write_text("")
        configuration.make_secret(self.folder / "secret")
        configuration.write(self.folder / "etc", "glance-registry", self._options("registry"))
        configuration.write(self.folder / "etc", "glance-api", self._options("api"))
        done = self.manage("db", "sync")
        if done.returncode:
            raise StartError(f"glance-manage db sync failed:\n{_end_of(done.stdout)}")

    def manage(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run glance-manage, and return what it printed, errors included."""
        return subprocess.run(
            [PROGRAMS / "glance-manage", *self._configured("glance-registry"), *arguments], stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        )

    def start(self) -> None:
        """Start the daemons, and return when they work. Raises StartError."""
        for program in ("glance-registry", "glance-api"):
            self._start(program)

    def count_listed(self) -> int:
        """Return how many images the lists of an administrator must have."""
        import psycopg2

        with psycopg2.connect(self._database().replace("+psycopg2", "")) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM images WHERE listed")
            ((count,),) = cursor.fetchall()
            return int(count)

    def _start(self, program: str) -> None:
        word = ReadySocket()
        self._running.callback(word.close)
        log = self.folder / f"{program}.log"
        with (self.folder / f"{program}-output.log").open("ab") as output:
            process = processes.spawn(
                [PROGRAMS / program, *self._configured(program)], output=output, cwd=self.folder,
                env={**os.environ, **word.environment}, death_signal=signal.SIGKILL,
            )
        self._running.callback(processes.stop, process)
        processes.wait_until(word.heard, what=program, process=process, log=log, seconds=_READY_SECONDS)

    def _configured(self, program: str) -> list[str]:
        own = self.folder / "etc" / f"{program}.conf"
        return [word for file in (*self._files, own) for word in ("--config-file", str(file))]

    def _database(self) -> str:
        return self._postgres.url(_DATABASE)

    def _options(self, daemon: str) -> Options:
        """Return the options that must not be those of the installation."""
        port = self._api_port if daemon == "api" else self._registry_port
        staging, tasks = self.folder / "staging", self.folder / "tasks"
        return {
            "DEFAULT": {
                "bind_host": processes.LOOPBACK, "bind_port": port, "workers": 1, "cert_file": "", "key_file": "",
                "ca_file": "", "registry_host": processes.LOOPBACK, "registry_port": self._registry_port,
                "registry_client_protocol": "http", "metrics_bind": f"{processes.LOOPBACK}:{processes.free_port()}",
                "log_file": self.folder / f"glance-{daemon}.log", "log_dir": "", "use_syslog": False,
                "transport_url": f"filesystem://{self.folder / 'queue'}", "node_staging_uri": staging.as_uri(),
                "property_protection_file": "", "use_keystone_limits": False,
            },
            "database": {"connection": self._database(), "slave_connection": ""},
            "registry": {"context_secret_file": self.folder / "secret"},
            "paste_deploy": {"flavor": "", "config_file": ""},
            "oslo_policy": {"policy_file": self.folder / "policy.yaml"},
            "oslo_messaging_notifications": {"driver": "noop"},
            "os_glance_staging_store": {"filesystem_store_datadir": staging},
            "os_glance_tasks_store": {"filesystem_store_datadir": tasks},
            "task": {"work_dir": tasks},
        }


def _end_of(said: str) -> str:
    """Return the last lines that a program printed, without the credentials of URLs."""
    return _CREDENTIALS.sub("***", "\n".join(said.splitlines()[-_MOST_LINES:]))
