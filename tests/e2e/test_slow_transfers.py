"""Hundreds of clients that move a byte a second beside usual ones: in every kind of transfer, and in headers.

No limit of speed ends them within the test, so that the others owe their answers to the shares of permits alone.
"""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest
from deploy.local import processes
from tests.e2e.calls import MIB, Caller, Wire
from tests.servers import mongod
from tests.servers.mongod import Mongod
from tests.support.daemons import Services
from tests.support.raw_data import random_bytes
from tests.support.waiting import wait_for

pytestmark = pytest.mark.timeout(900)

STORES = ("disk", "remote")

CROWD = 200
"""Slow clients of each kind."""

SHARE = 7
"""Transfers that each project may have; three projects are slow, and the worker has 28 permits."""

SMALL = 4096
"""Receive buffer of a slow reader, so that the server's part is in its own memory."""

FIXED, EACH = 150_000_000, 8 * MIB
"""Memory of a worker, and of each transfer, in bytes."""

DATA = random_bytes(24 * MIB)
"""Many times of what socket buffers take in."""


def project(services: Services, name: str) -> Caller:
    """Return a member of a project."""
    identity = {
        "X-Identity-Status": "Confirmed", "X-User-Id": name, "X-Project-Id": name, "X-Roles": "member,reader",
    }
    return Caller(services.api.url, identity)


@pytest.fixture(scope="module")
def services(deploy: Callable[..., Services], mongodb: Mongod, tmp_path_factory: pytest.TempPathFactory) -> Services:
    """One worker, a file store and a store behind a network."""
    stores: dict[str, dict[str, object]] = {
        "DEFAULT": {"enabled_backends": "disk:file, remote:gridfs"},
        "glance_store": {"default_backend": "disk"},
        "disk": {"filesystem_store_datadir": tmp_path_factory.mktemp("disk")},
        "remote": {"mongodb_store_uri": mongodb.uri(), "mongodb_store_db": mongod.new_database()},
    }
    patient = {
        "workers": 1, "threads": 32, "max_transfers": 28, "max_transfers_per_project": SHARE,
        "client_socket_timeout": 3600, "min_transfer_rate": 0, "header_timeout": 3600,
    }
    return deploy(shared=stores, api={"DEFAULT": patient, "paste_deploy": {"flavor": "trusted-auth"}})


class Crowd:
    """Slow clients. A thread moves a byte of each of them once a second, until the end of the test."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._slow: list[tuple[Wire, bool]] = []
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._drip)
        self._thread.start()

    def join(self, wires: Sequence[Wire], *, reads: bool) -> None:
        """Let these connections go on slowly; they send unless they read."""
        for wire in wires:
            self._stack.enter_context(wire)
        self._slow += [(wire, reads) for wire in wires]

    def close(self) -> None:
        """Hang up, all of them."""
        self._is_over.set()
        self._thread.join()
        self._stack.close()

    def _drip(self) -> None:
        while not self._is_over.wait(1):
            for wire, reads in list(self._slow):
                how = socket.MSG_DONTWAIT
                try:
                    _ = wire.sock.recv(1, how) if reads else wire.sock.send(b"x", how)
                except OSError:
                    # Nothing to take now, or a client that was refused.
                    continue


@pytest.fixture
def crowd() -> Iterator[Crowd]:
    """Slow clients that hang up after the test."""
    made = Crowd()
    yield made
    made.close()


def answered(wires: Sequence[Wire], status: bytes) -> list[Wire]:
    """Return those that have the beginning of an answer with this status, without taking it."""
    poll = select.poll()
    by_descriptor = {wire.sock.fileno(): wire for wire in wires}
    for descriptor in by_descriptor:
        poll.register(descriptor, select.POLLIN)
    ready = [by_descriptor[descriptor] for descriptor, _ in poll.poll(0)]
    return [wire for wire in ready if wire.sock.recv(12, socket.MSG_PEEK)[9:] == status]


def all_beyond_the_share(wires: Sequence[Wire]) -> list[Wire]:
    """Return those that are refused, as soon as these are all but those of the share."""
    wait_for(lambda: len(answered(wires, b"503")) == CROWD - SHARE, "the refusal of all beyond the share")
    return answered(wires, b"503")


def may_read(caller: Caller, image: str) -> bool:
    """Say whether a caller finds a permit for a download."""
    return caller.call("GET", f"/v2/images/{image}/file", 200, 503).status_code == 200


def peak(pid: int) -> int:
    """Return the highest resident bytes that a process has had."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


def use(caller: Caller, images: Sequence[str]) -> None:
    """Do what usual clients do. Every call fails the test unless it is answered as always."""
    own = caller.uploaded(DATA[:MIB], name="usual")
    assert caller.show(own)["status"] == "active"
    assert "usual" in caller.names()
    for image in images:
        assert caller.download(image) == DATA
    caller.delete(own)
    assert caller.call("GET", "/healthcheck", 200).text == "OK\n"


def begin_uploads(caller: Caller) -> list[Wire]:
    """Begin uploads to both stores in turn, announced and in chunks."""
    wires = []
    for number in range(CROWD):
        image, store = str(caller.create()["id"]), STORES[number % 2]
        length = len(DATA) if number % 4 < 2 else None
        wire = caller.begin_upload(image, length=length, headers={"X-Image-Meta-Store": store})
        # A chunk as large as all of them, of which a byte comes now and then.
        wire.send(b"\x01" if length else b"%x\r\n\x01" % len(DATA))
        wires.append(wire)
    return wires


def begin_downloads(caller: Caller, image: str) -> list[Wire]:
    """Begin downloads of an image."""
    return [caller.begin("GET", f"/v2/images/{image}/file", receive_buffer=SMALL) for _ in range(CROWD)]


def begin_headers(services: Services) -> list[Wire]:
    """Begin requests whose header does not end."""
    wires = []
    for _ in range(CROWD):
        sock = socket.create_connection((processes.LOOPBACK, services.api.port), timeout=60)
        sock.sendall(b"GET /v2/images HTTP/1.1\r\nHost: a\r\nX-Slow: ")
        wires.append(Wire(sock))
    return wires


def test_slow_transfers_by_the_hundred_leave_room_for_others(services: Services, crowd: Crowd):
    """Each project keeps to its share, the rest is refused at once, and the worker keeps to its memory."""
    usual = project(services, "usual")
    images = [str(usual.create(visibility="community")["id"]) for _ in STORES]
    for image, store in zip(images, STORES, strict=True):
        usual.upload(image, DATA, headers={"X-Image-Meta-Store": store})
    kinds: dict[str, Callable[[Caller], list[Wire]]] = {
        "reader of files": lambda caller: begin_downloads(caller, images[0]),
        "reader of the remote store": lambda caller: begin_downloads(caller, images[1]),
        "writer": begin_uploads,
    }
    headers = begin_headers(services)
    crowd.join(headers, reads=False)
    for name, begin in kinds.items():
        wires = begin(project(services, name))
        refused = all_beyond_the_share(wires)
        crowd.join([wire for wire in wires if wire not in refused], reads=name != "writer")
        for wire in refused:
            with wire:
                assert b"Retry-After: " in wire.rest()
        use(usual, images)
    headers[0].send(b"\r\n\r\n")
    assert headers[0].read(12) == b"HTTP/1.1 401"
    (worker,) = services.api.workers()
    assert peak(worker) <= FIXED + (len(kinds) * SHARE + 1) * EACH
    crowd.close()
    for name in kinds:
        wait_for(partial(may_read, project(services, name), images[0]), "a permit")
