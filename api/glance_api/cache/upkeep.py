"""What the workers of a process do for the cache: fetch queued images, verify copies of unknown origin, clean up."""

import logging
import os
from collections.abc import Callable

from glance_api.cache.facade import CacheDirectory, ImageCache
from glance_api.cache.fill import pieces_of
from glance_api.cache.growing import FillEnd, GrowingFile
from glance_api.cache.locks import CacheLock
from glance_api.cache.wanted import WantedData
from glance_common.digests import Digests
from glance_common.observability.metrics.catalog import CACHE_FILLS

LOG = logging.getLogger(__name__)

_LOOK = 0.05
"""Seconds between two looks at what another process does."""


class CacheUpkeep:
    """Work on ``cache``. Every method raises Unavailable while the cache is off or its disk fails."""

    def __init__(self, cache: ImageCache) -> None:
        self._cache = cache

    def fetch(self, wanted: WantedData) -> bool:
        """Bring an image into the cache and say whether it is there. Raises what the store raises, and Unavailable."""
        with self._cache.using() as parts:
            while not parts.tools.stopping.is_set():
                joined = parts.fills.join(wanted, may_start=True, rate=self._cache.settings.prefetch_rate)
                if joined is None:
                    break
                if self._waited(parts, joined.growing) is not FillEnd.DEAD:
                    # What was verified gets its name while the lock is held.
                    while parts.locks.is_filled(wanted.image_id) and not parts.tools.stopping.wait(_LOOK):
                        pass
                    break
            return self._cache.has(wanted.image_id)

    @staticmethod
    def _waited(parts: CacheDirectory, growing: GrowingFile) -> FillEnd | None:
        try:
            while growing.wait_end(_LOOK) is None and not parts.tools.stopping.is_set():
                pass
            return growing.end
        finally:
            growing.leave()

    def verify(self, wanted: WantedData) -> bool:
        """Say whether the copy of an image is right; one that is not is set aside. Raises Unavailable."""
        with self._cache.using() as parts:
            lock = parts.locks.fill(wanted.image_id)
            try:
                descriptor = parts.layout.open(wanted.image_id) if lock is not None else None
                if descriptor is None:
                    return False
                try:
                    return self._is_right(parts, wanted, descriptor)
                finally:
                    os.close(descriptor)
            finally:
                if lock is not None:
                    lock.close()

    def _is_right(self, parts: CacheDirectory, wanted: WantedData, descriptor: int) -> bool:
        seen = os.fstat(descriptor)
        if parts.records.is_verified(wanted.image_id, seen):
            return True
        digests = Digests([wanted.algorithm])
        try:
            for piece in pieces_of(descriptor, seen.st_size) if seen.st_size == wanted.size else ():
                if parts.tools.stopping.is_set():
                    return False
                digests.update(piece)
            found = digests.finish()[wanted.algorithm]
        finally:
            digests.close()
        if found == wanted.digest and seen.st_size == wanted.size:
            parts.records.verified(wanted.image_id, seen, wanted.checksum)
            LOG.info("the copy of image %s in the cache was found right", wanted.image_id)
            return True
        LOG.error("the copy of image %s in the cache is damaged and set aside", wanted.image_id)
        parts.layout.set_aside(f"{parts.layout.directory}/{wanted.image_id}", seen.st_ino)
        parts.records.forget(wanted.image_id)
        CACHE_FILLS.labels("damaged").inc()
        return False

    def unverified(self) -> list[str]:
        """Return the images whose copies were never verified. Raises Unavailable."""
        with self._cache.using() as parts:
            return [image_id for image_id in parts.records.unverified() if not parts.locks.is_filled(image_id)]

    def next_queued(self, skipped: Callable[[str], bool]) -> tuple[str, CacheLock] | None:
        """Return a queued image that no process fetches, and the right to fetch it until its lock is closed.

        None when there is none but those ``skipped``, or when as many are fetched as may be. Raises Unavailable.
        """
        with self._cache.using() as parts:
            for image_id in parts.queue.ids():
                if self._cache.has(image_id):
                    parts.queue.remove(image_id)
                elif not skipped(image_id) and not parts.locks.is_filled(image_id):
                    slot = parts.locks.slot(self._cache.settings.prefetch_workers)
                    return None if slot is None else (image_id, slot)
            return None

    def postpone(self, image_id: str) -> None:
        """Put a queued image that could not be fetched at the end of the queue. Raises Unavailable."""
        with self._cache.using() as parts:
            parts.queue.postpone(image_id)

    def tidy(self) -> None:
        """Remove what dead processes left, what is too much, and records of copies that are gone.

        Folders that were removed meanwhile are made again. Raises Unavailable.
        """
        with self._cache.using() as parts:
            parts.layout.prepare()
            parts.fills.sweep(self._cache.settings.stall_time)
            parts.records.match()
            lock = parts.locks.room(0.0)
            if lock is not None:
                try:
                    parts.room.prune()
                finally:
                    lock.close()
