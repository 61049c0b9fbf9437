"""The size of the cache: what has to go so that a new copy fits.

The order comes from the files themselves (a hit sets their time of access), so that it holds without an index. A copy
that is read has a lock on it, in any process, and stays.
"""

import fcntl
import logging
import os
from contextlib import suppress

from glance_api.cache.layout import CacheFile, CacheLayout
from glance_api.cache.records import CacheRecords
from glance_api.cache.wanted import Pruned
from glance_common.observability.metrics.catalog import CACHE_EVICTIONS

LOG = logging.getLogger(__name__)


class CacheRoom:
    """Keeps the directory within ``limit`` bytes. One process at a time may use it: hold ``Locks.room``."""

    def __init__(self, layout: CacheLayout, records: CacheRecords, limit: int) -> None:
        self.limit = limit
        self._layout = layout
        self._records = records

    def make(self, size: int, image_id: str = "") -> bool:
        """Remove copies until ``size`` more bytes fit; False when they cannot, and nothing goes that need not.

        ``image_id`` names the image that is to come: what is there of it does not count. Raises OSError.
        """
        if size > self.limit:
            return False
        coming = sum(file.taken for file in self._layout.unfinished() if file.image_id != image_id)
        copies = [file for file in self._layout.copies() if file.image_id != image_id]
        set_aside = self._layout.damaged()
        used = coming + sum(file.taken for file in copies) + sum(file.taken for file in set_aside)
        if coming + size > self.limit:
            return False
        _, left = self._shrink(copies, set_aside, used, self.limit - size)
        # Copies that are read stay: the directory may exceed the limit by one new copy until they can go.
        return left <= self.limit

    def prune(self) -> Pruned:
        """Remove what is too much. Raises OSError."""
        copies, set_aside = self._layout.copies(), self._layout.damaged()
        used = sum(file.taken for file in (*copies, *set_aside, *self._layout.unfinished()))
        return self._shrink(copies, set_aside, used, self.limit)[0]

    def _shrink(
        self, copies: list[CacheFile], set_aside: list[CacheFile], used: int, limit: int
    ) -> tuple[Pruned, int]:
        """Remove what may go until ``limit`` holds; return what went, and the bytes that are left."""
        files = size = 0
        for file in sorted(set_aside, key=lambda each: each.modified):
            if used <= limit:
                break
            with suppress(FileNotFoundError):
                os.unlink(f"{self._layout.invalid}/{file.image_id}")
            used -= file.taken
        for file in sorted(copies, key=lambda each: each.accessed):
            if used <= limit:
                break
            if self._evict(file.image_id):
                used, files, size = used - file.taken, files + 1, size + file.size
        return Pruned(files, size), used

    def _evict(self, image_id: str) -> bool:
        """Remove a copy unless it is read now."""
        descriptor = self._layout.open(image_id)
        if descriptor is None:
            return True
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._layout.remove(image_id)
        except BlockingIOError:
            return False
        finally:
            os.close(descriptor)
        self._records.forget(image_id)
        CACHE_EVICTIONS.labels("size").inc()
        LOG.info("image %s leaves the image cache: others were used later", image_id)
        return True
