"""Objects read in sections."""

import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glance_common.stores import sections
from glance_common.stores.contract import StoreUnavailable
from glance_common.stores.room import SharedRoom
from glance_common.stores.sections import Sections

DATA = bytes(range(256)) * 8
ROOM = 4000
"""Bytes that all readers may have in memory ahead."""


class Server:
    """Gives ``DATA`` in small pieces; a gate can hold each section, and one may fail."""

    def __init__(self, piece=7, fails_at=None):
        self.piece = piece
        self.fails_at = fails_at
        self.begun = []
        self.ended = []
        self.gate = threading.Event()
        self.gate.set()

    def fetch(self, first, end):
        self.begun.append(first)
        try:
            assert self.gate.wait(60)
            for at in range(first, end, self.piece):
                if self.fails_at is not None and at >= self.fails_at:
                    raise StoreUnavailable(f"at {at}")
                yield DATA[at : min(at + self.piece, end)]
        finally:
            self.ended.append(first)

    def read(self, start, end, section):
        return Sections(self.fetch, start, end, section).pieces()


@pytest.fixture(autouse=True)
def _nothing_stays(monkeypatch):
    monkeypatch.setattr(Sections, "_room", SharedRoom(ROOM))
    monkeypatch.setattr(sections, "SURE", 1)
    yield
    _until(lambda: Sections._room.left == ROOM)


@given(start=st.integers(0, 300), length=st.integers(0, 1500), section=st.integers(1, 700), piece=st.integers(1, 99))
def test_the_bytes_are_those_of_the_object(start, length, section, piece):
    assert b"".join(Server(piece).read(start, start + length, section)) == DATA[start : start + length]


def test_one_section_is_fetched_ahead_once_the_reader_goes_on(monkeypatch):
    monkeypatch.setattr(sections, "SURE", 8)
    server = Server()
    pieces = server.read(0, 1000, 100)
    next(pieces)
    next(pieces)
    assert server.begun == [0]
    next(pieces)
    _until(lambda: server.ended == [100])
    while 0 not in server.ended:
        assert max(server.begun) == 100
        next(pieces)
    _until(lambda: 200 in server.ended)
    assert max(server.begun) == 200
    assert len(b"".join(pieces)) > 700


def test_a_section_that_still_comes_in_is_read_as_it_comes():
    """Its reader waits for the next piece and not for the last one; the section behind it is under way by then."""
    go_on = threading.Event()
    begun = []

    def fetch(first, end):
        begun.append(first)
        for at in range(first, end, 10):
            if at == 120:
                assert go_on.wait(60)
            yield DATA[at : at + 10]

    pieces = Sections(fetch, 0, 300, 100).pieces()
    assert b"".join(next(pieces) for _ in range(12)) == DATA[:120]
    _until(lambda: begun == [0, 100, 200])
    go_on.set()
    assert b"".join(pieces) == DATA[120:300]


def test_an_error_comes_out_behind_the_bytes_before_it():
    found = []
    with pytest.raises(StoreUnavailable, match="at 307"):
        found.extend(Server(fails_at=301).read(0, 1000, 100))
    assert b"".join(found) == DATA[:307]


def test_a_reader_that_leaves_waits_for_no_fetch_and_ends_it():
    server = Server()
    pieces = server.read(0, 2000, 500)
    next(pieces)
    server.gate.clear()
    next(pieces)
    _until(lambda: len(server.begun) == 2)
    pieces.close()
    assert server.ended == [0]
    server.gate.set()
    _until(lambda: len(server.ended) == 2)
    assert server.begun == [0, 500]


def test_readers_without_room_read_without_it():
    server = Server()
    readers = [server.read(0, 2000, 500) for _ in range(ROOM // 500 + 3)]
    for pieces in readers:
        next(pieces), next(pieces)
    _until(lambda: len(server.ended) == ROOM // 500)
    assert server.begun.count(500) == ROOM // 500
    assert {b"".join(pieces) for pieces in readers} == {DATA[14:2000]}


def test_a_short_object_needs_no_thread():
    before = threading.active_count()
    pieces = Server(piece=50).read(0, 100, 100)
    assert [len(next(pieces)), threading.active_count()] == [50, before]
    assert b"".join(pieces) == DATA[50:100]


def _until(is_so):
    end = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.01)
