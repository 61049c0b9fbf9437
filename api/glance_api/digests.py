"""Hashing beside the stream: each algorithm in a thread of its own.

hashlib releases the interpreter's lock for large pieces, so md5 and the secure hash run on other cores while the
request's thread reads from the client and writes to the store.
"""

import hashlib
import queue
import threading
from collections.abc import Sequence

QUEUED_PIECES = 3
"""Pieces that may wait for one algorithm: enough to ride out jitter, few enough to bound the memory of a transfer."""


CHECKSUM = "md5"
"""The algorithm of the API's field ``checksum``; a name for the same data, not a protection."""


class Digests:
    """Hex digests of one stream by several algorithms. ``update`` may block while an algorithm is behind."""

    def __init__(self, algorithms: Sequence[str]) -> None:
        self._hashers = [_Hasher(name) for name in dict.fromkeys(algorithms)]

    def update(self, piece: bytes) -> None:
        """Feed the next piece."""
        for hasher in self._hashers:
            hasher.put(piece)

    def finish(self) -> dict[str, str]:
        """Return algorithm → hex digest, after everything fed was hashed."""
        return {hasher.name: hasher.finish() for hasher in self._hashers}

    def close(self) -> None:
        """End the threads; harmless after ``finish``."""
        for hasher in self._hashers:
            hasher.close()


class _Hasher:
    """One algorithm. The thread starts with the second piece: a small image is hashed in place."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._hash = hashlib.new(name, usedforsecurity=False)
        self._pieces: queue.Queue[bytes | None] = queue.Queue(QUEUED_PIECES)
        self._first: bytes | None = None
        self._thread: threading.Thread | None = None

    def put(self, piece: bytes) -> None:
        if self._thread is not None:
            self._pieces.put(piece)
        elif self._first is None:
            self._first = piece
        else:
            self._thread = threading.Thread(target=self._run, name=f"digest-{self.name}", daemon=True)
            self._thread.start()
            self._pieces.put(self._first)
            self._pieces.put(piece)

    def _run(self) -> None:
        while (piece := self._pieces.get()) is not None:
            self._hash.update(piece)

    def finish(self) -> str:
        if self._thread is None and self._first is not None:
            self._hash.update(self._first)
            self._first = None
        self.close()
        return self._hash.hexdigest()

    def close(self) -> None:
        thread, self._thread = self._thread, None
        if thread is not None:
            self._pieces.put(None)
            thread.join()
