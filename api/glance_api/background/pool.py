"""The workers of one API process: they claim operations from the registry and run them.

One thread looks for work, when a request of this process made some and every few seconds; each operation then has a
thread of its own. Threads are started after the fork, by ``start``.
"""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from glance_api.imports.signals import WorkSignal
from glance_common.model.errors import GlanceError, Unavailable

LOG = logging.getLogger(__name__)

POLL = 5.0
"""Seconds between two looks for operations that other processes made or left behind."""

STOP_WITHIN = 10.0
"""Seconds that running operations have to give themselves back when the process ends."""

Job = TypeVar("Job")


class StopSign:
    """Says that this process ends: because the workers were told so, or because ``outside`` says it."""

    def __init__(self, outside: Callable[[], bool] = lambda: False) -> None:
        self._outside = outside
        self._set = threading.Event()

    def __call__(self) -> bool:
        """Say whether what runs is to end now."""
        return self._set.is_set() or self._outside()

    def set(self) -> None:
        """End it all."""
        self._set.set()


@dataclass(frozen=True, slots=True)
class PoolWork(Generic[Job]):
    """What a pool does.

    ``claim`` returns None when there is nothing to do. Each job that it returned goes to ``run``, which handles its own
    errors and ends soon once the pool stops, or to ``leave`` when no thread can be started for it. ``housekeeping`` is
    called before each look.
    """

    claim: Callable[[], Job | None]
    run: Callable[[Job], None]
    leave: Callable[[Job], None]
    housekeeping: Callable[[], None] = lambda: None


class WorkerPool(Generic[Job]):
    """Runs the jobs of ``work``, at most ``size`` at the same time, until ``stop`` is set.

    Looks for work when ``signal`` says that there is some, and every ``poll`` seconds.
    """

    def __init__(
        self, work: PoolWork[Job], *, size: int, signal: WorkSignal, stop: StopSign, poll: float = POLL
    ) -> None:
        self._work = work
        self._size = size
        self._signal = signal
        self._poll = poll
        self._stop = stop
        self._free = threading.BoundedSemaphore(size)
        self._looking: threading.Thread | None = None

    def start(self) -> None:
        """Begin to look for work."""
        self._looking = threading.Thread(target=self._look, name="operations", daemon=True)
        self._looking.start()

    def stop(self) -> None:
        """Claim nothing more and wait a while for what runs; what does not end is left to its lease."""
        self._stop.set()
        self._signal.wake()
        if self._looking is None:
            return
        self._looking.join(STOP_WITHIN)
        ended = [self._free.acquire(timeout=STOP_WITHIN / self._size) for _ in range(self._size)]
        if not all(ended):
            LOG.warning("%d operations did not end; others take them over later", ended.count(False))

    def _look(self) -> None:
        while not self._stop():
            self._signal.event.clear()
            if not self._begin_one():
                self._signal.event.wait(self._poll)

    def _begin_one(self) -> bool:
        """Do the housekeeping and begin one operation; return whether another look may find more at once."""
        try:
            self._do_housekeeping()
            if not self._free.acquire(timeout=self._poll):
                return True
            return self._begin_claimed()
        except GlanceError as error:
            LOG.warning("no operation can be claimed now: %s", error.message)
        except Exception:
            LOG.exception("looking for operations failed")
        return False

    def _do_housekeeping(self) -> None:
        """Run the housekeeping. A failure of it is logged and does not stop the operations. Raises Unavailable."""
        try:
            self._work.housekeeping()
        except Unavailable:
            raise
        except Exception:
            LOG.exception("the housekeeping of the workers failed")

    def _begin_claimed(self) -> bool:
        is_begun = False
        try:
            job = None if self._stop() else self._work.claim()
            if job is not None:
                self._start_thread(job)
                is_begun = True
        finally:
            if not is_begun:
                self._free.release()
        return is_begun

    def _start_thread(self, job: Job) -> None:
        try:
            threading.Thread(target=self._run, args=(job,), name="operation", daemon=True).start()
        except BaseException:
            self._work.leave(job)
            raise

    def _run(self, job: Job) -> None:
        try:
            self._work.run(job)
        except Exception:
            LOG.exception("an operation ended with a defect; it is tried again when its lease is over")
        finally:
            self._free.release()
            self._signal.wake()
