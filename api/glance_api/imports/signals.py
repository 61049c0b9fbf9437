"""How requests and workers of one process reach each other."""

import threading
import time
from collections.abc import Collection
from uuid import uuid4

from glance_api.clients.key_manager import Credentials

NEW = 60.0
"""Seconds within which the registry has surely heard of an operation or its request has failed."""

MAX_KEPT = 1000
"""Operations whose tokens one process keeps; some kilobytes each."""


class WorkSignal:
    """Wakes the workers of this process, and keeps for them what must never be written down.

    A token of a user lives in this memory only. The operation that needs it is therefore bound to ``process``, the name
    of this process among all that claim operations.
    """

    def __init__(self) -> None:
        self.process = f"process:{uuid4()}"
        self.event = threading.Event()
        self._kept: dict[str, tuple[Credentials, float]] = {}
        self._lock = threading.Lock()

    def wake(self) -> None:
        """Say that there is something to do now."""
        self.event.set()

    def keep(self, operation_id: str, credentials: Credentials) -> None:
        """Keep what proves to another region who asked for the operation; the oldest are lost beyond ``MAX_KEPT``."""
        with self._lock:
            while len(self._kept) >= MAX_KEPT:
                del self._kept[next(iter(self._kept))]
            self._kept[operation_id] = (credentials, time.monotonic())

    def kept(self, operation_id: str) -> Credentials | None:
        """Return what was kept for the operation, None when this process knows nothing of it."""
        with self._lock:
            return self._kept[operation_id][0] if operation_id in self._kept else None

    @property
    def keeps(self) -> bool:
        """Whether operations wait that only this process can do."""
        with self._lock:
            return bool(self._kept)

    def forget_all_but(self, live: Collection[str]) -> None:
        """Drop what was kept for operations that others ended. What was just kept may not be made yet."""
        with self._lock:
            old = time.monotonic() - NEW
            for operation in [each for each, (_, since) in self._kept.items() if since < old and each not in live]:
                del self._kept[operation]

    def forget(self, operation_id: str) -> None:
        """Drop what was kept for the operation."""
        with self._lock:
            self._kept.pop(operation_id, None)
