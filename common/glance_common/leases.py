"""Leases of running work, kept alive by one thread of the process.

An upload, an operation and a purge each hold a lease in the registry. The work counts as dead when its lease ends, so
the lease is renewed for as long as the work lives, also while a store syncs or deletes. A renewal that the registry
refuses tells the work that it is over.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from glance_common.model.context import RequestContext
from glance_common.model.errors import GlanceError, Gone, Unavailable
from glance_common.observability.log_context import working_for

LOG = logging.getLogger(__name__)

Renew = Callable[[], object]
"""Extends one lease in the registry by the keeper's ``seconds`` from now. Raises Gone when the work is over."""


@dataclass(eq=False, slots=True)
class Lease:
    """One live lease of the work ``about``, which is named in the log; ``lost`` says why the work is over."""

    context: RequestContext
    about: str
    lost: Gone | None = None

    def check(self) -> None:
        """Raise Gone when the registry said that the work is over."""
        if self.lost is not None:
            raise Gone(self.lost.message)


@dataclass(frozen=True, slots=True)
class _Renewal:
    renew: Renew
    due_at: float


class LeaseKeeper:
    """Renews every kept lease three times within its length of ``seconds``."""

    def __init__(self, seconds: int) -> None:
        self.seconds = seconds
        # The one that is due first stands first: all have the same period, and a new or renewed one goes to the end.
        self._kept: dict[Lease, _Renewal] = {}
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    @contextmanager
    def keep(self, context: RequestContext, renew: Renew, about: str) -> Iterator[Lease]:
        """Keep a lease alive within the block; ``renew`` is called in another thread.

        Raises Unavailable when the system gives no thread.
        """
        lease = Lease(context, about)
        with self._changed:
            self._start()
            if not self._kept:
                self._changed.notify()
            self._put_last(lease, renew)
        try:
            yield lease
        finally:
            with self._changed:
                self._kept.pop(lease, None)

    def _start(self) -> None:
        # Started by the first lease and not at import, because threads do not survive the fork of a worker.
        if self._thread is None:
            thread = threading.Thread(target=self._run, name="leases", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:
                raise Unavailable(f"the system gives no more threads: {error}") from error
            self._thread = thread

    def _put_last(self, lease: Lease, renew: Renew) -> None:
        self._kept.pop(lease, None)
        self._kept[lease] = _Renewal(renew, time.monotonic() + self.seconds / 3)

    def _run(self) -> None:
        while True:
            lease, renew = self._next()
            with working_for(lease.context.request_id):
                self._renew(lease, renew)
            with self._changed:
                if lease in self._kept:
                    self._put_last(lease, renew)

    def _next(self) -> tuple[Lease, Renew]:
        """Wait for the next lease that is due, and return it with its renewal."""
        with self._changed:
            while True:
                first = next(iter(self._kept), None)
                if first is None:
                    self._changed.wait()
                elif first.lost is not None:
                    del self._kept[first]
                elif (left := self._kept[first].due_at - time.monotonic()) > 0:
                    self._changed.wait(left)
                else:
                    return first, self._kept[first].renew

    def _renew(self, lease: Lease, renew: Renew) -> None:
        try:
            renew()
        except Gone as gone:
            lease.lost = gone
        except GlanceError as error:
            # Not the end: until another process takes the work over, its lease may still be renewed.
            if self._is_kept(lease):
                LOG.warning("the lease of %s was not renewed: %s", lease.about, error)
        except Exception:
            LOG.exception("the lease of %s was not renewed", lease.about)

    def _is_kept(self, lease: Lease) -> bool:
        with self._changed:
            return lease in self._kept
