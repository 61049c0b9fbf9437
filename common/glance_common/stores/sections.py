"""Reading a large object in sections, the next one ahead: one connection seldom gets all that a server can give."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from queue import SimpleQueue

from glance_common.stores.contract import StoreUnavailable
from glance_common.stores.room import SharedRoom

AHEAD = 64 * 1024 * 1024
"""Bytes of the sections that all readers of a process have in memory at most. Where many read there is no room for
some of them; these go without, as all cores and connections are busy then."""

SURE = 4 * 1024 * 1024
"""Bytes that a reader takes before anything is fetched ahead: many want a small part only, or leave soon."""

Fetch = Callable[[int, int], Iterable[bytes]]
"""Yields the bytes from an offset to an end, both of the object."""


class Sections:
    """The pieces of an object from ``start`` to ``end``, fetched in sections of so many bytes.

    A thread fetches the next section into memory, once the reader has taken ``SURE`` bytes and asks for more: while
    one section still comes in over one connection, the next one comes in over another. What ``fetch`` raises comes out
    behind the bytes before it.
    """

    _room = SharedRoom(AHEAD)

    def __init__(self, fetch: Fetch, start: int, end: int, section: int) -> None:
        self._fetch = fetch
        self._starts = range(start, end, section)
        self._end = end
        self._next: _Ahead | None = None

    def pieces(self) -> Iterator[bytes]:
        """Yield the pieces. Closing the iterator ends what is under way, and waits for no server."""
        taken = 0
        try:
            for start in self._starts:
                stop = min(start + self._starts.step, self._end)
                is_due = stop < self._end
                for piece in self._section(start, stop):
                    if is_due and taken >= SURE:
                        is_due = False
                        self._begin(stop)
                    yield piece
                    taken += len(piece)
        finally:
            if self._next is not None:
                self._next.leave()

    def _section(self, start: int, stop: int) -> Iterator[bytes]:
        ahead, self._next = self._next, None
        if ahead is None:
            yield from self._fetch(start, stop)
            return
        try:
            yield from ahead.pieces()
        finally:
            ahead.leave()

    def _begin(self, start: int) -> None:
        stop = min(start + self._starts.step, self._end)
        size = stop - start
        if self._room.take(size):
            self._next = _Ahead(lambda: self._fetch(start, stop), lambda: self._room.give_back(size))


class _Ahead:
    """A section that a thread fetches."""

    def __init__(self, fetch: Callable[[], Iterable[bytes]], give_back: Callable[[], None]) -> None:
        self._fetch = fetch
        self._give_back = give_back
        self._is_left = False
        self._pieces: SimpleQueue[bytes | None] = SimpleQueue()
        self._error: BaseException | None = None
        pool = ThreadPoolExecutor(1, thread_name_prefix="section")
        try:
            self._future = pool.submit(copy_context().run, self._run)
        except RuntimeError as error:
            give_back()
            raise StoreUnavailable("no thread is free to read the data ahead") from error
        finally:
            pool.shutdown(wait=False)

    def pieces(self) -> Iterator[bytes]:
        """Yield the pieces as they come, keeping none. Raises what the fetch raised."""
        while (piece := self._pieces.get()) is not None:
            yield piece
        if self._error is not None:
            raise self._error

    def leave(self) -> None:
        """Let the thread end at its next piece, or by the deadline of its call, and forget the section."""
        self._is_left = True
        self._future.add_done_callback(lambda _: self._give_back())

    def _run(self) -> None:
        try:
            for piece in self._fetch():
                if self._is_left:
                    break
                self._pieces.put(piece)
        except BaseException as error:
            self._error = error
        finally:
            self._pieces.put(None)
