"""Permits: how many transfers one process carries, how many of them one project has, and how many requests wait for
servers that callers name.

Without a bound, slow transfers or silent servers would take every thread and even a ``show`` would wait behind them.
Without a share, one project could take every permit, with transfers that are just fast enough not to be cut, and keep
all others out.
"""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial

from glance_common.fetch import deadlines
from glance_common.model.errors import Unavailable
from glance_common.observability.metrics.catalog import (
    REMOTE_CHECKS,
    REMOTE_CHECKS_REFUSED,
    TRANSFERS,
    TRANSFERS_REFUSED,
)

RETRY_AFTER = 5
"""Seconds after which a client that got no permit is asked to come back."""

_is_held: ContextVar[bool] = ContextVar("remote_check", default=False)


class TransferPermits:
    """A counted set of permits; taking one never waits."""

    def __init__(
        self, limit: int, share: int = 0, stopping: Callable[[], bool] = lambda: False, state: str = "taken"
    ) -> None:
        """``share`` is the most that one project may have; 0 = all of them. The metrics count them as ``state``."""
        self._state = state
        self.limit = limit
        self.share = min(share or limit, limit)
        self._taken: Counter[str | None] = Counter()
        self._lock = threading.Lock()
        self._stopping = stopping

    def take(self, project: str | None) -> Callable[[], None]:
        """Return a function that gives the permit back (calling it again does nothing).

        Raises Unavailable with ``retry_after`` when all are taken, or as many as a project may have, or the process is
        about to stop: before a byte of the body is read, so that the client can go to another process. Callers without
        a project count as one.
        """
        reason = self._reason(project)
        if reason == "stopping":
            raise _refused(reason, "this server is stopping and takes no new transfers")
        if reason == "full":
            raise _refused(reason, f"all {self.limit} transfers of this server process are taken (max_transfers)")
        if reason == "share":
            raise _refused(
                reason,
                f"this project has {self.share} of the {self.limit} transfers of this server process, the most "
                "that one may have (max_transfers_per_project)",
            )
        return _Once(partial(self._give_back, project))

    def try_take(self, project: str | None, *, is_running: bool = False) -> Callable[[], None] | None:
        """Return what ``take`` returns, None where it raises. A transfer that runs goes on while the process stops."""
        reason = self._reason(project, is_running=is_running)
        return _Once(partial(self._give_back, project)) if reason is None else None

    def _reason(self, project: str | None, *, is_running: bool = False) -> str | None:
        """Take a permit and return None, or return why there is none."""
        if self._stopping() and not is_running:
            return "stopping"
        with self._lock:
            if self._taken.total() >= self.limit:
                return "full"
            if self._taken[project] >= self.share:
                return "share"
            self._taken[project] += 1
        TRANSFERS.labels(self._state).inc()
        return None

    def _give_back(self, project: str | None) -> None:
        TRANSFERS.labels(self._state).dec()
        with self._lock:
            self._taken[project] -= 1
            if not self._taken[project]:
                del self._taken[project]


def _refused(reason: str, message: str) -> Unavailable:
    TRANSFERS_REFUSED.labels(reason).inc()
    return Unavailable(message, retry_after=RETRY_AFTER)


class _Once:
    """Calls a function once, at its own first call."""

    def __init__(self, function: Callable[[], None]) -> None:
        self._function: Callable[[], None] | None = function
        self._lock = threading.Lock()

    def __call__(self) -> None:
        with self._lock:
            function, self._function = self._function, None
        if function is not None:
            function()


class RemoteChecks:
    """Bounds what requests ask of servers that callers name: how many do so at the same time, and for how long each."""

    def __init__(self, limit: int, seconds: float, share: int = 0) -> None:
        """``seconds`` is the time of one request, for all that it asks; ``share`` is the most that one project may
        have, 0 = all of them."""
        self.limit = limit
        self.seconds = seconds
        self.share = share or limit
        self._taken: Counter[str | None] = Counter()
        self._lock = threading.Lock()

    @contextmanager
    def permit(self, project: str | None) -> Iterator[None]:
        """Hold a permit within the block; everything in it that waits for a server ends ``seconds`` after the start.

        A block within another one of the same request shares its permit and its time. Raises Unavailable with
        ``retry_after`` at once when all permits are taken, or as many as ``project`` may have.
        """
        if _is_held.get():
            yield
            return
        self._take(project)
        token = _is_held.set(True)
        REMOTE_CHECKS.labels("taken").inc()
        try:
            with deadlines.within(self.seconds):
                yield
        finally:
            REMOTE_CHECKS.labels("taken").dec()
            _is_held.reset(token)
            with self._lock:
                self._taken[project] -= 1
                if not self._taken[project]:
                    del self._taken[project]

    def _take(self, project: str | None) -> None:
        with self._lock:
            reason = "full" if self._taken.total() >= self.limit else None
            if reason is None and self._taken[project] >= self.share:
                reason = "share"
            if reason is None:
                self._taken[project] += 1
                return
        REMOTE_CHECKS_REFUSED.labels(reason).inc()
        whose = "all" if reason == "full" else f"this project has {self.share} of the"
        raise Unavailable(
            f"{whose} {self.limit} requests of this server process that may wait for other servers do so "
            "(max_remote_checks)",
            retry_after=RETRY_AFTER,
        )
