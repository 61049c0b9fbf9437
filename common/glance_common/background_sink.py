"""A sink beside a stream: something is done with its pieces in another thread, while the next ones come.

hashlib and the system calls for files release the interpreter's lock, so hashing and writing run on other cores while
the request's thread reads from the client.
"""

import queue
import threading
from collections.abc import Callable

from glance_common.model.errors import Unavailable


class BackgroundSink:
    """Calls ``act`` with each piece, in order; at most ``waiting`` pieces wait for it, which bounds the memory.

    The thread starts with the second piece: a small image needs none.
    """

    def __init__(self, name: str, act: Callable[[bytes], object], waiting: int) -> None:
        self._name = name
        self._act = act
        self._pieces: queue.Queue[bytes | None] = queue.Queue(waiting)
        self._first: bytes | None = None
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        self._is_over = False

    def put(self, piece: bytes) -> None:
        """Hand on the next piece; blocks while too many wait. Raises what ``act`` raised for an earlier one.

        Raises Unavailable when the system gives no thread.
        """
        if self._error is not None:
            raise self._error
        if self._thread is not None:
            self._pieces.put(piece)
        elif self._first is None:
            self._first = piece
        else:
            thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            try:
                thread.start()
            except RuntimeError as error:
                raise Unavailable(f"the system gives no more threads: {error}") from error
            self._thread = thread
            self._pieces.put(self._first)
            self._first = None
            self._pieces.put(piece)

    def _run(self) -> None:
        while (piece := self._pieces.get()) is not None:
            # After the end or an error the queue is only emptied, so that ``put`` never waits for room in it.
            if not self._is_over and self._error is None:
                try:
                    self._act(piece)
                except BaseException as error:
                    self._error = error
            # Otherwise it would stay in memory until the next one has come.
            del piece

    def finish(self) -> None:
        """Return when ``act`` is done with every piece. Raises what it raised."""
        if self._thread is None and self._first is not None:
            first, self._first = self._first, None
            self._act(first)
        self._join()
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """End the thread; pieces that wait are dropped. Harmless after ``finish``."""
        self._is_over = True
        self._join()

    def _join(self) -> None:
        thread, self._thread = self._thread, None
        if thread is not None:
            self._pieces.put(None)
            thread.join()
