"""A whole deployment whose processes tests may kill, stop and cut off, and which can be brought to rest again."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import ParamSpec, TypeVar
from uuid import uuid4

import psycopg2
from deploy.local import configuration, processes
from deploy.local.configuration import Options
from deploy.local.processes import wait_until
from psycopg2.extras import RealDictCursor

from glance_common.model.context import ContextSigner, RequestContext, system_context
from glance_common.model.errors import GlanceError
from glance_common.model.limits import Limits
from glance_common.registry_client import RegistryClient, over
from glance_common.registry_client.http import connect_to
from glance_common.stores.reserved import STAGING
from tests.servers.web import WebServer
from tests.support import rest
from tests.support.daemons import Daemon, Services, WebDaemon
from tests.support.image_client import ImageClient, identity
from tests.support.ledger import Ledger, Outcome
from tests.support.old_image_client import OldImageClient
from tests.support.rest import Row

P = ParamSpec("P")
T = TypeVar("T")
D = TypeVar("D", bound=Daemon)
LEASE = 3
"""Seconds of uploads' and claims' leases: the shortest that the options allow."""

_SILENCE = 3.0
"""Seconds after which the store of web servers gives up one that says nothing."""

SENTINEL, INCOMING = ".glance-store", ".incoming"

_NONE: Options = MappingProxyType({})
_API: Options = {"upload": {"lease": LEASE}}
_SCRUBBER: Options = {"DEFAULT": {"wakeup_time": 1, "scrub_pool_size": 4}, "scrubber": {"claim_lease": LEASE}}

@dataclass(frozen=True, slots=True)
class Layout:
    """How large a deployment is: its file stores, the default one first, its nodes and its scrubbers.

    A node has an API and, where there are several, a registry and a staging directory of its own; nodes reach each
    other. ``web`` names a store of images that lie on web servers, and gives up a silent one soon.
    """

    stores: tuple[str, ...] = ("file",)
    nodes: int = 1
    scrubbers: int = 1
    web: str | None = None


SMALL = Layout()


class Deployment:
    """Registries, APIs and scrubber over one database, with short leases; more APIs and scrubbers may join."""

    def __init__(
        self,
        folder: Path,
        database_url: str,
        *,
        layout: Layout = SMALL,
        transport_url: str | None = None,
        api: Options = _NONE,
        scrubber: Options = _NONE,
    ) -> None:
        self.stores = {name: folder / ("images" if name == layout.stores[0] else name) for name in layout.stores}
        """The directory of each store."""
        self.services = Services(
            folder, database_url, transport_url=transport_url, shared=self._stores_options(layout.web)
            if layout is not SMALL else _NONE, api=configuration.merged(_API, api),
            scrubber=configuration.merged(_SCRUBBER, scrubber),
        )
        self._database = database_url.replace("postgresql+psycopg2", "postgresql", 1)
        self.registry, self.api = self.services.registry, self.services.api
        self.scrubber = self.services.scrubber
        self.images = self.services.images
        self.stagings = {f"{STAGING}@{socket.gethostname()}": self.services.staging}
        """The directory of each staging store."""
        self.web: WebServer | None = None
        """The web server on which registered images lie."""
        more = range(2, layout.nodes + 1)
        self.registries = [self.registry, *(self.services.new_registry(f"registry-{number}") for number in more)]
        self.apis = [self.api, *(self.services.new_api(f"api-{number}") for number in more)]
        """Those that clients use."""
        if more:
            self._set_apart()
        others = range(2, layout.scrubbers + 1)
        self.scrubbers = [self.scrubber, *(self.services.new_scrubber(f"scrubber-{number}") for number in others)]
        self._first: list[Daemon] = [*self.registries, *self.apis, *self.scrubbers]
        self._more: list[Daemon] = []
        self._pool = ThreadPoolExecutor(32, thread_name_prefix="client")
        self.registry_client = self._connect_registry()

    def _stores_options(self, web: str | None) -> Options:
        for directory in self.stores.values():
            directory.mkdir(parents=True, exist_ok=True)
        each: dict[str, dict[str, object]] = {
            name: {"filesystem_store_datadir": directory} for name, directory in self.stores.items()
        }
        enabled = ",".join([*(f"{name}:file" for name in self.stores), *([f"{web}:http"] if web else [])])
        if web:
            each[web] = {"http_answer_timeout": _SILENCE, "http_read_timeout": _SILENCE}
        default = {"glance_store": {"default_backend": next(iter(self.stores))}}
        return {"DEFAULT": {"enabled_backends": enabled}, **default, **each}

    def _set_apart(self) -> None:
        """Give each node a staging directory of its own, and say how the others reach it."""
        for registry, api in zip(self.registries, self.apis, strict=True):
            host = f"node-{api.port}"
            directory = self.services.folder / f"staging-{host}"
            directory.mkdir()
            self.stagings[f"{STAGING}@{host}"] = directory
            own = {
                "node_staging_uri": directory.as_uri(), "staging_host": host, "worker_self_reference_url": api.url,
                "registry_port": registry.port,
            }
            api.configure(configuration.merged(api.options, {"DEFAULT": own}))

    @property
    def identifies(self) -> bool:
        """Whether clients say who they are; otherwise all of them are one administrator."""
        return bool(self.api.options.get("paste_deploy", {}).get("flavor") == "trusted-auth")

    def _connect_registry(self) -> RegistryClient:
        secret = (self.services.folder / "registry-secret").read_bytes().strip()
        return over(connect_to(self.registry.url, ContextSigner([secret])))

    @property
    def daemons(self) -> list[Daemon]:
        """All daemons of the deployment."""
        return [*self._first, *self._more]

    # --- its life ---

    def start(self) -> None:
        """Start the first ones and wait until they work."""
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
        """Make everything as after the first start: the first daemons running, no images, no files, no failpoints."""
        for daemon in self._more:
            daemon.kill()
        self._more.clear()
        self._calm()
        if self.unsettled():
            for daemon in self.daemons:
                daemon.kill()
            self.revive()
        self.empty_tables()
        # A daemon that began before may still remove something.
        for directory in (*self.stores.values(), *self.stagings.values()):
            for path in directory.iterdir():
                if path.name == INCOMING:
                    shutil.rmtree(path, ignore_errors=True)
                elif path.is_file() and path.name != SENTINEL:
                    path.unlink(missing_ok=True)

    def empty_tables(self) -> None:
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
        connection = psycopg2.connect(self._database, cursor_factory=RealDictCursor, connect_timeout=60)
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

    def client(
        self, ledger: Ledger, api: WebDaemon | None = None, project: str = "admins", roles: str = "admin,member,reader"
    ) -> ImageClient:
        """Return a client of an API; an administrator unless told otherwise, where clients say who they are."""
        headers = identity(project, roles) if self.identifies else {}
        return ImageClient((api or self.api).url, ledger, headers=headers)

    def old_client(self, ledger: Ledger, api: WebDaemon, project: str, roles: str) -> OldImageClient:
        """Return a client of the API v1."""
        return OldImageClient(api.url, ledger, headers=identity(project, roles) if self.identifies else {})

    def background(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Call the function in a thread of its own."""
        return self._pool.submit(function, *args, **kwargs)

    def restore(self, ledger: Ledger, image: str, limits: Limits | None = None) -> Outcome:
        """Restore an image, as the operator's tool does, or within the limits of its owner."""
        return self._told(ledger.restored, image, self.registry_client.images.restore, self._operator(), image,
                          str(uuid4()), limits=limits)

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
        daemons do themselves. Raises AssertionError for rows that no daemon would ever look at again, and StartError
        when the end does not come.
        """
        self._calm()
        rest.check_deadlines(self.query)

        def at_rest() -> bool:
            rest.bring_forward(self.execute)
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
        """Return what is in a transient state: rows, all at one moment, and folders of imports that died."""
        with closing(self._connection()) as connection:
            rows = rest.unsettled(connection)
        folders = [path for staging in self.stagings.values() for path in staging.glob(".work/*") if path.is_dir()]
        return rows + [{"work folder": str(path)} for path in folders]


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
