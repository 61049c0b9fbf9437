"""Renews the leases of this process as long as it works, so that others see that it lives."""

import logging
import os
import threading
import time
from dataclasses import dataclass, field

from glance_common.stores.contract import StoreError
from glance_common.stores.drivers.cinder.client import CinderApi
from glance_common.stores.drivers.cinder.volumes import lease_text

LOG = logging.getLogger(__name__)

_RENEWALS = 3
"""Times that a lease is renewed before it would end."""


@dataclass(eq=False, slots=True)
class HeldLease:
    """A lease that is renewed: the metadata ``name`` of a volume."""

    api: CinderApi
    volume: str
    name: str
    renewed: float
    lock: threading.Lock = field(default_factory=threading.Lock)
    """HeldLease while it is being renewed."""


class Leases:
    """The leases of one store in one process. A thread renews them while there are any."""

    def __init__(self, seconds: float, host: str) -> None:
        self._seconds = seconds
        self._host = host
        self._changed = threading.Condition()
        self._held: set[HeldLease] = set()
        self._thread: tuple[int, threading.Thread] | None = None

    def text(self) -> str:
        """Return the text of a lease that begins now."""
        return lease_text(self._seconds, self._host)

    def hold(self, api: CinderApi, volume: str, name: str) -> HeldLease:
        """Renew a lease that was just written, until ``release``."""
        held = HeldLease(api, volume, name, time.monotonic())
        with self._changed:
            self._held.add(held)
            if self._thread is None or self._thread[0] != os.getpid():
                thread = threading.Thread(target=self._run, name="cinder-leases", daemon=True)
                self._thread = (os.getpid(), thread)
                thread.start()
            self._changed.notify()
        return held

    def release(self, held: HeldLease) -> None:
        """Renew it no more: on return no renewal is under way, which could undo what the caller says next."""
        with self._changed:
            self._held.discard(held)
            self._changed.notify()
        with held.lock:
            return

    def _run(self) -> None:
        pause = self._seconds / _RENEWALS
        while True:
            with self._changed:
                if not self._held:
                    self._thread = None
                    return
                oldest = min(self._held, key=lambda held: held.renewed)
                left = oldest.renewed + pause - time.monotonic()
                if left > 0:
                    self._changed.wait(left)
                    continue
                oldest.renewed = time.monotonic()
            with oldest.lock:
                self._renew(oldest)

    def _renew(self, held: HeldLease) -> None:
        with self._changed:
            if held not in self._held:
                return
        try:
            held.api.set_metadata(held.volume, {held.name: self.text()})
        except StoreError as failed:
            LOG.warning("the lease of the volume %s is not renewed: %s", held.volume, failed)
        except Exception as error:
            LOG.warning("the lease of the volume %s is not renewed: %s", held.volume, type(error).__name__)
