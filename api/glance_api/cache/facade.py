"""The image cache as the services, the workers and the tools use it."""

import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from glance_api.cache import index
from glance_api.cache.fill import FillTools
from glance_api.cache.fills import Fills
from glance_api.cache.index.contract import CacheIndex
from glance_api.cache.layout import CacheLayout, unlinked
from glance_api.cache.locks import CacheLock, Locks
from glance_api.cache.queue import PrefetchQueue
from glance_api.cache.reading import CopyBlob, FollowedBlob
from glance_api.cache.records import CacheRecords
from glance_api.cache.room import CacheRoom
from glance_api.cache.settings import CacheSettings
from glance_api.cache.wanted import CachedImage, Pruned, WantedData, is_cacheable
from glance_common.model.errors import BadRequest, Unavailable
from glance_common.observability.metrics.catalog import CACHE_READS
from glance_common.registry_client.cached_copies import CachedCopiesClient
from glance_common.stores.contract import Blob

LOG = logging.getLogger(__name__)

FAR = 32 * 1024 * 1024
"""Bytes that a fill may lack for a range that waits for it; a reader of what lies farther reads the store at once."""


_MOST_DOUBTFUL = 1000
_ROOM_PATIENCE = 10.0


class CacheDirectory:
    """The parts over one directory that this process may use, for as long as it holds ``lock``."""

    def __init__(
        self, settings: CacheSettings, layout: CacheLayout, locks: Locks, lock: CacheLock, found: CacheIndex
    ) -> None:
        self.layout = layout
        self.locks = locks
        self.lock = lock
        self.records = CacheRecords(layout, found)
        self.room = CacheRoom(layout, self.records, settings.max_size)
        self.queue = PrefetchQueue(layout)
        self.tools = FillTools(layout, locks, self.records, threading.Event())
        self.fills = Fills(self.tools, self.room, settings.max_fills)


