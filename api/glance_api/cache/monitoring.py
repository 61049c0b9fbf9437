"""What the monitor process tells of the cache: whether its directory can be used, and how full it is."""

import time
from collections.abc import Iterator
from contextlib import suppress

from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from glance_api.cache.layout import CacheLayout
from glance_api.cache.locks import Locks
from glance_api.cache.queue import PrefetchQueue
from glance_api.cache.settings import CacheSettings
from glance_common.model.errors import Unavailable


def check(settings: CacheSettings) -> None:
    """Raise Unavailable with the reason when the directory cannot be used now."""
    layout = CacheLayout(settings.directory)
    try:
        layout.prepare()
        lock, owner = Locks(layout.locks).node(settings.node)
    except OSError as error:
        raise Unavailable(f"{error.filename or settings.directory}: {error.strerror}") from error
    if lock is None:
        raise Unavailable(f"{settings.directory} belongs to the node {owner}")
    lock.close()


class CacheNumbers(Collector):
    """How full the cache of this node is, by a look at its directory."""

    def __init__(self, settings: CacheSettings) -> None:
        self._settings = settings
        self._layout = CacheLayout(settings.directory)

    def collect(self) -> Iterator[Metric]:
        """See the base class; the numbers but the limit are missing while the directory cannot be read."""
        used = GaugeMetricFamily(
            "glance_cache_size_bytes", "Bytes of the image cache: whole copies, unfinished ones with the room set "
            "aside for them (incomplete), damaged ones (invalid), and image_cache_max_size (limit).", labels=["kind"],
        )
        files = GaugeMetricFamily(
            "glance_cache_images", "Images in the cache, being copied, set aside as invalid, and queued.",
            labels=["kind"],
        )
        age = GaugeMetricFamily(
            "glance_cache_oldest_use_seconds", "Seconds since the copy was used that leaves the cache next.",
            labels=["kind"],
        )
        used.add_metric(["limit"], self._settings.max_size)
        with suppress(OSError):
            self._measure(used, files, age)
        yield from (used, files, age)

    def _measure(self, used: GaugeMetricFamily, files: GaugeMetricFamily, age: GaugeMetricFamily) -> None:
        copies = self._layout.copies()
        others = (("incomplete", self._layout.unfinished()), ("invalid", self._layout.damaged()))
        files.add_metric(["queued"], len(PrefetchQueue(self._layout).ids()))
        for kind, found in (("copy", copies), *others):
            used.add_metric([kind], sum(file.taken for file in found))
            files.add_metric([kind], len(found))
        if copies:
            age.add_metric(["copy"], max(time.time() - min(file.accessed for file in copies), 0.0))
