"""The API under a WSGI server that is not ours: plain gunicorn, as an operator would run it."""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from deploy.local import processes
from tests.e2e.calls import MIB, Caller
from tests.e2e.leftovers import left_behind
from tests.support.daemons import PROGRAMS, Services
from tests.support.raw_data import random_bytes
from tests.support.waiting import wait_for

pytestmark = pytest.mark.timeout(900)

ONCE = {"Connection": "close"}
"""This server closes what is idle for two seconds, perhaps while the next request is on its way."""


@pytest.fixture(scope="module")
def services(deploy: Callable[..., Services]) -> Services:
    """Registry and scrubber as ever; the API's configuration lets a foreign server serve it."""
    return deploy(api={"DEFAULT": {"allow_insecure_bind": True}})


@pytest.fixture(scope="module")
def url(services: Services, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where gunicorn listens."""
    output: Path = tmp_path_factory.mktemp("gunicorn") / "output.log"
    port = processes.free_port()
    with output.open("ab") as file:
        server = processes.spawn(
            [PROGRAMS / "gunicorn", "--workers", "2", "--threads", "4", "--bind", f"127.0.0.1:{port}",
             "glance_api.external:application()"],
            output=file,
            env={**services.api.environment(), "OS_GLANCE_CONFIG_DIR": str(services.api.folder / "etc")},
            cwd=services.folder,
            death_signal=signal.SIGKILL,
        )
    caller = Caller(f"http://127.0.0.1:{port}", ONCE)
    processes.wait_until(
        lambda: _answers(caller), what="gunicorn", process=server, log=output, seconds=60
    )
    yield caller.url
    assert processes.stop(server, seconds=60) == 0, output.read_text()


def _answers(caller: Caller) -> bool:
    try:
        return caller.call("GET", "/healthcheck").ok
    except OSError:
        return False


@pytest.mark.parametrize("chunked", [False, True], ids=["with a length", "chunked"])
def test_data_come_and_go(url: str, services: Services, chunked: bool):
    caller, data = Caller(url, ONCE), random_bytes(3 * MIB + 17)
    image = caller.create()["id"]
    caller.upload(image, iter([data[:MIB], data[MIB:]]) if chunked else data)
    assert caller.download(image) == data
    path = f"/v2/images/{image}/file"
    assert caller.call("GET", path, 206, headers={"Range": "bytes=100-199"}).content == data[100:200]
    caller.call("DELETE", f"/v2/images/{image}", 204)


def test_a_body_that_breaks_off_leaves_nothing(url: str, services: Services):
    caller = Caller(url, ONCE)
    image = caller.create()["id"]
    with pytest.raises(OSError):
        caller.upload(image, _breaks_off())
    wait_for(lambda: not left_behind(services, image), "nothing is left")


def _breaks_off() -> Iterator[bytes]:
    yield random_bytes(MIB)
    raise OSError("the client is gone")


def test_an_open_service_must_be_wanted(services: Services, tmp_path: Path):
    closed = services.new_api("closed", {"DEFAULT": {"allow_insecure_bind": False}})
    output = tmp_path / "output.log"
    with output.open("ab") as file:
        server = processes.spawn(
            [PROGRAMS / "gunicorn", "--bind", "127.0.0.1:0", "glance_api.external:application()"],
            output=file,
            env={**closed.environment(), "OS_GLANCE_CONFIG_DIR": str(closed.folder / "etc")},
            cwd=services.folder,
            death_signal=signal.SIGKILL,
        )
    assert server.wait(60) != 0
    assert "allow_insecure_bind" in output.read_text()
