"""The waiting room counts what clients make it hold, and forgets it with the last byte."""

import selectors
import socket
from contextlib import ExitStack

import pytest

from glance_common.server import ServerSettings
from glance_common.server import waiting as module
from glance_common.server.arrival import Arrival
from glance_common.server.connection import Connection
from glance_common.server.intake import IntakeLimits
from glance_common.server.master import gunicorn_config
from glance_common.server.waiting import WaitingRoom

KIB = 1024
SETTINGS = ServerSettings("127.0.0.1", 0)
LIMITS = IntakeLimits(head=8 * KIB, request_line=KIB, line=KIB, document=1000 * KIB, is_transfer=lambda _head: False)
HEAD = b"POST / HTTP/1.1\r\nContent-Length: 307200\r\n\r\n"


class Room:
    """A waiting room with its poller; ``ended`` are the connections that left it."""

    def __init__(self, stack):
        self.poller = stack.enter_context(selectors.DefaultSelector())
        self.ended = []
        self.waiting = WaitingRoom(self.poller, lambda conn, arrival: self.ended.append((conn, arrival)))
        self._stack = stack
        self._listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))

    def connect(self):
        """Return a client and the connection of the server with it."""
        client = self._stack.enter_context(socket.create_connection(self._listener.getsockname()))
        accepted = self._listener.accept()
        self._stack.enter_context(accepted[0])
        config = gunicorn_config(SETTINGS, "test")
        return client, Connection(config, accepted, self._listener.getsockname(), SETTINGS, None, LIMITS)

    def turn(self, until):
        """Handle what clients did until the condition holds."""
        while not until():
            events = self.poller.select(30)
            assert events
            for key, _ in events:
                key.data(key.fileobj)


@pytest.fixture
def room():
    with ExitStack() as stack:
        yield Room(stack)


def test_a_large_document_is_counted_until_it_was_served(room):
    client, conn = room.connect()
    room.waiting.wait(conn)
    client.sendall(HEAD + b"x" * (200 * KIB))
    room.turn(lambda: conn.held == len(HEAD) + 200 * KIB)
    assert room.waiting._total == conn.held
    client.sendall(b"x" * (100 * KIB))
    room.turn(lambda: room.ended)
    assert room.ended == [(conn, Arrival.REQUEST)]
    assert room.waiting._total == len(HEAD) + 300 * KIB
    room.waiting.release(conn)
    assert (room.waiting._total, room.waiting._held) == (0, {})


def test_an_answer_is_counted_until_it_was_taken(room):
    client, conn = room.connect()
    size = 32 * KIB * KIB
    conn.send_end(b"x" * size)
    room.waiting.enter(conn)
    # What was sent of it stays in memory with the rest.
    assert room.waiting._total == conn.held == size
    client.settimeout(30)
    taken = 0
    while taken < size:
        taken += len(client.recv(1024 * KIB))
        for key, _ in room.poller.select(0):
            key.data(key.fileobj)
    room.turn(lambda: room.ended)
    assert room.ended == [(conn, Arrival.MORE)]
    assert (room.waiting._total, room.waiting._held) == (0, {})


def test_s59_who_was_dismissed_in_the_same_turn_is_not_asked_again(room, monkeypatch):
    """The poller reports both; the first one's bytes need the room of the second, whose event is stale then."""
    monkeypatch.setattr(module, "MOST_HELD", 350 * KIB)
    (first, one), (second, two) = room.connect(), room.connect()
    for client, conn in ((second, two), (first, one)):
        room.waiting.wait(conn)
        client.sendall(HEAD + b"x" * (150 * KIB))
        room.turn(lambda conn=conn: conn.held == len(HEAD) + 150 * KIB)
    first.sendall(b"x" * (100 * KIB))
    second.sendall(b"x")
    reported = dict.fromkeys([one, two])
    while not all(reported.values()):
        for key, _ in room.poller.select(30):
            reported[one if key.fileobj is one.sock else two] = key.data
    while one.held < len(HEAD) + 250 * KIB and not room.ended:
        reported[one](one.sock)
    reported[two](two.sock)
    assert room.ended == [(two, Arrival.END)]
    assert room.waiting._total == one.held
    assert second.recv(12) == b"HTTP/1.1 503"


def test_who_holds_nothing_does_not_leave_for_others(room, monkeypatch):
    monkeypatch.setattr(module, "MOST_HELD", 350 * KIB)
    modest, small = room.connect()
    room.waiting.wait(small)
    modest.sendall(b"GET / HTTP/1.1\r\n")
    room.turn(lambda: small.held)
    for _ in range(3):
        client, conn = room.connect()
        room.waiting.wait(conn)
        client.sendall(HEAD + b"x" * (200 * KIB))
        room.turn(lambda conn=conn: conn.held == len(HEAD) + 200 * KIB)
    assert len(room.ended) == 2
    assert small not in dict(room.ended)


def test_an_idle_connection_keeps_nothing_of_its_last_request(room):
    client, conn = room.connect()
    room.waiting.wait(conn)
    client.sendall(HEAD + b"x" * (300 * KIB))
    room.turn(lambda: room.ended)
    conn.begin()
    next(conn.parser)
    while conn.read_body(64 * KIB):
        pass
    assert conn._ahead.obj == b""


def test_an_empty_line_between_requests_begins_none(room):
    client, conn = room.connect()
    room.waiting.wait(conn)
    client.sendall(b"\r\n\r\n")
    room.turn(lambda: room.ended)
    assert room.ended == [(conn, Arrival.MORE)]
    assert conn.is_idle


def test_the_oldest_leave_when_there_is_no_room(room, monkeypatch):
    monkeypatch.setattr(module, "MOST_HELD", 500 * KIB)
    held = []
    for _ in range(4):
        client, conn = room.connect()
        room.waiting.wait(conn)
        client.sendall(HEAD + b"x" * (200 * KIB))
        held.append((client, conn))
        room.turn(lambda conn=conn: conn.held == len(HEAD) + 200 * KIB)
    assert room.ended == [(held[0][1], Arrival.END), (held[1][1], Arrival.END)]
    assert held[0][0].recv(12) == b"HTTP/1.1 503"
