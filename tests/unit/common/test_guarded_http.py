"""Guarded connections to a server on loopback."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

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
