"""A sink does its work in order beside the caller, says what went wrong, and leaves no thread behind."""

import threading

import pytest
from deploy.local.processes import wait_until

from glance_common.background_sink import BackgroundSink
from glance_common.model.errors import Unavailable


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "sink"]


@pytest.mark.parametrize("count", [0, 1, 2, 50])
def test_every_piece_in_order(count: int):
    seen: list[bytes] = []
    sink = BackgroundSink("sink", seen.append, waiting=2)
    pieces = [b"%d" % number for number in range(count)]
    for piece in pieces:
        sink.put(piece)
    sink.finish()
    sink.close()
    assert (seen, threads()) == (pieces, [])


def test_no_thread_to_be_had_is_said_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch):
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    sink = BackgroundSink("sink", bytes, waiting=2)
    sink.put(b"1")
    with pytest.raises(Unavailable, match="no more threads"):
        sink.put(b"2")
    sink.close()


def test_the_caller_goes_on_until_too_many_wait():
    go, seen = threading.Event(), []

    def act(piece: bytes) -> None:
        assert go.wait(60)
        seen.append(piece)

    sink = BackgroundSink("sink", act, waiting=2)
    for _ in range(2):
        sink.put(b"x")
    more = threading.Thread(target=lambda: [sink.put(b"y") for _ in range(2)])
    more.start()
    more.join(0.2)
    assert (more.is_alive(), seen) == (True, [])
    go.set()
    more.join(60)
    sink.finish()
    assert seen == [b"x", b"x", b"y", b"y"]


@pytest.mark.parametrize("count", [1, 3, 30])
def test_an_error_reaches_the_caller_and_nobody_waits_for_room(count: int):
    calls: list[bytes] = []

    def act(piece: bytes) -> None:
        calls.append(piece)
        raise OSError("the disk")

    sink = BackgroundSink("sink", act, waiting=2)

    def work() -> None:
        for _ in range(count):
            sink.put(b"x")
        sink.finish()

    with pytest.raises(OSError, match="the disk"):
        work()
    sink.close()
    assert (calls, threads()) == ([b"x"], [])


def test_close_drops_what_waits():
    go, entered, seen = threading.Event(), threading.Event(), []

    def act(piece: bytes) -> None:
        entered.set()
        assert go.wait(60)
        seen.append(piece)

    sink = BackgroundSink("sink", act, waiting=2)
    for piece in (b"1", b"2", b"3"):
        sink.put(piece)
    assert entered.wait(60)
    closing = threading.Thread(target=sink.close)
    closing.start()
    wait_until(lambda: sink._is_over, what="the begin of the end")
    closing.join(0.2)
    assert closing.is_alive(), "what is being done is awaited: its file is still open"
    go.set()
    closing.join(60)
    assert (seen, threads()) == ([b"1"], [])
