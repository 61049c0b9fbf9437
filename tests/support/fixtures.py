"""Fixtures that give tests real servers; each starts when the first test asks for it."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar

import pytest
from deploy.local.embedded_postgres import PostgresServer

from glance_common.delete_queue.broker import connected
from glance_common.messaging.connection import parse_broker
from tests.servers.barbican_service import BarbicanService
from tests.servers.ceph import Ceph
from tests.servers.cinder import Cinder
from tests.servers.keystone import Keystone
from tests.servers.mariadb import MariaDB, running_mariadb
from tests.servers.postgres import drop_database, running_postgres
from tests.servers.rabbitmq import RabbitMQ
from tests.servers.rbd import Administrator
from tests.servers.seaweedfs import SeaweedFS
from tests.servers.swift import Swift
from tests.support import environments
from tests.support.clients import Clients
from tests.support.daemons import Services
from tests.support.notifications import Listener

_TEMPLATE = "migrated"
_numbers = itertools.count(1)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Install what the collected tests need before the first one starts: pip takes longer than a test may."""
    wanted = {name.replace("_", "-") for item in session.items for name in getattr(item, "fixturenames", ())}
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if session.config.option.collectonly:
        return
    missing = [name for name in sorted(wanted & set(environments.ALL)) if not environments.is_ready(name)]
    if missing:
        if reporter is not None:
            reporter.write_line(f"installing environments, once; this takes a minute: {', '.join(missing)}")
        environments.make(missing)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server for the whole session; tests that kill or restart it use ``own_postgres``."""
    with running_postgres() as server:
        yield server


@pytest.fixture
def own_postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server for one test, which may do to it what it likes."""
    with running_postgres() as server:
        yield server


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariaDB]:
    """A MariaDB server for the whole session; each test has a database of its own."""
    with running_mariadb() as server:
        yield server


@pytest.fixture(scope="session")
def migrated_template(postgres: PostgresServer) -> str:
    """The name of a database with the newest schema and no rows."""
    from glance_registry.db.schema import upgrade

    postgres.create_database(_TEMPLATE)
    upgrade(postgres.url(_TEMPLATE))
    return _TEMPLATE


@pytest.fixture
def database(postgres: PostgresServer, migrated_template: str) -> Iterator[str]:
    """The URL of a fresh database with the newest schema."""
    name = f"test_{next(_numbers)}"
    postgres.create_database(name, template=migrated_template)
    yield postgres.url(name)
    drop_database(postgres, name)


@pytest.fixture
def empty_database(postgres: PostgresServer) -> Iterator[str]:
    """The URL of a fresh database without any table."""
    name = f"test_{next(_numbers)}"
    postgres.create_database(name)
    yield postgres.url(name)
    drop_database(postgres, name)


class Server(Protocol):
    """What is started for a test and stopped after it."""

    def start(self) -> None: ...

    def stop(self) -> None: ...


ServerT = TypeVar("ServerT", bound=Server)


@contextmanager
def running(server: ServerT) -> Iterator[ServerT]:
    """Run a server in the block. It is stopped also when its start fails half-way."""
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture
def root_logger() -> Iterator[logging.Logger]:
    """The root logger, which afterwards has the handlers and the level of before: a program sets up its own."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield root
    for handler in set(root.handlers).difference(handlers):
        handler.close()
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture(scope="session")
def rabbitmq(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQ]:
    """A RabbitMQ broker for the whole session; a test that stops it or raises an alarm undoes that.

    The delete queue is there and saved: the first test may be one that kills the broker.
    """
    broker = RabbitMQ(tmp_path_factory.mktemp("rabbitmq"))
    try:
        broker.start()
        with connected(parse_broker(broker.url)):
            broker.save_queues()
        yield broker
    finally:
        broker.stop()


@pytest.fixture(scope="session")
def seaweedfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeaweedFS]:
    """An S3 server for the whole session; each test has a bucket of its own."""
    with running(SeaweedFS(tmp_path_factory.mktemp("seaweedfs"))) as server:
        yield server


@pytest.fixture(scope="session")
def swift(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Swift]:
    """A Swift for the whole session; each test has a container of its own."""
    with running(Swift(tmp_path_factory.mktemp("swift"))) as server:
        yield server


@pytest.fixture(scope="session")
def ceph(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ceph]:
    """A Ceph with its gateway for the whole session; each test has a bucket or container of its own."""
    with running(Ceph(tmp_path_factory.mktemp("ceph"))) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def rbd(ceph: Ceph) -> Iterator[Administrator]:
    """An administrator of the session's cluster; each test has a pool of its own."""
    administrator = Administrator(ceph)
    yield administrator
    administrator.close()


