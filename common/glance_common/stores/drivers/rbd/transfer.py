"""Reads and writes of an open image that are under way while their caller does something else."""

import threading
from typing import Any

from glance_common.stores.drivers.rbd import errors
from glance_common.stores.drivers.rbd.cluster import Pool


class Transfer:
    """One read or write. Ceph's library calls it when it ends, from a thread of its own."""

    def __init__(self, pool: Pool, operation: str, seconds: float) -> None:
        """``seconds`` are counted from the beginning of ``result``."""
        self._pool = pool
        self._operation = operation
        self._seconds = seconds
        self._ended = threading.Event()
        self._number = 0
        self._data: bytes | None = None

    def __call__(self, completion: Any, data: bytes | None = None) -> None:
        """Take the result."""
        self._number = completion.get_return_value()
        self._data = data
        self._ended.set()

    def result(self) -> bytes | None:
        """Wait for the end and return the data of a read. Raises StoreUnavailable, StoreFull."""
        if not self._ended.wait(self._seconds):
            raise errors.too_slow(self._operation, self._pool.place)
        if self._number < 0:
            failed = errors.of_number(-self._number, "failed", self._operation, self._pool.place)
            raise self._pool.judged(failed)
        data, self._data = self._data, None
        return data
