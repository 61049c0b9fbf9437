"""Guarded connections to a server on loopback."""

import fcntl
import os
import shutil
import socket
import ssl
import struct
import termios
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from tests.support.certificates import server_certificate
from tests.support.waiting import wait_for

from glance_common.fetch import guarded_http
from glance_common.fetch.guards import ExchangeLimits, Guard

EXCHANGES = 10


@contextmanager
def answering_in_two_segments() -> Iterator[int]:
    """Give the port of a server that sends header and body of each answer apart, and waits for no more delay."""

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            for _ in range(EXCHANGES):
                connection.recv(100)
                connection.sendall(b"header")
                connection.sendall(b"body")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        thread.join()


def test_what_comes_is_acknowledged_at_once(monkeypatch: pytest.MonkeyPatch):
    """A server that holds its body back until the header is acknowledged would else wait for 40 ms each time.

    The kernel forgets the option when it likes: so it must be set before each wait for data.
    """
    guard = Guard(ExchangeLimits())
    done: list[str] = []

    def set_option(sock: socket.socket, *option: int) -> None:
        if option == (socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1):
            done.append("acknowledge")
        socket.socket.setsockopt(sock, *option)

    def attempt(self: Guard, sock: socket.socket, act: Callable[..., Any], *arguments: Any) -> Any:
        done.append(act.__name__)
        return plain(self, sock, act, *arguments)

    plain = Guard.attempt
    monkeypatch.setattr(Guard, "attempt", attempt)
    with (
        answering_in_two_segments() as port,
        guarded_http._connect_to("127.0.0.1", port, lambda: guard, None) as sock,
    ):
        monkeypatch.setattr(type(sock), "setsockopt", set_option)
        for _ in range(EXCHANGES):
            sock.sendall(b"request")
            received = b""
            while len(received) < len(b"headerbody"):
                received += sock.recv(100)
    receives = [number for number, name in enumerate(done) if name.startswith("recv")]
    assert len(receives) >= EXCHANGES
    assert {done[number - 1] for number in receives} == {"acknowledge"}


def waiting_bytes(sock: socket.socket) -> int:
    """Return how many bytes the kernel holds for a socket."""
    (count,) = struct.unpack("i", fcntl.ioctl(sock.fileno(), termios.FIONREAD, bytes(4)))
    return int(count)


def test_one_read_of_tls_takes_all_records_that_are_there(tmp_path: Path):
    """A read of each record of 16 KiB alone took a third of the processor time of a download."""
    certificate, context = server_certificate(tmp_path, "localhost")
    data = os.urandom(40_000)
    sent = threading.Event()

    def serve() -> None:
        connection, _ = listener.accept()
        with context.wrap_socket(connection, server_side=True) as secured:
            secured.sendall(data)
            sent.set()
            with suppress(OSError):  # the client does not say that it ends
                secured.recv(1)

    guard = Guard(ExchangeLimits())
    client = guarded_http.tls_context(str(certificate))
    client.load_verify_locations(certificate)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        port = listener.getsockname()[1]
        with client.wrap_socket(
            guarded_http._connect_to("127.0.0.1", port, lambda: guard, None), server_hostname="localhost"
        ) as sock:
            assert sent.wait(60)
            wait_for(lambda: waiting_bytes(sock) >= len(data), what="all records in the kernel")
            buffer = bytearray(2 * len(data))
            received = sock.recv_into(buffer)
            assert bytes(buffer[:received]) == data
            assert guard._received == len(data)
        thread.join()


def test_certificates_of_one_file_are_loaded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The libraries load them for each connection: the usual file of authorities takes more than 10 ms."""
    certificate, _ = server_certificate(tmp_path, "localhost")
    loads: list[object] = []
    plain = ssl.SSLContext.load_verify_locations

    def counted(self: ssl.SSLContext, *arguments: Any) -> None:
        loads.append(arguments)
        plain(self, *arguments)

    monkeypatch.setattr(ssl.SSLContext, "load_verify_locations", counted)
    client = guarded_http.tls_context(True)
    for _ in range(3):
        client.load_verify_locations(str(certificate))
    assert len(loads) == 1
    (tmp_path / "renewed").mkdir()
    renewed, _ = server_certificate(tmp_path / "renewed", "localhost")
    shutil.copy(renewed, certificate)
    client.load_verify_locations(str(certificate))
    assert len(loads) == 2
    assert client.cert_store_stats()["x509"] == 2
    with pytest.raises(OSError, match="absent"):
        client.load_verify_locations(str(tmp_path / "absent"))
