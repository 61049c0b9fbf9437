"""A lane does its work in order beside the caller, says what went wrong, and leaves no thread behind."""

import threading

import pytest
from deploy.local.processes import wait_until

from glance_common.background import Lane
from glance_common.model.errors import Unavailable


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "lane"]


@pytest.mark.parametrize("count", [0, 1, 2, 50])
def test_every_piece_in_order(count: int):
    seen: list[bytes] = []
    lane = Lane("lane", seen.append, waiting=2)
    pieces = [b"%d" % number for number in range(count)]
    for piece in pieces:
        lane.put(piece)
    lane.finish()
    lane.close()
    assert (seen, threads()) == (pieces, [])


def test_no_thread_to_be_had_is_said_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch):
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    lane = Lane("lane", bytes, waiting=2)
    lane.put(b"1")
    with pytest.raises(Unavailable, match="no more threads"):
        lane.put(b"2")
    lane.close()


def test_the_caller_goes_on_until_too_many_wait():
    go, seen = threading.Event(), []

    def act(piece: bytes) -> None:
        assert go.wait(60)
        seen.append(piece)

    lane = Lane("lane", act, waiting=2)
    for _ in range(2):
        lane.put(b"x")
    more = threading.Thread(target=lambda: [lane.put(b"y") for _ in range(2)])
    more.start()
    more.join(0.2)
    assert (more.is_alive(), seen) == (True, [])
    go.set()
    more.join(60)
    lane.finish()
    assert seen == [b"x", b"x", b"y", b"y"]


@pytest.mark.parametrize("count", [1, 3, 30])
def test_an_error_reaches_the_caller_and_nobody_waits_for_room(count: int):
    calls: list[bytes] = []

    def act(piece: bytes) -> None:
        calls.append(piece)
        raise OSError("the disk")

    lane = Lane("lane", act, waiting=2)

    def work() -> None:
        for _ in range(count):
            lane.put(b"x")
        lane.finish()

    with pytest.raises(OSError, match="the disk"):
        work()
    lane.close()
    assert (calls, threads()) == ([b"x"], [])


def test_close_drops_what_waits():
    go, entered, seen = threading.Event(), threading.Event(), []

    def act(piece: bytes) -> None:
        entered.set()
        assert go.wait(60)
        seen.append(piece)

    lane = Lane("lane", act, waiting=2)
    for piece in (b"1", b"2", b"3"):
        lane.put(piece)
    assert entered.wait(60)
    closing = threading.Thread(target=lane.close)
    closing.start()
    wait_until(lambda: lane._is_over, what="the begin of the end")
    closing.join(0.2)
    assert closing.is_alive(), "what is being done is awaited: its file is still open"
    go.set()
    closing.join(60)
    assert (seen, threads()) == ([b"1"], [])
