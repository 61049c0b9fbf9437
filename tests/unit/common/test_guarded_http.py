"""Guarded connections to a server on loopback."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

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


def test_what_comes_is_acknowledged_at_once():
    """A server that holds its body back until the header is acknowledged would else wait for 40 ms each time."""
    guard = Guard(ExchangeLimits())
    with (
        answering_in_two_segments() as port,
        guarded_http._connect_to("127.0.0.1", port, lambda: guard, None) as sock,
    ):
        for _ in range(EXCHANGES):
            sock.sendall(b"request")
            received = b""
            while len(received) < len(b"headerbody"):
                received += sock.recv(100)
        # Of sockets that only answer each other the kernel delays this: it would be 0.
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK) == 1
