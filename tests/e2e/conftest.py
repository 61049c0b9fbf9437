"""Whole deployments for the tests of a module, and real disk images to put into them."""

import itertools
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from deploy.local.embedded_postgres import PostgresServer
from tests.e2e.people import People
from tests.servers import mongod
from tests.servers.keystone import Keystone
from tests.servers.mongod import Mongod
from tests.servers.postgres import drop_database
from tests.servers.web import WebServer, web_server
from tests.support.daemons import Services
from tests.support.run_local import RunLocal

ISO = Path("/usr/lib/grub-rescue/grub-rescue-cdrom.iso")
ISO_PACKAGE = "grub-rescue-pc"

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def iso() -> Path:
    """A bootable ISO that is a partitioned disk as well: two formats match it."""
    assert ISO.exists(), f"{ISO} is missing: apt-get install {ISO_PACKAGE}"
    return ISO


@pytest.fixture(scope="session")
def qcow2(iso: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same disk as qcow2."""
    target = tmp_path_factory.mktemp("disk") / "grub-rescue.qcow2"
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", str(iso), str(target)], check=True)
    return target


@pytest.fixture(scope="module")
def web() -> Iterator[WebServer]:
    """A web server to import from, and for locations; it has no pages yet."""
    with web_server() as server:
        yield server


@pytest.fixture(scope="module")
def module_database(postgres: PostgresServer, migrated_template: str) -> Iterator[Callable[[], str]]:
    """A function that makes a database with the newest schema and returns its URL; dropped after the module."""
    names: list[str] = []

    def make() -> str:
        names.append(f"e2e_{next(_numbers)}")
        postgres.create_database(names[-1], template=migrated_template)
        return postgres.url(names[-1])

    yield make
    for name in names:
        drop_database(postgres, name)


@pytest.fixture(scope="module")
def deploy(
    module_database: Callable[[], str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., Services]]:
    """A function that starts the three daemons with these options of ``Services``; they stop after the module."""
    made: list[Services] = []

    def start(**options: Any) -> Services:
        services = Services(tmp_path_factory.mktemp("services"), module_database(), **options)
        made.append(services)
        services.start()
        return services

    yield start
    for services in made:
        services.stop()


@pytest.fixture(scope="module")
def two_stores(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, object]]:
    """Options of all daemons with the file stores ``fast`` (default) and ``slow``."""
    folder = tmp_path_factory.mktemp("stores")
    options: dict[str, dict[str, object]] = {
        "DEFAULT": {"enabled_backends": "fast:file,slow:file"}, "glance_store": {"default_backend": "fast"},
    }
    for name in ("fast", "slow"):
        (folder / name).mkdir()
        options[name] = {"filesystem_store_datadir": folder / name}
    return options


@pytest.fixture(scope="module")
def mongodb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mongod]:
    """A database server that tests may kill."""
    with mongod.running(tmp_path_factory.mktemp("mongod")) as running:
        yield running


@pytest.fixture(scope="module")
def people(keystone: Keystone) -> Callable[[Services], People]:
    """A function that names a deployment to Keystone's catalog and returns its users."""

    def use(services: Services) -> People:
        keystone.set_image_endpoint(services.api.url)
        return People(keystone, services.api.url)

    return use


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """A folder that root's database can reach too; pytest's own are closed to other users."""
    folder = Path(tempfile.mkdtemp(prefix="glance-run-local-"))
    folder.chmod(0o755)
    yield folder / "data"
    shutil.rmtree(folder)


@pytest.fixture
def run_local(data_dir: Path, tmp_path: Path) -> Iterator[RunLocal]:
    """run-local with a data folder of its own; not started."""
    program = RunLocal(data_dir, tmp_path / "run-local.log")
    yield program
    program.stop()
