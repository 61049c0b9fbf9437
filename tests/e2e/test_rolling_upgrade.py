"""An upgrade without an outage, in the steps of docs/operations.md: two releases work side by side on one database
(TOO-03).

The release before this one is unpacked from the history of the repository. Clients work all along, and none of them
gets an error: the operator takes a daemon out of the load balancer before it stops.
"""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import requests
from tests.servers.haproxy import Haproxy
from tests.support import previous_release
from tests.support.daemons import PROGRAMS, Services, WebDaemon, python_path
from tests.support.image_client import ImageClient
from tests.support.ledger import Ledger
from tests.support.raw_data import random_bytes
from tests.support.waiting import wait_for

pytestmark = pytest.mark.timeout(600)

ENOUGH = 4
"""Lives of images that begin at an API in each stage of the upgrade."""


@pytest.fixture(scope="module")
def previous(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The code of the release before, which a copy of the tree without its history lacks."""
    try:
        return previous_release.unpack(tmp_path_factory.mktemp("previous"))
    except previous_release.NoHistoryError as error:
        pytest.skip(str(error))


@dataclass
class Load:
    """Clients of the APIs that a load balancer would choose from; each life of an image goes through all of them."""

    ledger: Ledger = field(default_factory=Ledger)
    lives: Counter[str] = field(default_factory=Counter)
    """API → images that began their life there and came to its end."""
    problems: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._apis: list[WebDaemon] = []
        self._busy: Counter[str] = Counter()
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(4)]

    def start(self, api: WebDaemon) -> None:
        """Begin with one API."""
        self._apis = [api]
        for thread in self._threads:
            thread.start()

    def add(self, api: WebDaemon) -> None:
        """Let clients come to one more API."""
        with self._lock:
            self._apis = [*self._apis, api]

    def drain(self, api: WebDaemon) -> None:
        """Take an API out and wait until no client uses it."""
        with self._lock:
            self._apis = [each for each in self._apis if each is not api]
        wait_for(lambda: not self._busy[api.url], seconds=120)

    def go_on(self) -> None:
        """Wait until enough lives were lived by way of each API from now on."""
        before = self.lives.copy()
        wanted = [api.url for api in self._apis]
        wait_for(lambda: bool(self.problems) or all(self.lives[url] >= before[url] + ENOUGH for url in wanted),
                 seconds=240)
        assert self.problems == []

    def end(self) -> None:
        """End all clients."""
        self._over.set()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()

    def _run(self, seed: int) -> None:
        chance = random.Random(seed)
        while not self._over.is_set() and not self.problems:
            try:
                self._live(chance)
            except Exception as error:
                self.problems.append(f"{type(error).__name__}: {error}")

    def _live(self, chance: random.Random) -> None:
        """Live the life of an image: each request at the next API, the first one at any."""
        with self._lock:
            apis = list(self._apis)
            self._busy.update(api.url for api in apis)
        try:
            chance.shuffle(apis)
            turn = 0

            def next_client() -> ImageClient:
                nonlocal turn
                turn += 1
                return ImageClient(apis[(turn - 1) % len(apis)].url, self.ledger)

            data = random_bytes(chance.choice((1, 70_000, 300_000)), chance)
            _life(next_client, data, imported=chance.random() < 0.5)
            self.lives[apis[0].url] += 1
        finally:
            with self._lock:
                self._busy.subtract(api.url for api in apis)


def _life(client: Callable[[], ImageClient], data: bytes, *, imported: bool) -> None:
    """Create, fill, read, change, share, list and delete an image; every answer has to be the right one."""
    image, answer = client().create("before")
    statuses = [(answer.status, 201)]
    if imported:
        statuses += [(client().stage(image, data).status, 204), (client().import_staged(image).status, 202)]
        wait_for(lambda: client().show(image).document["status"] == "active", seconds=120)
    else:
        statuses.append((client().upload(image, data).status, 204))
    answer = client().download(image)
    statuses += [(answer.status, 200), (client().rename(image, "after").status, 200)]
    statuses += [(client().share(image, "friend").status, 200)]
    shown = client().show(image).document
    members = client().members(image)
    is_listed = image in client().listed()
    statuses += [(client().delete(image).status, 204), (client().show(image).status, 404)]
    assert [found for found, wanted in statuses] == [wanted for found, wanted in statuses]
    assert answer.body == data
    assert (shown["name"], shown["status"], shown["size"]) == ("after", "active", len(data))
    assert members == {"friend": "pending"}
    assert is_listed


@pytest.fixture
def make_balancer(tmp_path: Path) -> Iterator[Callable[..., Haproxy]]:
    """Makes the load balancer of deploy/haproxy in front of registries."""
    folder = tmp_path / "haproxy"
    folder.mkdir()
    with ExitStack() as running:

        def make(*registries: WebDaemon) -> Haproxy:
            made = Haproxy(folder, registry_ports=[registry.port for registry in registries])
            running.callback(made.stop)
            made.start()
            return made

        yield make


def is_served(registry: WebDaemon) -> bool:
    """Return whether the registry has served a signed call."""
    return re.search(r" (GET|POST|PATCH|PUT|DELETE) /v1/\S+ 2\d\d ", registry.said()) is not None


def health(registry: WebDaemon) -> str:
    return requests.get(f"{registry.url}/healthcheck", timeout=30).text


@pytest.fixture
def load() -> Iterator[Load]:
    made = Load()
    yield made
    made.end()


def manage(services: Services, *arguments: str, code: Path | None = None) -> str:
    """Run glance-manage of a release, with the configuration of the registry; return what it says."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(services.folder), **python_path(code)}
    configured = ["--config-dir", str(services.registry.folder / "etc")]
    command = [str(PROGRAMS / "glance-manage"), *configured, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_previous_release_is_another_one(previous: Path) -> None:
    program = "import glance_registry.cli as cli; print(cli.__file__)"
    done = subprocess.run([sys.executable, "-c", program], env={"PYTHONPATH": str(previous)}, capture_output=True,
                          text=True, check=True, cwd=previous)
    assert Path(done.stdout.strip()).is_relative_to(previous)


def test_too03_two_releases_side_by_side_under_load(
    make_services: Callable[..., Services], empty_database: str, previous: Path, load: Load
) -> None:
    services = make_services(database_url=empty_database)
    old_registry, old_api, old_scrubber = services.registry, services.api, services.scrubber
    for daemon in (old_registry, old_api, old_scrubber):
        daemon.code = previous
    manage(services, "db", "sync", code=previous)
    before = manage(services, "db", "version", code=previous)
    services.start(old_registry, old_api, old_scrubber)
    load.start(old_api)
    load.go_on()

    # 1. The schema first: the release before works on.
    assert "expand:" in manage(services, "db", "expand")
    assert manage(services, "db", "version") != before
    load.go_on()

    # 2. Then registries: APIs of the release before use either.
    registry = services.new_registry("registry-new")
    mixed = services.new_api("api-mixed", {"DEFAULT": {"registry_port": registry.port}})
    mixed.code = previous
    services.start(registry, mixed)
    load.add(mixed)
    load.go_on()

    # 3. Then APIs and scrubbers.
    new = {"DEFAULT": {"registry_port": registry.port}}
    api, scrubber = services.new_api("api-new", new), services.new_scrubber("scrubber-new", new)
    services.start(api, scrubber)
    load.add(api)
    load.go_on()

    # 4. Rows, while both releases run.
    assert "Database is up to date." in manage(services, "db", "migrate")
    load.go_on()

    # 5. The release before ends.
    for daemon in (old_api, mixed):
        load.drain(daemon)
        assert daemon.stop() == 0
    assert [old_registry.stop(), old_scrubber.stop()] == [0, 0]
    load.go_on()

    # 6. What only it needed goes.
    assert "Database is up to date." in manage(services, "db", "contract")
    assert "Database is up to date." in manage(services, "db", "check")
    load.go_on()
    load.end()
    assert load.problems == []
    assert load.ledger.defects == []
    wait_for(lambda: [path for path in services.images.iterdir() if path.name[0] != "."] == [], seconds=120)


def test_too03_new_daemons_before_the_schema_under_load(
    make_services: Callable[..., Services], make_balancer: Callable[..., Haproxy], empty_database: str, previous: Path,
    load: Load,
) -> None:
    """A host with all three daemons got the new release first: its registry waits, the other one works for both."""
    services = make_services(database_url=empty_database, registry={"DEFAULT": {"drain_time": 5}})
    old_registry, registry = services.registry, services.new_registry("registry-new")
    manage(services, "db", "sync", code=previous)
    old_registry.code = previous
    services.start(old_registry)
    balancer = make_balancer(old_registry, registry)
    wait_for(lambda: balancer.states()["registry2"].startswith("DOWN"))
    through = {"DEFAULT": {"registry_port": balancer.registry_port}}
    old_api, old_scrubber = services.new_api("api-old", through), services.new_scrubber("scrubber-old", through)
    old_api.code = old_scrubber.code = previous
    services.start(old_api, old_scrubber)
    load.start(old_api)

    # 1. All new daemons on the old schema: clients have two APIs, and both work with the old registry.
    registry.start()
    wait_for(lambda: registry.status() == 503)
    assert health(registry).endswith("run glance-manage db expand")
    api, scrubber = services.new_api("api-new", through), services.new_scrubber("scrubber-new", through)
    services.start(api, scrubber)
    load.add(api)
    load.go_on()

    # 2. The new scrubber purges with the old registry.
    assert old_scrubber.stop() == 0
    left = set(services.files())
    load.go_on()
    wait_for(lambda: not left & set(services.files()), seconds=120)
    # One look at a busy server may come to nothing: "UP 1/2" for a moment.
    expected = {"registry1": "UP", "registry2": "DOWN"}
    wait_for(lambda: expected.items() <= balancer.states().items(), "the old registry alone")
    assert not is_served(registry)

    # 3. The schema: the new registry notices and takes its share; each API works with each registry.
    assert "expand:" in manage(services, "db", "expand")
    wait_for(lambda: balancer.states()["registry2"] == "UP")
    assert health(registry) == "OK"
    load.go_on()
    assert is_served(registry)

    # 4. The old registry ends, then the old API.
    assert old_registry.stop() == 0
    load.drain(old_api)
    assert old_api.stop() == 0
    load.go_on()
    load.end()
    assert load.problems == []
    assert load.ledger.defects == []
    wait_for(lambda: services.files() == [], seconds=120)
