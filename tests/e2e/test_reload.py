"""Reloads, stops and outages in the middle of transfers: what runs goes on, what cannot is told, and all returns."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from functools import partial

import pytest
from deploy.local import configuration
from deploy.local.embedded_postgres import PostgresServer
from tests.e2e.calls import MIB, Caller, Wire
from tests.e2e.leftovers import left_behind
from tests.servers.postgres import running_postgres
from tests.support.daemons import Services, WebDaemon
from tests.support.raw_data import random_bytes
from tests.support.waiting import promptly, wait_for

from glance_registry.db.schema import upgrade

pytestmark = pytest.mark.timeout(900)

QUICK = 5
"""Seconds within which an outage behind the API is told; a write waits a little for an answer to come after all."""

STOP = 200
"""Seconds that a process which ends gives its transfers."""

LEASE = 15
"""Seconds after which an upload to a hasty API counts as dead when its lease is not renewed."""


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A database server that the tests stop and start."""
    with running_postgres() as server:
        server.create_database("reload")
        upgrade(server.url("reload"))
        yield server


@pytest.fixture(scope="module")
def services(server: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    """The three daemons; the scrubber looks every second for uploads that are dead."""
    services = Services(
        tmp_path_factory.mktemp("services"),
        server.url("reload"),
        api={"DEFAULT": {"stop_timeout": STOP}},
        scrubber={"DEFAULT": {"wakeup_time": 1}},
    )
    try:
        services.start()
        yield services
    finally:
        services.stop()


@pytest.fixture(scope="module")
def caller(services: Services) -> Caller:
    """A caller without a token."""
    return Caller(services.api.url, {"Accept": "application/json"})


@pytest.fixture
def image(caller: Caller) -> str:
    """A queued image."""
    return str(caller.create()["id"])


DATA = random_bytes(16 * MIB)
HALF = len(DATA) // 2


@contextmanager
def half_uploaded(caller: Caller, image: str) -> Iterator[Wire]:
    """An upload of DATA that has got half way."""
    with caller.begin_upload(image, length=len(DATA)) as wire:
        wire.send(DATA[:HALF])
        wait_for(lambda: caller.show(image)["status"] == "saving", "the upload's begin")
        yield wire


def has_new_workers(daemon: WebDaemon, old: list[int]) -> bool:
    """Tell whether as many workers as before have come, the old ones still being there or not."""
    return len(set(daemon.workers()) - set(old)) == len(old)


def replaced(daemon: WebDaemon, old: list[int]) -> Callable[[], bool]:
    """Return a condition: as many workers as before, none of them an old one."""
    return lambda: not set(daemon.workers()) & set(old) and len(daemon.workers()) == len(old)


def test_hup_loses_neither_upload_nor_download(services: Services, caller: Caller, image: str):
    stored = caller.uploaded(DATA)
    daemons = (services.api, services.registry)
    old = [daemon.workers() for daemon in daemons]
    path = f"/v2/images/{stored}/file"
    with half_uploaded(caller, image) as upload, caller.begin("GET", path, receive_buffer=65536) as download:
        head, _, begin = download.read(64 * 1024).partition(b"\r\n\r\n")
        assert b"200 OK" in head
        before = services.api.options
        services.api.configure(configuration.merged(before, {"DEFAULT": {"limit_param_default": 1}}))
        for daemon in daemons:
            daemon.hang_up()
        for daemon, pids in zip(daemons, old, strict=True):
            wait_for(partial(has_new_workers, daemon, pids), "the new workers")
        wait_for(lambda: "next" in Caller(services.api.url).call("GET", "/v2/images", 200).json(), "the new setting")

        upload.send(DATA[HALF:])
        assert upload.answer() == (204, b"")
        assert begin + download.rest() == DATA
    for daemon, pids in zip(daemons, old, strict=True):
        wait_for(replaced(daemon, pids), "the end of the old workers")
    assert caller.download(image) == DATA
    services.api.configure(before)


def test_hup_with_a_bad_value_changes_nothing(services: Services, caller: Caller):
    before, workers = services.api.options, services.api.workers()
    services.api.configure(configuration.merged(before, {"DEFAULT": {"image_size_cap": "plenty"}}))
    try:
        services.api.hang_up()
        wait_for(lambda: "Reload refused" in services.api.said(), "the refusal")
        assert "image_size_cap" in services.api.said()
        assert set(services.api.workers()) == set(workers)
        caller.call("GET", "/v2/images", 200)
    finally:
        services.api.configure(before)


def test_term_lets_transfers_finish(services: Services, caller: Caller):
    api = services.new_api("stopping")
    services.start(api)
    image = caller.create()["id"]
    with half_uploaded(Caller(api.url), image) as upload:
        os.kill(api.pid, signal.SIGTERM)
        wait_for(lambda: api.status() is None, "the end of listening")
        assert api.running
        upload.send(DATA[HALF:])
        assert upload.answer() == (204, b"")
    assert api.wait_dead(STOP // 2) == 0, "at once, not when its time is over"
    assert caller.download(image) == DATA


def test_term_aborts_what_does_not_finish(services: Services, caller: Caller):
    api = services.new_api("aborting", {"DEFAULT": {"stop_timeout": 1}})
    services.start(api)
    image = caller.create()["id"]
    with half_uploaded(Caller(api.url), image) as upload:
        os.kill(api.pid, signal.SIGTERM)
        assert api.wait_dead(60) == 0
        assert upload.answer()[0] != 204
    assert not left_behind(services, image)
    caller.upload(image, DATA[:MIB])


def told_quickly(caller: Caller, stored: str) -> None:
    """Check that reads and writes are answered 503 soon, with a text that says what is down."""
    for method, path, body in (
        ("GET", "/v2/images", None),
        ("GET", f"/v2/images/{stored}/file", None),
        ("POST", "/v2/images", {"name": "never"}),
        ("DELETE", f"/v2/images/{stored}", None),
    ):
        ask = partial(caller.call, method, path, 503, json=body)
        text = promptly(QUICK if method == "GET" else 2 * QUICK, ask).json()["message"]
        assert "registry" in text or "database" in text, text


Outage = Callable[[], AbstractContextManager[None]]


@contextmanager
def registry_down(services: Services) -> Iterator[None]:
    """Within the block the registry is stopped."""
    services.registry.stop()
    try:
        yield
    finally:
        services.start(services.registry)


@contextmanager
def database_down(services: Services, server: PostgresServer) -> Iterator[None]:
    """Within the block the database server is stopped."""
    server.stop()
    try:
        yield
    finally:
        server.start()


@pytest.fixture(params=["registry", "database"])
def outage(request: pytest.FixtureRequest, services: Services, server: PostgresServer) -> Outage:
    """A function that takes the registry, or the database, away within a block."""
    if request.param == "registry":
        return lambda: registry_down(services)
    return lambda: database_down(services, server)


def test_an_outage_is_told_quickly_and_ends_without_restarts(outage, services: Services, caller: Caller):
    stored, deleted = caller.uploaded(DATA[:MIB]), caller.uploaded(b"\x01away")
    running = services.api.pid, set(services.api.workers())
    with outage():
        told_quickly(caller, stored)
        assert services.api.status() == 300
    wait_for(lambda: caller.call("GET", "/v2/images").status_code == 200, "the service")
    assert caller.download(stored) == DATA[:MIB]
    assert "never" not in caller.names(limit="1000")
    caller.delete(deleted)
    wait_for(lambda: deleted not in services.files(), "the file's removal")
    assert (services.api.pid, set(services.api.workers())) == running
    assert "Traceback" not in services.api.said()


def test_an_upload_survives_an_outage_shorter_than_its_lease(outage, services: Services, caller: Caller, image: str):
    api = services.new_api(f"patient-{image}", {"upload": {"lease": 60}})
    services.start(api)
    with half_uploaded(Caller(api.url), image) as upload:
        with outage():
            upload.send(DATA[HALF:-1])
        upload.send(DATA[-1:])
        assert upload.answer() == (204, b"")
    assert caller.download(image) == DATA
    api.stop()


def test_an_upload_that_ends_in_an_outage_is_503_and_leaves_nothing(
    outage, services: Services, caller: Caller, image: str
):
    api = services.new_api(f"hasty-{image}", {"upload": {"lease": LEASE}})
    services.start(api)
    with half_uploaded(Caller(api.url), image) as upload, outage():
        began = time.monotonic()
        upload.send(DATA[HALF:])
        status, body = upload.answer()
        assert status == 503
        assert time.monotonic() - began < 100
        assert b"registry" in body or b"database" in body
    wait_for(lambda: not left_behind(services, image), "the dead upload's end", 180)
    caller.upload(image, DATA)
    assert caller.download(image) == DATA
    api.stop()


def test_the_health_address_tells_of_a_database_that_is_away(services: Services, server: PostgresServer):
    assert services.registry.status() == 200
    with database_down(services, server):
        assert services.registry.status() == 503
    wait_for(lambda: services.registry.status() == 200, "the registry's health")


def test_many_callers_during_an_outage_get_clear_answers(services: Services, caller: Caller, server: PostgresServer):
    def ask(number: int) -> set[int]:
        mine, seen, until = Caller(services.api.url), set(), time.monotonic() + 6
        while time.monotonic() < until:
            seen.add(mine.call("GET", "/v2/images").status_code)
        return seen

    with ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(ask, number) for number in range(8)]
        time.sleep(1)
        server.restart()
        statuses = set().union(*(answer.result() for answer in answers))
    assert statuses <= {200, 503}
    wait_for(lambda: caller.call("GET", "/v2/images").status_code == 200, "the service")
