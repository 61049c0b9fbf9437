"""The HTTP connections to the registry, against a server that says what the test tells it."""

from __future__ import annotations

import gc
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress

import httptools
import pytest

from glance_common.registry_client.connections import Answer, KeptConnections, NoAnswer, NotSent

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


class Server:
    """Answers each request with the next of ``answers``; an empty one closes the connection."""

    def __init__(self) -> None:
        self.answers: list[bytes] = []
        self.requests: list[bytes] = []
        self.connections = 0
        self.has_closed = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                self.connections += 1
                threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        with sock, suppress(ConnectionError):
            while request := sock.recv(65536):
                self.requests.append(request)
                answer = self.answers.pop(0)
                sock.sendall(answer)
                if not answer.endswith(OK):
                    break
        self.has_closed.set()

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


@pytest.fixture
def connections(server: Server) -> Iterator[KeptConnections]:
    made = KeptConnections(f"http://127.0.0.1:{server.port}", None, connect_timeout=60, read_timeout=60, size=4)
    yield made
    made.close()


def test_a_connection_is_used_again_and_a_closed_one_replaced(server: Server, connections: KeptConnections) -> None:
    server.answers = [OK, OK, b"HTTP/1.1 404 Not Found\r\nContent-Length: 1\r\n\r\nx", OK]
    assert connections.exchange("GET", "/a?q=%2E", {"X-Context": "signed"}) == Answer(200, b"{}")
    assert connections.exchange("POST", "/b", {}, b"[]") == Answer(200, b"{}")
    assert connections.exchange("DELETE", "/c", {}) == Answer(404, b"x")
    assert server.connections == 1
    assert server.has_closed.wait(60)
    assert connections.exchange("GET", "/d", {}) == Answer(200, b"{}")
    assert server.connections == 2
    host = b"Host: 127.0.0.1:%d\r\n" % server.port
    assert server.requests[:3] == [
        b"GET /a?q=%2E HTTP/1.1\r\n" + host + b"X-Context: signed\r\n\r\n",
        b"POST /b HTTP/1.1\r\n" + host + b"Content-Type: application/json\r\nContent-Length: 2\r\n\r\n[]",
        b"DELETE /c HTTP/1.1\r\n" + host + b"Content-Length: 0\r\n\r\n",
    ]


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK, Answer(200, b"{}")),
        (b"HTTP/1.1 204 No Content\r\nServer: x\r\n\r\n", Answer(204, b"")),
        (b"HTTP/1.0 502 Bad Gateway\r\n\r\na proxy speaks", Answer(502, b"a proxy speaks")),
        (
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"  # noqa: ISC004 - one answer
            b"3;x=y\r\nabc\r\nA\r\n0123456789\r\n0\r\nT: 1\r\n\r\n",
            Answer(200, b"abc0123456789"),
        ),
    ],
)
def test_every_framing_of_an_answer_is_read(
    server: Server, connections: KeptConnections, sent: bytes, expected: Answer
) -> None:
    server.answers = [sent]
    assert connections.exchange("GET", "/", {}) == expected


@pytest.mark.parametrize(
    "sent",
    [
        b"", b"HTTP/1.1 200", b"HTTP/1.1 200 OK\r\nContent-Le", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", b"HTTP/1.1 yes\r\n\r\n", b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc", b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 500,
    ],
)
def test_half_an_answer_is_none(server: Server, connections: KeptConnections, sent: bytes) -> None:
    server.answers = [sent, OK]
    with pytest.raises(NoAnswer):
        connections.exchange("POST", "/", {}, b"{}")
    assert connections.exchange("GET", "/", {}) == Answer(200, b"{}")


def test_an_answer_in_many_pieces_comes_whole(server: Server, connections: KeptConnections) -> None:
    body = bytes(range(256)) * 8192 + OK
    server.answers = [b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body, OK]
    assert connections.exchange("GET", "/", {}) == Answer(200, body)
    assert connections.exchange("GET", "/", {}) == Answer(200, b"{}")
    assert server.connections == 1


def test_no_answer_waits_for_the_collector(server: Server, connections: KeptConnections) -> None:
    """Bodies in reference cycles would pile up: the services collect rarely."""
    def parsers() -> int:
        # Not isinstance: it asks also what weak references stand for, which may be gone.
        return sum(type(thing) is httptools.HttpResponseParser for thing in gc.get_objects())

    server.answers = [OK, OK, b"HTTP/1.1 yes\r\n\r\n"]
    gc.collect()
    gc.disable()
    try:
        before = parsers()
        for _ in range(2):
            connections.exchange("GET", "/", {})
        with pytest.raises(NoAnswer):
            connections.exchange("GET", "/", {})
        assert parsers() == before
    finally:
        gc.enable()


def test_a_connection_with_more_than_the_answer_is_not_used_again(server: Server, connections: KeptConnections) -> None:
    server.answers = [OK + b"HTTP/1.1 500 Oops\r\nContent-Length: 1\r\n\r\nx" + OK, OK]
    assert connections.exchange("GET", "/", {}) == Answer(200, b"{}")
    assert connections.exchange("GET", "/", {}) == Answer(200, b"{}")
    assert server.connections == 2


def test_an_answer_has_one_deadline_however_slowly_it_comes(server: Server) -> None:
    """Each byte comes well within the time limit, the whole of them never."""
    def drip(sock: socket.socket) -> None:
        with sock, suppress(OSError):
            sock.recv(65536)
            sock.sendall(b"HTTP/1.1 200 OK\r\nX: ")
            while not is_over.wait(0.05):
                sock.sendall(b"x")

    is_over = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))
    dripping = threading.Thread(target=lambda: drip(listener.accept()[0]))
    dripping.start()
    slow = KeptConnections(
        f"http://127.0.0.1:{listener.getsockname()[1]}", None, connect_timeout=60, read_timeout=0.5, size=1
    )
    with pytest.raises(NoAnswer, match="timed out"):
        slow.exchange("GET", "/", {})
    is_over.set()
    dripping.join()
    listener.close()


def test_a_header_has_a_bound(server: Server, connections: KeptConnections) -> None:
    server.answers = [b"HTTP/1.1 200 OK\r\nX: " + b"x" * 1_000_000 + b"\r\nContent-Length: 2\r\n\r\n{}" + OK]
    with pytest.raises(NoAnswer, match="too large"):
        connections.exchange("GET", "/", {})


def test_a_server_that_is_silent_or_away_is_told() -> None:
    away = KeptConnections("http://127.0.0.1:1", None, connect_timeout=60, read_timeout=60, size=1)
    with pytest.raises(NotSent):
        away.exchange("GET", "/", {})
    silent = socket.create_server(("127.0.0.1", 0))
    impatient = KeptConnections(
        f"http://127.0.0.1:{silent.getsockname()[1]}", None, connect_timeout=60, read_timeout=0.05, size=1
    )
    with pytest.raises(NoAnswer, match="timed out"):
        impatient.exchange("GET", "/", {})
    silent.close()


def test_no_header_can_hold_another(connections: KeptConnections, server: Server) -> None:
    with pytest.raises(ValueError, match="line end"):
        connections.exchange("GET", "/", {"X-Id": "req\r\nX-Other: 1"})
    assert not server.requests
