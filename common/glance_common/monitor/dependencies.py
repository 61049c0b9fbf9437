"""The probes that several daemons have."""

from collections.abc import Iterable, Iterator

from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from glance_common.delete_queue.depth import QueueDepth
from glance_common.monitor.monitor import Watched
from glance_common.monitor.probes import Probe
from glance_common.registry_client import RegistryClient
from glance_common.stores.contract import Store

BROKER_SECONDS = 5.0
STORE_SECONDS = 5.0


def watched(registry: RegistryClient, stores: Iterable[Store], queue: QueueDepth) -> Watched:
    """Return what API and scrubber depend on: without the registry they can do nothing, without a store they can."""
    return Watched(
        probes=(
            Probe("registry", "registry", registry.http.check, essential=True),
            Probe("broker", "delete queue", queue.ask, interval=BROKER_SECONDS),
            *(Probe("store", store.id, store.check, interval=STORE_SECONDS) for store in stores),
        ),
        collectors=(_Depth(queue),),
        closers=(registry.close, queue.close),
    )


class _Depth(Collector):
    def __init__(self, queue: QueueDepth) -> None:
        self._queue = queue

    def collect(self) -> Iterator[Metric]:
        """See the base class."""
        family = GaugeMetricFamily(
            "glance_delete_queue_messages", "Messages in the delete queue at the broker.", labels=["queue"]
        )
        if self._queue.messages is not None:
            family.add_metric(["delete"], self._queue.messages)
        yield family
