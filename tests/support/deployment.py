"""A whole deployment whose processes tests may kill, stop and cut off, and which can be brought to rest again."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from types import MappingProxyType
from typing import Any, ParamSpec, TypeVar
from uuid import uuid4

import psycopg2
from deploy.local import configuration, processes
from deploy.local.configuration import Options
from deploy.local.processes import wait_until
from psycopg2.extras import RealDictCursor

from glance_common.context import ContextSigner, RequestContext, system_context
from glance_common.errors import GlanceError
from glance_common.registry_client import RegistryClient, over
from glance_common.registry_client.http import connect_to
from tests.support.daemons import Daemon, Services, WebDaemon
from tests.support.image_client import ImageClient
from tests.support.ledger import Ledger, Outcome

P = ParamSpec("P")
T = TypeVar("T")
D = TypeVar("D", bound=Daemon)
Row = dict[str, Any]

LEASE = 3
"""Seconds of uploads' and claims' leases: the shortest that the options allow."""

SENTINEL, INCOMING = ".glance-store", ".incoming"

_NONE: Options = MappingProxyType({})
_API: Options = {"upload": {"lease": LEASE}}
_SCRUBBER: Options = {"DEFAULT": {"wakeup_time": 1, "scrub_pool_size": 4}, "scrubber": {"claim_lease": LEASE}}

_WAITING = "l.status IN ('writing', 'reaping', 'deleting') OR (l.status = 'pending_delete' AND NOT i.delayed)"
_LIVE = "status IN ('pending', 'processing')"
_LATE = "l.status = 'deleted' AND l.late_passes > 0"


class Deployment:
    """Registry, API and scrubber over one database, with short leases; more APIs and scrubbers may join."""

    def __init__(
        self,
        folder: Path,
        database_url: str,
        *,
        transport_url: str | None = None,
        api: Options = _NONE,
        scrubber: Options = _NONE,
    ) -> None:
        self.services = Services(
            folder, database_url, transport_url=transport_url,
            api=configuration.merged(_API, api), scrubber=configuration.merged(_SCRUBBER, scrubber),
        )
        self._database = database_url.replace("postgresql+psycopg2", "postgresql", 1)
        self.registry, self.api = self.services.registry, self.services.api
        self.scrubber = self.services.scrubber
        self.images = self.services.images
        self._first: list[Daemon] = [self.registry, self.api, self.scrubber]
        self._more: list[Daemon] = []
        self._pool = ThreadPoolExecutor(32, thread_name_prefix="client")
        self.registry_client = self._connect_registry()

    def _connect_registry(self) -> RegistryClient:
        secret = (self.services.folder / "registry-secret").read_bytes().strip()
        return over(connect_to(self.registry.url, ContextSigner([secret])))

    @property
    def daemons(self) -> list[Daemon]:
        """All daemons of the deployment."""
        return [*self._first, *self._more]

    # --- its life ---

    def start(self) -> None:
        """Start the first three and wait until they work."""
        self.services.start(*self._first)

    def stop(self) -> None:
        """Kill everything; what a clean stop does has tests of its own."""
        self.registry_client.close()
        for daemon in self.daemons:
            daemon.kill()
        self._pool.shutdown()

    def add_api(self, options: Options = _NONE) -> WebDaemon:
        """Start one more API."""
        return self._add(self.services.new_api(f"api-{uuid4().hex[:8]}", options))

    def add_scrubber(self, options: Options = _NONE) -> Daemon:
        """Start one more scrubber."""
        return self._add(self.services.new_scrubber(f"scrubber-{uuid4().hex[:8]}", options))

    def _add(self, daemon: D) -> D:
        self._more.append(daemon)
        daemon.start()
        daemon.wait_ready()
        return daemon

    def revive(self, *daemons: Daemon) -> None:
        """Start again what died (of these daemons, or of all), as a supervisor does, and wait until it works.

        A failpoint may kill it while it starts. Raises StartError when it dies again and again, or takes too long.
        """
        for is_last in (*[False] * 9, True):
            dead = [daemon for daemon in daemons or self.daemons if not daemon.running]
            for daemon in dead:
                daemon.kill()  # workers may have outlived their master for a moment
                daemon.start()
            for daemon in dead:
                try:
                    daemon.wait_ready()
                except processes.StartError:
                    if is_last or daemon.running:
                        raise
            if not dead:
                return

    def clear(self) -> None:
        """Make everything as after the first start: the three daemons running, no images, no files, no failpoints."""
        for daemon in self._more:
            daemon.kill()
        self._more.clear()
        self._calm()
        if self.unsettled():
            for daemon in self.daemons:
                daemon.kill()
            self.revive()
        self._empty_tables()
        for path in self.images.iterdir():
            if path.name == INCOMING:
                shutil.rmtree(path)
            elif path.name != SENTINEL:
                path.unlink()

    def _empty_tables(self) -> None:
        """Empty them, again when that meets a worker's look for operations, which takes its locks in another order."""
        while True:
            try:
                self.execute("TRUNCATE images, members, locations, operations CASCADE")
            except psycopg2.errors.DeadlockDetected:
                continue
            return

    # --- the database, past the registry ---

    def query(self, statement: str, *values: object) -> list[Row]:
        """Return the rows of a statement."""
        with closing(self._connection()) as connection, connection.cursor() as cursor:
            cursor.execute(statement, values or None)
            return [dict(row) for row in cursor.fetchall()]

    def execute(self, statement: str, *values: object) -> int:
        """Run a statement; return how many rows it touched."""
        with closing(self._connection()) as connection, connection.cursor() as cursor:
            cursor.execute(statement, values or None)
            return cursor.rowcount

    def _connection(self) -> psycopg2.extensions.connection:
        connection = psycopg2.connect(self._database, cursor_factory=RealDictCursor, connect_timeout=10)
        connection.autocommit = True
        return connection

    def image(self, image: str) -> Row:
        """Return the row of an image."""
        return self.query("SELECT * FROM images WHERE id = %s", image)[0]

    def status(self, image: str) -> str:
        """Return the status of an image."""
        return str(self.image(image)["status"])

    def wait_status(self, image: str, status: str, seconds: float = 60) -> None:
        """Wait until the image has this status."""
        wait_until(lambda: self.status(image) == status, what=f"image {image} {status}", seconds=seconds)

    def locations(self, image: str) -> list[Row]:
        """Return the location rows of an image, the oldest first."""
        return self.query("SELECT * FROM locations WHERE image_id = %s ORDER BY position", image)

    # --- clients ---

    def client(self, ledger: Ledger, api: WebDaemon | None = None) -> ImageClient:
        """Return a client of the API."""
        return ImageClient((api or self.api).url, ledger)

    def background(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Call the function in a thread of its own."""
        return self._pool.submit(function, *args, **kwargs)

    def restore(self, ledger: Ledger, image: str) -> Outcome:
        """Restore an image, as the operator's tool does."""
        return self._told(ledger.restored, image, self.registry_client.images.restore, self._operator(), image,
                          str(uuid4()))

    def delete_delayed(self, ledger: Ledger, image: str, seconds: int = 3600) -> Outcome:
        """Delete an image whose data are to be kept for ``seconds``."""
        return self._told(ledger.deleted, image, self.registry_client.images.delete, self._operator(), image,
                          str(uuid4()), delayed=True, scrub_time=seconds)

    def _told(
        self, note: Callable[[str, Outcome], None], image: str, call: Callable[P, object], *args: P.args,
        **kwargs: P.kwargs,
    ) -> Outcome:
        try:
            call(*args, **kwargs)
        except GlanceError as error:
            outcome = Outcome.REFUSED if error.code < 500 else Outcome.UNCLEAR
        else:
            outcome = Outcome.DONE
        note(image, outcome)
        return outcome

    def _operator(self) -> RequestContext:
        return system_context(f"req-{uuid4()}")

    # --- rest ---

    def settle(self, seconds: float = 120) -> None:
        """Let the deployment run undisturbed until nothing is left to do for it, also no late pass.

        Pauses between two tries, hours in production, are cut short in the rows; leases and everything else the
        daemons do themselves. Raises AssertionError for rows that nobody would ever look at again, and StartError when
        the end does not come.
        """
        self._calm()
        self._check_deadlines()

        def at_rest() -> bool:
            self._bring_forward()
            return not self.unsettled()

        try:
            wait_until(at_rest, what="a deployment at rest", seconds=seconds)
        except processes.StartError as error:
            raise AssertionError(f"{error}: {self.unsettled()}") from None

    def _calm(self) -> None:
        for daemon in self.daemons:
            disarm(daemon)
            if daemon.running:
                daemon.thaw()
        self.revive()

    def unsettled(self) -> list[Row]:
        """Return the rows that are in a transient state, all at one moment: work goes from one table to the next."""
        joined = "locations l JOIN images i ON i.id = l.image_id"
        statements = (
            f"SELECT l.*, i.status AS image_status FROM {joined} WHERE {_WAITING} OR ({_LATE})",
            "SELECT id, status FROM images WHERE status IN ('saving', 'importing')",
            f"SELECT * FROM operations WHERE {_LIVE}",
        )
        rows: list[Row] = []
        with closing(self._connection()) as connection, connection.cursor() as cursor:
            cursor.execute("BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            for statement in statements:
                cursor.execute(statement)
                rows += [dict(row) for row in cursor.fetchall()]
        return rows

    def _check_deadlines(self) -> None:
        """I7: every transient state ends by itself, and within a day."""
        endless = self.query(
            f"SELECT l.* FROM locations l JOIN images i ON i.id = l.image_id WHERE ({_WAITING} OR ({_LATE})) AND"
            " coalesce(greatest(l.lease_until, l.not_before), 'infinity') > now() + interval '1 day'"
        )
        assert not endless, f"rows that would wait for ever: {endless}"
        orphans = self.query(
            "SELECT i.id FROM images i WHERE status = 'saving' AND NOT EXISTS"
            " (SELECT FROM locations l WHERE l.image_id = i.id AND l.status = 'writing')"
        )
        assert not orphans, f"images whose upload belongs to nobody: {orphans}"
        forgotten = self.query(
            f"SELECT id FROM images WHERE status = 'importing' AND id NOT IN"
            f" (SELECT image_id FROM operations WHERE {_LIVE} AND image_id IS NOT NULL)"
        )
        assert not forgotten, f"images whose import belongs to nobody: {forgotten}"

    def _bring_forward(self) -> None:
        """Cut short what waits for minutes or hours: retries, late passes, and the 120 s of an aborted upload."""
        self.execute(
            f"UPDATE locations l SET not_before = now() FROM images i WHERE i.id = l.image_id AND l.lease_until IS NULL"
            f" AND l.not_before > now() + interval '1 s' AND ({_WAITING} OR ({_LATE}))"
        )
        self.execute(
            "UPDATE locations SET lease_until = now() + interval '3 s' WHERE lease_until > now() + interval '10 s'"
        )
        self.execute(
            f"UPDATE operations SET lease_until = now() + interval '3 s'"
            f" WHERE lease_until > now() + interval '10 s' AND {_LIVE}"
        )


def disarm(daemon: Daemon) -> None:
    """Take all failpoints away, also the traces of those that fired."""
    for path in daemon.failpoints.iterdir():
        path.unlink(missing_ok=True)


def wake(pid: int) -> None:
    """Let a process run on that a failpoint stopped."""
    os.kill(pid, signal.SIGCONT)


class MountedFolder:
    """A folder that is a mount point of its own, as a data directory is in production; needs root."""

    def __init__(self, place: Path, disk: Path) -> None:
        self.place, self._disk = place, disk
        # Kept here, because Path.is_mount() does not see a bind mount from the same file system.
        self.is_mounted = False
        disk.mkdir(exist_ok=True)

    def mount(self) -> None:
        """Mount the disk unless it is."""
        if not self.is_mounted:
            subprocess.run(["mount", "--bind", self._disk, self.place], check=True)
            self.is_mounted = True

    def unmount(self) -> None:
        """Take the disk away unless it is, also from under open files, as a network that breaks does."""
        if self.is_mounted:
            subprocess.run(["umount", "--lazy", self.place], check=True)
            self.is_mounted = False
