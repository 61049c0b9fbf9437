"""A bound on the bytes per second that all threads of a process read together."""

import threading
import time
from collections.abc import Callable

BURST = 1.0
"""Seconds of unused time that may be caught up with: a pause of a store does not become a burst later."""


class Rate:
    """A token bucket: each piece moves the moment at which the next one may be read."""

    def __init__(self, limit: float, stop: threading.Event, clock: Callable[[], float] = time.monotonic) -> None:
        """``limit``: bytes per second, 0 = no bound. ``stop`` ends every wait at once."""
        self._limit = limit
        self._stop = stop
        self._clock = clock
        self._lock = threading.Lock()
        self._next = 0.0

    def take(self, count: int) -> bool:
        """Wait until ``count`` bytes may have been read; return False when the process is to stop."""
        if self._limit <= 0:
            return not self._stop.is_set()
        with self._lock:
            now = self._clock()
            self._next = max(self._next, now - BURST) + count / self._limit
            pause = self._next - now
        return not self._stop.wait(max(pause, 0.0))