@pytest.fixture(scope="session")
def keystone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keystone]:
    """A Keystone for the whole session; tell it the image service's URL with ``set_image_endpoint``."""
    with running(Keystone(tmp_path_factory.mktemp("keystone"))) as identity:
        yield identity


@pytest.fixture(scope="session")
def keystone_swift(keystone: Keystone, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Swift]:
    """A Swift that takes the tokens of Keystone, whose catalog names the account of each project."""
    server = Swift(tmp_path_factory.mktemp("keystone-swift"), keystone)
    try:
        server.start()
        keystone.set_endpoint("object-store", "swift", f"{server.url}/v1/KEY_$(project_id)s")
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def barbican_service(keystone: Keystone, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BarbicanService]:
    """A Barbican for the whole session, which Keystone's catalog names; a test that stops it starts it again."""
    service = BarbicanService(tmp_path_factory.mktemp("barbican"), keystone)
    try:
        service.start()
        keystone.set_endpoint("key-manager", "barbican", service.url)
        yield service
    finally:
        service.stop()


@pytest.fixture(scope="session")
def cinder(ceph: Ceph, keystone: Keystone, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cinder]:
    """A Cinder for the whole session, which Keystone's catalog names; each test has a type of volumes of its own."""
    with running(Cinder(tmp_path_factory.mktemp("cinder"), ceph, keystone)) as service:
        yield service
        service.remove_key()


@pytest.fixture(scope="session")
def clients(tmp_path_factory: pytest.TempPathFactory) -> Clients:
    """The real command line clients."""
    return Clients(tmp_path_factory.mktemp("clients"))


@pytest.fixture(scope="session")
def nova(tmp_path_factory: pytest.TempPathFactory) -> Clients:
    """Python with Nova."""
    return Clients(tmp_path_factory.mktemp("nova-home"), environments.NOVA)


@pytest.fixture(scope="session")
def ecosystem(tmp_path_factory: pytest.TempPathFactory) -> Clients:
    """Python with apache-libcloud, and osism's image manager."""
    return Clients(tmp_path_factory.mktemp("ecosystem-home"), environments.ECOSYSTEM)


@pytest.fixture(scope="session")
def ansible(tmp_path_factory: pytest.TempPathFactory) -> Clients:
    """Ansible with its collection openstack.cloud."""
    return Clients(tmp_path_factory.mktemp("ansible-home"), environments.ANSIBLE)


@pytest.fixture(scope="session")
def schemathesis() -> Path:
    """The program that tests a service against its OpenAPI document."""
    return environments.environment(environments.SCHEMATHESIS) / "bin" / "st"


@pytest.fixture(scope="module")
def messaging(rabbitmq: RabbitMQ, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Listener]:
    """oslo.messaging listening to the notifications that go to the session's broker."""
    with running(Listener(rabbitmq.url, tmp_path_factory.mktemp("messaging"))) as listener:
        yield listener


@pytest.fixture
def make_services(tmp_path: Path, database: str) -> Iterator[Callable[..., Services]]:
    """A function that makes Services over a fresh database (its options are those of the class); stopped at the end."""
    made: list[Services] = []

    def make(**options: Any) -> Services:
        folder = tmp_path / f"services-{len(made)}"
        services = Services(folder, options.pop("database_url", database), **options)
        made.append(services)
        return services

    yield make
    for services in made:
        services.stop()


@pytest.fixture
def services(make_services: Callable[..., Services]) -> Services:
    """Registry, API and scrubber with the embedded default's settings, running."""
    running = make_services()
    running.start()
    return running
