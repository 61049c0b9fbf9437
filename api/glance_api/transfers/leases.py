"""Leases of running uploads, kept alive by one thread of the process.

An attempt whose lease ends counts as dead and is reaped, so the lease is renewed for as long as the transfer lives,
also while the store syncs or completes. A renewal that the registry refuses tells the transfer that nobody wants its
bytes.
"""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from glance_common.model.context import RequestContext
from glance_common.model.errors import GlanceError, Gone

LOG = logging.getLogger(__name__)


class Renewals(Protocol):
    """The registry call that a keeper needs."""

    def renew(self, context: RequestContext, attempt: str, *, lease: int) -> int:
        """Extend the lease of ``attempt`` by ``lease`` seconds from now; raise Gone when the attempt is over."""


class Lease:
    """One live attempt; ``check`` raises Gone once the registry said that the attempt is over."""

    def __init__(self, context: RequestContext, attempt: str) -> None:
        self.context = context
        self.attempt = attempt
        self.lost: Gone | None = None

    def check(self) -> None:
        """Raise Gone when the image was deleted or the attempt was reaped meanwhile."""
        if self.lost is not None:
            raise Gone(self.lost.message)


class LeaseKeeper:
    """Renews every kept lease three times within its length of ``seconds``."""

    def __init__(self, renewals: Renewals, seconds: int) -> None:
        self.seconds = seconds
        self._renewals = renewals
        self._leases: set[Lease] = set()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    @contextmanager
    def keep(self, context: RequestContext, attempt: str) -> Iterator[Lease]:
        """Keep the lease of ``attempt`` alive within the block."""
        lease = Lease(context, attempt)
        with self._changed:
            self._leases.add(lease)
            self._start()
            self._changed.notify()
        try:
            yield lease
        finally:
            with self._changed:
                self._leases.discard(lease)

    def _start(self) -> None:
        # Started by the first upload and not at import, because threads do not survive the fork of a worker.
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="upload-leases", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        pause = threading.Event()
        while True:
            with self._changed:
                while not self._leases:
                    self._changed.wait()
            pause.wait(self.seconds / 3)
            with self._changed:
                due = [lease for lease in self._leases if lease.lost is None]
            for lease in due:
                self._renew(lease)

    def _renew(self, lease: Lease) -> None:
        try:
            self._renewals.renew(lease.context, lease.attempt, lease=self.seconds)
        except Gone as gone:
            lease.lost = gone
        except GlanceError as error:
            # Not the end: until somebody reaps it, the attempt may still be renewed or committed.
            LOG.warning("the lease of upload %s was not renewed: %s", lease.attempt, error)
        except Exception:
            LOG.exception("the lease of upload %s was not renewed", lease.attempt)
