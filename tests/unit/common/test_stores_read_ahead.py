"""Reading ahead: order, errors, how much waits, and that a stalled reader holds no thread."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from glance_common.stores.contract import StoreUnavailable
from glance_common.stores.decorators.read_ahead import ReadAhead


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    """One thread for all readers: a reader that held it while it waits would stop the others."""
    with ThreadPoolExecutor(1) as made:
        yield made


class Source:
    """Numbered pieces of 10 bytes; knows how many were fetched, and by which threads."""

    def __init__(self, count: int, error: Exception | None = None) -> None:
        self.count = count
        self.error = error
        self.fetched = 0
        self.threads: set[int] = set()

    def __iter__(self) -> Iterator[bytes]:
        for number in range(self.count):
            self.fetched += 1
            self.threads.add(threading.get_ident())
            yield b"%010d" % number
        if self.error is not None:
            raise self.error


def at_rest(pool: ThreadPoolExecutor) -> None:
    """Return when the thread of the pool has nothing to do."""
    pool.submit(lambda: None).result(60)


def test_all_pieces_come_in_order_and_all_but_the_first_from_another_thread(pool):
    source = Source(1000)
    ahead = ReadAhead(source, pool, 100)
    assert next(ahead) == b"%010d" % 0
    assert source.threads == {threading.get_ident()}
    source.threads.clear()
    assert list(ahead) == list(Source(1000))[1:]
    assert threading.get_ident() not in source.threads


def test_nothing_is_fetched_before_the_reader_asks_and_then_more_and_more_up_to_the_room(pool):
    source = Source(1000)
    ahead = ReadAhead(source, pool, 100)
    at_rest(pool)
    assert source.fetched == 0
    for number in range(100):
        assert next(ahead) == b"%010d" % number
        at_rest(pool)
        waiting = source.fetched - number - 1
        assert waiting <= min(max(number, 1), 10), "no more waits than was taken, and no more than there is room for"
    assert waiting >= 5


def test_a_stalled_reader_holds_no_thread_and_goes_on_later(pool):
    stalled = ReadAhead(Source(1000), pool, 100)
    first = next(stalled)
    assert list(ReadAhead(Source(500), pool, 100)) == list(Source(500)), "the only thread serves another reader"
    assert [first, *stalled] == list(Source(1000))


def test_an_error_comes_after_the_pieces_before_it_and_every_time(pool):
    ahead = ReadAhead(Source(3, StoreUnavailable("gone")), pool, 1000)
    assert [next(ahead) for _ in range(3)] == list(Source(3))
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match="gone"):
            next(ahead)


def test_closing_waits_for_the_fetch_under_way_and_fetches_no_more(pool):
    begun, go_on, done = threading.Event(), threading.Event(), []

    def pieces() -> Iterator[bytes]:
        yield b"first and long"
        yield b"second"
        begun.set()
        assert go_on.wait(60)
        done.append(True)
        yield b"third"
        raise AssertionError("nobody wants this")

    ahead = ReadAhead(pieces(), pool, 1000)
    assert [next(ahead), next(ahead)] == [b"first and long", b"second"]
    assert begun.wait(60)
    threading.Timer(0.05, go_on.set).start()
    ahead.close()
    assert done == [True], "the blob is closed next, and nobody may be reading from it"
    assert list(ahead) == []
    ahead.close()


def test_closing_before_the_first_piece(pool):
    source = Source(5)
    ahead = ReadAhead(source, pool, 100)
    ahead.close()
    assert list(ahead) == []
    assert source.fetched == 0


def test_a_pool_that_has_ended_is_an_error_and_no_wait():
    pool = ThreadPoolExecutor(1)
    pool.shutdown()
    ahead = ReadAhead(Source(5), pool, 100)
    next(ahead)
    with pytest.raises(RuntimeError):
        next(ahead)
    ahead.close()
