"""An unfinished file as its readers in one process see it: how much of it is there, and how it ended."""

import fcntl
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from enum import Enum

_POLL = 0.01
"""Seconds between two looks at a file that another process fills: one thread looks for all readers of this one."""

_LOOKS = 20
"""Tries to mark a file as read."""


class FillEnd(Enum):
    """How the filling of a file ended for its readers."""

    VERIFIED = "verified"
    """All bytes are there and right."""

    FAILED = "failed"
    """What the store gave is not the image; its readers end with an error."""

    GONE = "gone"
    """The cache cannot go on; its readers read the store themselves."""

    DEAD = "dead"
    """The process that filled it died; a reader takes over."""


class GrowingFile:
    """The unfinished copy of one image, open for reading; it closes with its last user.

    A user is a reader, or the fill itself where it runs in this process. While there are readers the file has a shared
    lock, which the fill and the eviction of any process see.
    """

    def __init__(self, descriptor: int) -> None:
        """Take over ``descriptor``. There is one user, who calls ``leave``."""
        self.descriptor = descriptor
        seen = os.fstat(descriptor)
        self.inode = seen.st_ino
        self._size = seen.st_size
        self._changed = threading.Condition()
        self._end: FillEnd | None = None
        self._users = 1
        self._readers = 0
        self._stalled_at = -1
        self._grown_at = time.monotonic()
        self._told_at = -1
        self._listeners: set[Callable[[], None]] = set()

    @property
    def size(self) -> int:
        """Bytes that can be read now."""
        return self._size

    @property
    def end(self) -> FillEnd | None:
        """How it ended, None while it grows."""
        return self._end

    def enter(self) -> bool:
        """Become one more user; False when the file is closed, or ended without being right."""
        with self._changed:
            if not self._users or self._end not in (None, FillEnd.VERIFIED):
                return False
            self._users += 1
            return True

    def leave(self) -> None:
        """Cease to be a user; the last one closes the file."""
        with self._changed:
            self._users -= 1
            if not self._users:
                os.close(self.descriptor)

    def begin_reading(self) -> None:
        """Let other processes see that a user reads the file.

        One that looks whether there are readers holds the lock for a moment.
        """
        with self._changed:
            self._readers += 1
            for _ in range(_LOOKS):
                with suppress(BlockingIOError):
                    fcntl.flock(self.descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
                    return
                time.sleep(_POLL / 10)

    def end_reading(self) -> None:
        """Cease to be a reader and a user."""
        with self._changed:
            self._readers -= 1
            if not self._readers:
                fcntl.flock(self.descriptor, fcntl.LOCK_UN)
        self.leave()

    @property
    def users(self) -> int:
        """How many use the file in this process."""
        return self._users

    def listen(self, wake: Callable[[], None]) -> None:
        """Have ``wake`` called when there is more, and at the end. It must not wait."""
        with self._changed:
            self._listeners.add(wake)

    def is_stalled(self, seconds: float) -> bool:
        """Say whether nothing has come for so many seconds."""
        return self._end is None and time.monotonic() - self._grown_at >= seconds

    def is_news(self) -> bool:
        """Say whether it is the first time that this is asked since it has grown: many readers notice one stall."""
        with self._changed:
            told, self._told_at = self._told_at, self._size
            return told != self._size

    def grown(self, size: int) -> None:
        """Tell the readers how much there is."""
        with self._changed:
            self._size = size
            self._grown_at = time.monotonic()
            self._tell()

    def _tell(self) -> None:
        self._changed.notify_all()
        for wake in self._listeners:
            wake()

    def ended(self, end: FillEnd) -> None:
        """Tell the readers how it ended; the first word counts."""
        with self._changed:
            if self._end is None:
                self._end = end
                self._tell()

    def wait(self, beyond: int, seconds: float) -> bool:
        """Return True as soon as there are more than ``beyond`` bytes or the end is known, False after ``seconds``.

        False at once when another reader has waited in vain and nothing has come since: each waits for itself at most.
        """
        with self._changed:
            if self._stalled_at == self._size and self._end is None:
                return self._size > beyond
            if self._changed.wait_for(lambda: self._size > beyond or self._end is not None, seconds):
                return True
            self._stalled_at = self._size
            return False

    def wait_end(self, seconds: float) -> FillEnd | None:
        """Return how it ended, None when that is not known after ``seconds``."""
        with self._changed:
            self._changed.wait_for(lambda: self._end is not None, seconds)
            return self._end

    def pause(self) -> None:
        """Wait a moment before the next look at a file that another process fills."""
        with self._changed:
            self._changed.wait_for(lambda: self._users <= 1, _POLL)
