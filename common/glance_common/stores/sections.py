"""Reading a large object in sections, the next one ahead: one connection seldom gets all that a server can give."""

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context

from glance_common.stores.contract import StoreUnavailable

AHEAD = 8
"""Sections that a process has in memory at most. Further readers go without, as behind slow clients nothing is won."""

Fetch = Callable[[int, int], Iterable[bytes]]
"""Yields the bytes from an offset to an end, both of the object."""


class Sections:
    """The pieces of an object from ``start`` to ``end``, fetched in sections of so many bytes.

    Once the second piece of a section has been asked for, a thread fetches the next section into memory. What
    ``fetch`` raises comes out behind the bytes before it.
    """

    _room = threading.BoundedSemaphore(AHEAD)

    def __init__(self, fetch: Fetch, start: int, end: int, section: int) -> None:
        self._fetch = fetch
        self._starts = range(start, end, section)
        self._end = end
        self._next: _Ahead | None = None

    def pieces(self) -> Iterator[bytes]:
        """Yield the pieces. Closing the iterator ends what is under way, and waits for no server."""
        try:
            for start in self._starts:
                ahead, self._next = self._next, None
                stop = min(start + self._starts.step, self._end)
                pieces = self._fetch(start, stop) if ahead is None else ahead.pieces()
                for number, piece in enumerate(pieces):
                    if number == 1 and stop < self._end:
                        self._begin(stop)
                    yield piece
        finally:
            if self._next is not None:
                self._next.leave()

    def _begin(self, start: int) -> None:
        if self._room.acquire(blocking=False):
            try:
                stop = min(start + self._starts.step, self._end)
                self._next = _Ahead(lambda: self._fetch(start, stop), self._room.release)
            except BaseException:
                self._room.release()
                raise


class _Ahead:
    """A section that a thread fetches."""

    def __init__(self, fetch: Callable[[], Iterable[bytes]], give_back: Callable[[], None]) -> None:
        self._fetch = fetch
        self._give_back = give_back
        self._is_over = False
        self._pieces: list[bytes] = []
        pool = ThreadPoolExecutor(1, thread_name_prefix="section")
        try:
            self._future: Future[None] = pool.submit(copy_context().run, self._run)
        except RuntimeError as error:
            raise StoreUnavailable("no thread is free to read the data ahead") from error
        finally:
            pool.shutdown(wait=False)

    def pieces(self) -> Iterator[bytes]:
        """Wait for the section and yield its pieces, keeping none."""
        try:
            error = self._future.exception()
            self._pieces.reverse()
            while self._pieces:
                yield self._pieces.pop()
        finally:
            self._give_back()
        if error is not None:
            raise error

    def leave(self) -> None:
        """Let the thread end at its next piece, or by the deadline of its call, and forget the section."""
        self._is_over = True
        self._future.add_done_callback(lambda _: self._give_back())

    def _run(self) -> None:
        for piece in self._fetch():
            if self._is_over:
                break
            self._pieces.append(piece)
