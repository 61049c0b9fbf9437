"""Reading from a store before the reader asks, so that store, hash and client do not wait for each other."""

import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor

from glance_common.body import MIB

ROOM = 4 * MIB
"""Bytes that may wait for the reader; one piece more may be on its way."""


class ReadAhead:
    """The pieces of a blob, fetched by a thread of ``pool`` while the reader is busy with earlier ones.

    The thread is used only while there is room: behind a slow client it goes back to the pool, and is taken again when
    half of what waited is gone. The reader fetches the first piece itself, so that nothing comes before that one.
    Errors of the pieces come out where they belong, after the pieces before them. Give the pool as many threads as
    there are readers at most.
    """

    def __init__(self, pieces: Iterable[bytes], pool: Executor, room: int = ROOM) -> None:
        self._source = iter(pieces)
        self._pool = pool
        self._room = room
        self._changed = threading.Condition()
        self._waiting: deque[bytes] = deque()
        self._size = 0
        self._taken = 0
        self._fetching = False
        self._is_first = True
        self._closed = False
        self._end: BaseException | None = None

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        """Return the next piece, waiting for it. Raises what the pieces raise."""
        is_first, self._is_first = self._is_first, False
        if is_first and not self._closed:
            self._fetching = True
            self._fill(room=0)
        with self._changed:
            if not is_first and self._size <= self._now() // 2:
                self._fetch()
            while not self._waiting:
                if self._end is not None:
                    raise self._end
                self._fetch()
                self._changed.wait()
            piece = self._waiting.popleft()
            self._size -= len(piece)
            self._taken += len(piece)
            return piece

    def close(self) -> None:
        """Forget what waits, and return when no thread reads from the blob any more, which can be closed then."""
        with self._changed:
            self._closed = True
            self._end = StopIteration()
            self._waiting.clear()
            self._changed.wait_for(lambda: not self._fetching)

    def _fetch(self) -> None:
        if not self._fetching and self._end is None:
            self._fetching = True
            try:
                self._pool.submit(self._fill, self._now())
            except BaseException:
                self._fetching = False
                raise

    def _now(self) -> int:
        """Return the bytes that may wait now: as many as were taken, for readers that leave soon."""
        return min(self._taken, self._room)

    def _fill(self, room: int) -> None:
        """Fetch until there is no room, no piece, or no reader; runs in one thread at a time."""
        go_on = True
        while go_on:
            try:
                piece, end = next(self._source), None
            except BaseException as error:
                # Also StopIteration: whatever ends the pieces belongs to the reader.
                piece, end = b"", error
            with self._changed:
                if piece and not self._closed:
                    self._waiting.append(piece)
                    self._size += len(piece)
                self._end = self._end or end
                go_on = self._fetching = self._end is None and self._size < room
                self._changed.notify_all()