class ImageCache:
    """The cache of this node, in one process. It is off until ``open`` found the directory good.

    What readers call (``read``, ``drop`` at a delete) never fails because of the cache. The functions of the API and
    the tools raise Unavailable while the cache is off or its disk fails.
    """

    def __init__(self, settings: CacheSettings, copies: CachedCopiesClient | None = None) -> None:
        """Touch nothing yet. ``copies`` reaches the registry, for ``image_cache_driver = centralized_db``."""
        self.settings = settings
        self._copies = copies
        self.wake: Callable[[], None] = lambda: None
        """Tells the workers of this process that there is something to do."""
        self._parts: CacheDirectory | None = None
        self._said: str | None = None
        self._lock = threading.Lock()
        self._doubtful: dict[str, WantedData] = {}

    @property
    def is_open(self) -> bool:
        """Whether the cache is used now."""
        return self._parts is not None

    def open(self) -> bool:
        """Take the directory for this node; False when it cannot be used, which is logged when the reason is new."""
        if self._parts is not None:
            return True
        settings = self.settings
        layout, locks = CacheLayout(settings.directory), Locks(CacheLayout(settings.directory).locks)
        try:
            layout.prepare()
            lock, owner = locks.node(settings.node)
        except OSError as error:
            return self._off(f"{error.strerror}: {error.filename or settings.directory}")
        if lock is None:
            return self._off(
                f"it belongs to the node {owner}, which uses it now; this node is {settings.node}. Each node needs an "
                "image_cache_dir of its own"
            )
        self._parts = CacheDirectory(settings, layout, locks, lock, index.choose(settings, self._copies))
        self._said = None
        LOG.info("image cache in %s, at most %d bytes", settings.directory, settings.max_size)
        return True

    def _off(self, reason: str) -> bool:
        if reason != self._said:
            self._said = reason
            LOG.error(
                "image_cache_dir %s cannot be used: %s. Images are read from their stores",
                self.settings.directory, reason,
            )
        return False

    def interrupt(self) -> None:
        """Have the fills and the work of this process end soon; ``close`` is called next."""
        if self._parts is not None:
            self._parts.tools.stopping.set()

    def close(self) -> None:
        """End the fills of this process, record the hits, and give the directory back."""
        parts, self._parts = self._parts, None
        if parts is not None:
            parts.fills.stop()
            parts.records.flush()
            parts.lock.close()

    # --- readers ---

    def copy(self, wanted: WantedData, part: tuple[int, int] | None) -> Blob | None:
        """Return the data, or the part (offset, length) of them, when a whole copy is there; None otherwise.

        It is no hit: for readers who only look.
        """
        parts = self._parts
        if parts is None or not is_cacheable(wanted.image_id):
            return None
        return self._copy(parts, wanted, part, is_hit=False)

    def read(self, wanted: WantedData, part: tuple[int, int] | None, *, waits: bool = True) -> Blob | None:
        """Return the data, or the part (offset, length) of them, from the cache; None when the store is to be read.

        A reader of the whole begins a copy that others can follow. Raises only what the store raises when it is opened
        for that, or has given wrong data. The blob verifies what it gives by itself. Unless the caller ``waits``, its
        thread waits for no store, and no byte of a copy that is being made need be there yet.
        """
        parts = self._parts
        if parts is None or not is_cacheable(wanted.image_id):
            return None
        found = self._copy(parts, wanted, part)
        if found is None and not self._is_to_be_verified(parts, wanted):
            # Another process may finish between the two looks for a copy.
            found = self._followed(parts, wanted, part, waits) or self._copy(parts, wanted, part)
        if found is None:
            CACHE_READS.labels("bypass").inc()
        return found

    def _copy(
        self, parts: CacheDirectory, wanted: WantedData, part: tuple[int, int] | None, *, is_hit: bool = True
    ) -> Blob | None:
        descriptor = None
        try:
            descriptor = parts.layout.open(wanted.image_id)
            if descriptor is None:
                return None
            seen = os.fstat(descriptor)
            if seen.st_size == wanted.size and parts.records.is_verified(wanted.image_id, seen):
                if is_hit:
                    parts.layout.used_now(descriptor)
                    parts.records.used(wanted.image_id)
                    CACHE_READS.labels("hit").inc()
                offset, length = part or (0, None)
                taken, descriptor = descriptor, None
                return CopyBlob(taken, f"{parts.layout.directory}/{wanted.image_id}", offset, length)
        except OSError as error:
            LOG.warning("image %s cannot be read from the cache: %s", wanted.image_id, error.strerror)
        finally:
            if descriptor is not None:
                os.close(descriptor)
        return None

    def _is_to_be_verified(self, parts: CacheDirectory, wanted: WantedData) -> bool:
        """Say whether a copy is there that may be right and was never verified; the workers are told of it."""
        try:
            seen = os.stat(f"{parts.layout.directory}/{wanted.image_id}", follow_symlinks=False)
        except OSError:
            return False
        if seen.st_size != wanted.size or parts.records.is_verified(wanted.image_id, seen):
            return False
        with suppress(OSError):
            if parts.locks.is_verified(wanted.image_id):
                # It has its name already, and is recorded in a moment.
                return False
        with self._lock:
            if len(self._doubtful) < _MOST_DOUBTFUL:
                self._doubtful[wanted.image_id] = wanted
        self.wake()
        return True

    def _followed(
        self, parts: CacheDirectory, wanted: WantedData, part: tuple[int, int] | None, waits: bool
    ) -> Blob | None:
        offset, length = part or (0, wanted.size)
        joined = parts.fills.join(wanted, may_start=part is None, waits=waits)
        if joined is None:
            return None
        if part is not None and offset > joined.growing.size + FAR:
            joined.growing.leave()
            return None
        blob = FollowedBlob(
            wanted, joined.growing, (offset, length), self.settings.patience,
            lambda left: parts.fills.rejoin(wanted, left),
        )
        try:
            # Who began the fill has opened the store; the others wait here, so that a failure has a status of its own.
            if waits and not joined.is_new and not blob.wait_first():
                blob.close()
                return None
        except BaseException:
            blob.close()
            raise
        CACHE_READS.labels("miss" if joined.is_new else "follower").inc()
        return blob

    def forget(self, image_id: str) -> None:
        """Remove what is there of an image that was deleted. Never fails."""
        with suppress(Unavailable):
            if is_cacheable(image_id) and self._parts is not None:
                self.drop(image_id)
                self.drop_queued(image_id)

    # --- API and tools; all raise Unavailable ---

    def cached(self) -> list[CachedImage]:
        """Return the whole copies, by image id."""
        with self.using() as parts:
            return parts.records.entries()

    def queued(self) -> list[str]:
        """Return the queued images, the oldest first."""
        with self.using() as parts:
            return parts.queue.ids()

    def has(self, image_id: str) -> bool:
        """Say whether there is a whole copy, verified or not."""
        with self.using() as parts:
            return is_cacheable(image_id) and parts.layout.inode_of(f"{parts.layout.directory}/{image_id}") is not None

    def queue(self, image_id: str) -> bool:
        """Have an image fetched soon; False when it is there or queued already. Raises BadRequest for no UUID."""
        if not is_cacheable(image_id):
            raise BadRequest(f"{image_id[:80]!r} is not the id of an image")
        with self.using() as parts:
            if self.has(image_id) or not parts.queue.add(image_id):
                return False
        self.wake()
        return True

    def drop(self, image_id: str) -> bool:
        """Remove the copy of an image; False when there was none. Readers read on."""
        with self.using() as parts:
            if not is_cacheable(image_id) or not parts.layout.remove(image_id):
                return False
            parts.records.forget(image_id)
            return True

    def drop_queued(self, image_id: str) -> bool:
        """Take an image out of the queue; False when it was not in it."""
        with self.using() as parts:
            return is_cacheable(image_id) and parts.queue.remove(image_id)

    def clear(self) -> int:
        """Remove all copies and return how many there were; readers read on."""
        with self.using() as parts:
            return sum(self.drop(file.image_id) for file in parts.layout.copies())

    def clear_queue(self) -> int:
        """Empty the queue and return how many images were in it."""
        with self.using() as parts:
            return sum(parts.queue.remove(image_id) for image_id in parts.queue.ids())

    def prune(self) -> Pruned:
        """Remove the least recently used copies until ``image_cache_max_size`` holds; return what went."""
        with self.using() as parts:
            lock = parts.locks.room(_ROOM_PATIENCE)
            if lock is None:
                raise Unavailable("the image cache makes room for others at this moment")
            try:
                return parts.room.prune()
            finally:
                lock.close()

    def clean(self) -> int:
        """Remove what was set aside, what dead processes left and what does not grow any more; return how many."""
        with self.using() as parts:
            count = sum(unlinked(f"{parts.layout.invalid}/{file.image_id}") for file in parts.layout.damaged())
            return count + parts.fills.sweep(self.settings.stall_time, of_others=True)

    @contextmanager
    def using(self) -> Iterator[CacheDirectory]:
        """Give the parts of the cache to the block. Raises Unavailable while the cache is off or its disk fails."""
        parts = self._parts
        if parts is None:
            raise Unavailable("the image cache cannot be used now")
        try:
            yield parts
        except OSError as error:
            LOG.error("the image cache cannot be used: %s: %s", error.filename, error.strerror)
            raise Unavailable("the directory of the image cache cannot be used now") from error

    # --- workers; see ``CacheUpkeep`` ---

    def doubtful(self) -> WantedData | None:
        """Return data of which readers have met a copy that was never verified; None when they met none."""
        with self._lock:
            return self._doubtful.pop(next(iter(self._doubtful)), None) if self._doubtful else None

    def flush(self) -> None:
        """Record the hits of this process."""
        if self._parts is not None:
            self._parts.records.flush()
