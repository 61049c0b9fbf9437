"""What runs: HAProxy, several APIs, registries and scrubbers, PostgreSQL with a replica, RabbitMQ nodes, one store."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psycopg2
from deploy.local import accounts, configuration, processes
from deploy.local.embedded_postgres import PostgresServer
from psycopg2.extras import RealDictCursor

from glance_registry.db.schema import upgrade
from tests.cluster import settings
from tests.servers.ceph import Ceph
from tests.servers.haproxy import Haproxy
from tests.servers.postgres_replica import bytes_behind, new_replica
from tests.servers.rabbitmq_cluster import RabbitMQCluster
from tests.servers.seaweedfs import SeaweedFS
from tests.servers.web import WebServer, web_server
from tests.support import rest
from tests.support.daemons import Daemon, Services, WebDaemon
from tests.support.rest import Row

DATABASE = "glance"
MARKER = "glance-cluster"
"""The file that says that a folder is a cluster's."""
_DATABASE_SETTINGS = {"max_connections": "200", "shared_buffers": "64MB"}


class FolderError(Exception):
    """The folder cannot be a cluster's; the text says why."""


@dataclass(frozen=True, slots=True)
class Size:
    """How many of each there are."""

    apis: int = 3
    registries: int = 2
    scrubbers: int = 3
    brokers: int = 3


FULL = Size()


@dataclass(frozen=True, slots=True)
class Part:
    """One process with its children. ``start`` and ``stop`` return when it works, or has ended."""

    name: str
    kind: str
    address: str
    pid: Callable[[], int]
    start: Callable[[], None]
    stop: Callable[[], object]
    kill: Callable[[], None]


class Cluster:
    """Everything in ``folder``; ``store`` is ``radosgw`` or ``seaweedfs``, ``say`` hears what is ready."""

    def __init__(
        self, folder: Path, *, size: Size = FULL, store: str = "radosgw", say: Callable[[str], None] = lambda _: None
    ) -> None:
        self.folder = folder
        self._size = size
        self._say = say
        self._held = _prepare(folder)
        self.postgres = PostgresServer(
            folder / "postgres", settings=_DATABASE_SETTINGS, death_signal=signal.SIGQUIT
        )
        self.replica: PostgresServer | None = None
        self.brokers = RabbitMQCluster(_made(folder / "rabbitmq"), size.brokers)
        self.store: Ceph | SeaweedFS = (
            Ceph(_made(folder / "ceph")) if store == "radosgw" else SeaweedFS(_made(folder / "seaweedfs"))
        )
        self.apis: list[WebDaemon] = []
        self.registries: list[WebDaemon] = []
        self.scrubbers: list[Daemon] = []
        self.haproxy: Haproxy | None = None
        self._running = ExitStack()
        self.web: WebServer = self._running.enter_context(web_server())
        """What imports read from."""

    @property
    def url(self) -> str:
        """Where clients go."""
        assert self.haproxy is not None, "the cluster was not started"
        return self.haproxy.url

    def start(self) -> None:
        """Start everything and wait until HAProxy finds all servers up. Raises StartError."""
        with ThreadPoolExecutor(3) as pool:
            list(pool.map(lambda start: start(), (self._start_databases, self._start_brokers, self._start_store)))
        self._make_daemons()
        assert self.haproxy is not None
        self.haproxy.start()
        self._say("ready: HAProxy")
        for group in (self.registries, [*self.apis, *self.scrubbers]):
            for daemon in group:
                daemon.start()
            for daemon in group:
                daemon.wait_ready(180)
                self._say(f"ready: {daemon.folder.name}")
        processes.wait_until(self.is_whole, what="HAProxy, which finds servers", seconds=60)
        # Without it a broker that is killed soon may never find its queue again.
        self.brokers.save_queues()

    def stop(self) -> None:
        """End everything, in the reverse order; also after a start that failed."""
        daemons = [*self.apis, *self.scrubbers, *self.registries]
        if daemons:
            with ThreadPoolExecutor(len(daemons)) as pool:
                list(pool.map(_end, daemons))
        servers: list[Haproxy | Ceph | SeaweedFS | RabbitMQCluster | PostgresServer | None] = [
            self.haproxy, self.store, self.brokers, self.replica, self.postgres,
        ]
        for server in servers:
            if server is not None:
                server.stop()
        self._running.close()
        self._held.close()

    def is_whole(self) -> bool:
        """Return whether HAProxy finds every server up and the replica follows."""
        assert self.haproxy is not None
        with suppress(OSError, psycopg2.Error):
            states = self.haproxy.states().values()
            return set(states) == {"UP"} and bytes_behind(self.postgres) is not None
        return False

    def revive(self) -> list[str]:
        """Start again what has died, as a supervisor does; return the names."""
        dead = [part for part in self.parts() if not processes.is_running(part.pid())]
        for part in dead:
            part.kill()  # children may have outlived their parent
            part.start()
        return [part.name for part in dead]

    # --- its parts ---

    def parts(self) -> Iterator[Part]:
        """Yield everything that may die and come back."""
        haproxy, replica = self.haproxy, self.replica
        assert haproxy is not None
        assert replica is not None
        yield Part("haproxy", "haproxy", haproxy.url, lambda: haproxy.pid, haproxy.start, haproxy.stop, haproxy.kill)
        for daemon in (*self.apis, *self.registries, *self.scrubbers):
            yield _daemon_part(daemon)
        for name, server in (("postgres", self.postgres), ("replica", replica)):
            yield Part(
                name, name, server.url(DATABASE), _pid_of(server), server.start, server.stop, server.kill
            )
        for number, node in enumerate(self.brokers.nodes, 1):
            yield Part(
                f"rabbitmq-{number}", "rabbitmq", f"{processes.LOOPBACK}:{node.port}", _pid_of(node), node.start,
                node.stop, node.kill,
            )
        if isinstance(self.store, Ceph):
            yield self._gateway_part(self.store)

    def _gateway_part(self, ceph: Ceph) -> Part:
        def kill() -> None:
            ceph.kill("rgw.a")

        return Part("radosgw", "store", ceph.url, lambda: ceph.pid("rgw.a"), ceph.start_gateway, kill, kill)

    # --- the database, past the registries ---

    def query(self, statement: str) -> list[Row]:
        """Return the rows of a statement."""
        with closing(self._connection()) as connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return [dict(row) for row in cursor.fetchall()]

    def _execute(self, statement: str) -> int:
        with closing(self._connection()) as connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.rowcount

    def settle(self, seconds: float = 180) -> None:
        """Wait until no row is in a transient state; pauses between two tries are cut short. Raises AssertionError."""
        rest.check_deadlines(self.query)

        def at_rest() -> bool:
            rest.bring_forward(self._execute)
            return not self._unsettled()

        try:
            processes.wait_until(at_rest, what="a cluster at rest", seconds=seconds)
        except processes.StartError as error:
            raise AssertionError(f"{error}: {self._unsettled()}") from None

    def _unsettled(self) -> list[Row]:
        with closing(self._connection()) as connection:
            return rest.unsettled(connection)

    def _connection(self) -> psycopg2.extensions.connection:
        url = self.postgres.url(DATABASE).replace("+psycopg2", "")
        connection = psycopg2.connect(url, cursor_factory=RealDictCursor, connect_timeout=60)
        connection.autocommit = True
        return connection

    # --- start ---

    def _start_databases(self) -> None:
        self.postgres.start()
        self.postgres.create_database(DATABASE)
        upgrade(self.postgres.url(DATABASE))
        self._say("ready: PostgreSQL")
        self.replica = new_replica(self.postgres, self.folder / "replica", settings=_DATABASE_SETTINGS,
                                   death_signal=signal.SIGQUIT)
        self.replica.start()
        processes.wait_until(lambda: bytes_behind(self.postgres) is not None, what="a replica that follows")
        self._say("ready: its replica")

    def _start_brokers(self) -> None:
        self.brokers.start()
        self._say(f"ready: {self._size.brokers} RabbitMQ nodes")

    def _start_store(self) -> None:
        self.store.start()
        self.store.client().create_bucket(Bucket=settings.BUCKET)
        self._say("ready: store")

    def _make_daemons(self) -> None:
        assert self.replica is not None
        services = Services(
            self.folder, self.postgres.url(DATABASE), transport_url=self.brokers.url,
            shared=settings.store(self.store),
            api=configuration.merged(settings.API, settings.sources(self.web.port)),
            registry=settings.registry(self.replica.url(DATABASE)), scrubber=settings.SCRUBBER,
        )
        self.registries = [services.new_registry(f"registry-{n}") for n in range(1, self._size.registries + 1)]
        self.apis = [services.new_api(f"api-{n}") for n in range(1, self._size.apis + 1)]
        self.scrubbers = [services.new_scrubber(f"scrubber-{n}") for n in range(1, self._size.scrubbers + 1)]
        self.haproxy = Haproxy(
            _made(self.folder / "haproxy"), *(api.port for api in self.apis),
            registry_ports=[registry.port for registry in self.registries],
        )
        for daemon in (*self.apis, *self.scrubbers):
            settings.find_registries(daemon, self.haproxy)


