"""Transfer permits: how many uploads and downloads one process carries at the same time.

Without a bound, slow transfers would take every thread and even a ``show`` would wait behind them.
"""

import threading
from collections.abc import Callable

from glance_common.errors import Unavailable
from glance_common.metrics.catalog import TRANSFERS, TRANSFERS_REFUSED

RETRY_AFTER = 5
"""Seconds after which a client that got no permit is asked to come back."""


class TransferPermits:
    """A counted set of permits; taking one never waits."""

    def __init__(self, limit: int, stopping: Callable[[], bool] = lambda: False) -> None:
        self.limit = limit
        self._free = threading.BoundedSemaphore(limit)
        self._stopping = stopping

    def take(self) -> Callable[[], None]:
        """Return a function that gives the permit back (calling it again does nothing).

        Raises Unavailable with ``retry_after`` when all are taken or the process is about to stop: before a byte of the
        body is read, so that the client can go to another process.
        """
        if self._stopping():
            TRANSFERS_REFUSED.labels("stopping").inc()
            raise Unavailable("this server is stopping and takes no new transfers", retry_after=RETRY_AFTER)
        if not self._free.acquire(blocking=False):
            TRANSFERS_REFUSED.labels("full").inc()
            raise Unavailable(
                f"all {self.limit} transfers of this server process are taken (max_transfers)", retry_after=RETRY_AFTER
            )
        TRANSFERS.labels("taken").inc()
        return _Once(self._give_back)

    def _give_back(self) -> None:
        TRANSFERS.labels("taken").dec()
        self._free.release()


class _Once:
    """Calls a function the first time it is called itself."""

    def __init__(self, function: Callable[[], None]) -> None:
        self._function: Callable[[], None] | None = function
        self._lock = threading.Lock()

    def __call__(self) -> None:
        with self._lock:
            function, self._function = self._function, None
        if function is not None:
            function()
