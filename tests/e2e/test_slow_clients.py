"""The installed daemons while more clients than they have threads are slow with a document."""

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from deploy.local import processes
from tests.e2e.calls import MIB, OCTETS, Caller
from tests.support.daemons import Services

SLOW = 70
LIMIT = 10
"""Seconds for a header, and for a document: a busy machine keeps to it."""
BEGINNINGS = {
    "POST an image": b"POST /v2/images HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{",
    "PATCH in chunks": b"PATCH /v2/images/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n[",
    "a search of the registry": b"POST /v1/images/search HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{",
    "a header": b"GET /v2/images HTTP/1.1\r\nX-Auth-Token: a",
}


@pytest.fixture(scope="module")
def services(deploy: Callable[..., Services]) -> Services:
    """Daemons with few threads, which wait for slow clients much longer than the test."""
    few = {"DEFAULT": {"workers": 1, "threads": 6, "header_timeout": 600, "document_timeout": 600}}
    return deploy(api=few, registry=few)


@pytest.fixture(scope="module")
def caller(services: Services) -> Caller:
    """A caller without a token."""
    return Caller(services.api.url, {"Accept": "application/json"})


@pytest.fixture
def clients() -> Iterator[Callable[[int, bytes], None]]:
    """A function that has many clients send the same bytes to a port, and no more until the end of the test."""
    with ExitStack() as stack:

        def send(port: int, data: bytes) -> None:
            for _ in range(SLOW):
                client = stack.enter_context(socket.create_connection((processes.LOOPBACK, port), timeout=60))
                client.sendall(data)

        yield send


@pytest.mark.parametrize("what", BEGINNINGS)
def test_slow_documents_stop_neither_api_nor_registry(
    services: Services, caller: Caller, clients: Callable[[int, bytes], None], what: str
):
    for daemon in (services.api, services.registry):
        clients(daemon.port, BEGINNINGS[what])
    assert caller.call("GET", "/healthcheck", 200).text == "OK\n"
    image = str(caller.create()["id"])
    caller.upload(image, b"\x01data")
    assert caller.download(image) == b"\x01data"


def test_an_upload_may_pause_for_longer_than_a_document(services: Services):
    # Threads for all three uploads at once.
    limits = {"document_timeout": LIMIT, "header_timeout": LIMIT, "threads": 16}
    hasty = services.new_api("hasty", {"DEFAULT": limits})
    services.start(hasty)
    caller = Caller(hasty.url, {"Accept": "application/json"})
    uploads = {}
    with ExitStack() as stack:
        for path in ("/v2/images/{}/file", "/v2/images/{}/stage", "/v1/images/{}"):
            image = str(caller.create()["id"])
            client = stack.enter_context(socket.create_connection((processes.LOOPBACK, hasty.port), timeout=60))
            lines = [f"PUT {path.format(image)} HTTP/1.1", "Host: a", f"Content-Type: {OCTETS['Content-Type']}"]
            head = "\r\n".join([*lines, f"Content-Length: {MIB}", "", ""])
            client.sendall(head.encode() + b"\x01" * (MIB // 2))
            uploads[path] = client
        # All three pause for longer than a document may, and none of them is cut.
        time.sleep(LIMIT + 2)
        for path, client in uploads.items():
            client.sendall(b"\x01" * (MIB // 2))
            assert client.recv(4096).startswith((b"HTTP/1.1 204", b"HTTP/1.1 200")), path
