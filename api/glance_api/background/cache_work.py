"""The work of this node's image cache: verify copies of unknown origin, fetch queued images, clean up."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from uuid import uuid4

from glance_api.background.pool import PoolWork, StopSign, WorkerPool
from glance_api.cache.facade import ImageCache
from glance_api.cache.locks import CacheLock
from glance_api.cache.upkeep import CacheUpkeep
from glance_api.cache.wanted import WantedData
from glance_api.imports.signals import WorkSignal
from glance_api.services import cached_data
from glance_api.services.collaborators import Services
from glance_common.model.context import system_context
from glance_common.model.errors import GlanceError, NotFound
from glance_common.model.image import Image
from glance_common.stores.contract import StoreError

LOG = logging.getLogger(__name__)

TIDY_EVERY = 60.0
"""Seconds between two looks for what dead processes left and for copies that were never verified."""

RETRY_AFTER = 60.0
"""Seconds until a queued image that could not be fetched is tried again by this process."""


@dataclass(frozen=True, slots=True)
class CacheJob:
    """An image to fetch, under a right of this node to fetch one (``slot``), or a copy to verify.

    ``wanted`` is known when a reader has met the copy.
    """

    image_id: str
    slot: CacheLock | None = None
    wanted: WantedData | None = None


def build_cache_pool(services: Services, cache: ImageCache, stopping: Callable[[], bool]) -> WorkerPool[CacheJob]:
    """Return the workers of this process for the image cache, not started yet."""
    signal = WorkSignal()
    cache.wake = signal.wake
    duties = CacheDuties(services, cache)
    work = PoolWork(duties.claim, duties.run, duties.leave, housekeeping=duties.housekeeping)
    # One thread more than may fetch, so that a copy is verified while queued images are fetched.
    size = cache.settings.prefetch_workers + 1
    return WorkerPool(work, size=size, signal=signal, stop=StopSign(stopping))


class CacheDuties:
    """What one process does for the cache, as a pool asks for it."""

    def __init__(
        self, services: Services, cache: ImageCache, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._services = services
        self._cache = cache
        self._upkeep = CacheUpkeep(cache)
        self._clock = clock
        self._tidy_at = float("-inf")
        self._unverified: list[str] = []
        self._not_before: dict[str, float] = {}

    def housekeeping(self) -> None:
        """Switch the cache on once its directory can be used, record hits, clean up now and then."""
        if not self._cache.open():
            return
        self._cache.flush()
        now = self._clock()
        if now >= self._tidy_at:
            self._tidy_at = now + TIDY_EVERY
            self._upkeep.tidy()
            self._unverified = self._upkeep.unverified()
            self._not_before = {image_id: at for image_id, at in self._not_before.items() if at > now}

    def claim(self) -> CacheJob | None:
        """Return what is to be done next, None when there is nothing. Raises Unavailable."""
        if not self._cache.is_open:
            return None
        wanted = self._cache.doubtful()
        if wanted is not None:
            return CacheJob(wanted.image_id, wanted=wanted)
        if self._unverified:
            return CacheJob(self._unverified.pop())
        queued = self._upkeep.next_queued(lambda image_id: self._not_before.get(image_id, 0.0) > self._clock())
        return None if queued is None else CacheJob(*queued)

    def run(self, job: CacheJob) -> None:
        """Do it. What fails is logged and done again later."""
        try:
            if job.slot is None:
                self._verify(job)
            else:
                self.fetch(job.image_id)
        except (GlanceError, StoreError) as error:
            self._put_off(job.image_id, str(error))
        finally:
            self.leave(job)

    def fetch(self, image_id: str) -> bool:
        """Fetch a queued image; False when it is to be tried again later, with the reason in the log.

        One that can never be fetched leaves the queue. Raises Unavailable when the cache cannot be used any more.
        """
        try:
            is_there = self._fetch(image_id)
        except (GlanceError, StoreError) as error:
            self._put_off(image_id, str(error))
            return False
        if is_there:
            self._cache.drop_queued(image_id)
        else:
            self._put_off(image_id, "it cannot be kept now")
        return is_there

    def leave(self, job: CacheJob) -> None:
        """Give the right to the job back."""
        if job.slot is not None:
            job.slot.close()

    def _put_off(self, image_id: str, reason: str) -> None:
        LOG.warning("image cache: image %s: %s; it is tried again", image_id, reason)
        self._not_before[image_id] = self._clock() + RETRY_AFTER
        if self._cache.is_open:
            self._upkeep.postpone(image_id)

    def _verify(self, job: CacheJob) -> None:
        wanted = job.wanted
        if wanted is None:
            image = self._image(job.image_id)
            if image is None:
                LOG.info("the copy of image %s leaves the image cache: the image is gone", job.image_id)
                self._cache.drop(job.image_id)
                return
            wanted = cached_data.wanted(self._services, image)
        if wanted is not None:
            self._upkeep.verify(wanted)

    def _fetch(self, image_id: str) -> bool:
        """Say whether nothing is left to do: the image is there, or can never be."""
        image = self._image(image_id)
        wanted = None if image is None else cached_data.wanted(self._services, image)
        if wanted is None or wanted.size > self._cache.settings.max_size:
            LOG.warning(
                "queued image %s is not fetched: it is not active, no digest of it is known, or it is larger than "
                "image_cache_max_size", image_id,
            )
            return True
        return self._upkeep.fetch(wanted)

    def _image(self, image_id: str) -> Image | None:
        try:
            return self._services.registry.images.get(system_context(f"req-{uuid4()}"), image_id, locations=True)
        except NotFound:
            return None