def _daemon_part(daemon: Daemon) -> Part:
    def start() -> None:
        daemon.start()
        daemon.wait_ready(120)

    address = daemon.url if isinstance(daemon, WebDaemon) else ""
    return Part(daemon.folder.name, daemon.program, address, _pid_of(daemon), start, daemon.stop, daemon.kill)


def _pid_of(server: Daemon | PostgresServer | object) -> Callable[[], int]:
    return lambda: int(server.pid)  # type: ignore[union-attr, attr-defined] # all have one


def _end(daemon: Daemon) -> None:
    """Stop without the time that a balancer needs: nothing is served any more."""
    if daemon.running:
        daemon.interrupt()


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def is_held(folder: Path) -> bool:
    """Return whether a cluster runs in ``folder``. Raises FolderError for that of another user, and OSError."""
    _check_owner(folder)
    try:
        with (folder / MARKER).open() as marker:
            fcntl.flock(marker, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def _check_owner(folder: Path) -> None:
    if folder.stat().st_uid != os.geteuid():
        raise FolderError(f"{folder} belongs to another user; choose another folder with --folder")


def _prepare(folder: Path) -> IO[str]:
    """Empty the folder of an earlier cluster, or make it, and hold it until the returned file is closed.

    Raises FolderError for one that holds something else, is another user's, or whose cluster runs.
    """
    account = accounts.server_account()
    if not accounts.can_reach(folder.parent, account):
        raise FolderError(f"user {accounts.NAME}, as whom root's database runs, cannot reach {folder.parent}")
    if folder.exists() and any(folder.iterdir()) and not (folder / MARKER).exists():
        raise FolderError(f"{folder} holds other files; choose an empty or new folder with --folder")
    folder.mkdir(parents=True, exist_ok=True)
    _check_owner(folder)
    marker = (folder / MARKER).open("a")
    try:
        fcntl.flock(marker, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        marker.close()
        raise FolderError(f"a cluster runs in {folder}; end it, or choose another folder with --folder") from None
    for path in folder.iterdir():
        if path.name != MARKER:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    # The database's user passes through to its own folder.
    folder.chmod(0o711)
    return marker
