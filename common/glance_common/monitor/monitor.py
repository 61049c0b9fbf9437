"""Probes and exporter together: what one process of a daemon runs so that operators see the whole of it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from glance_common.monitor.exporter import Address, Exporter
from glance_common.monitor.probes import Finding, Health, Probe

UP = "glance_dependency_up"


@dataclass(frozen=True, slots=True)
class Watched:
    """What a daemon depends on: the probes, collectors of further facts, and what closes their connections."""

    probes: Sequence[Probe]
    collectors: Sequence[Collector] = ()
    closers: Sequence[Callable[[], None]] = field(default=())


class Monitor:
    """Runs the probes, and serves what they and ``numbers`` say at ``address`` (None = nowhere)."""

    def __init__(
        self,
        watched: Watched,
        address: Address | None,
        numbers: CollectorRegistry,
        before: Callable[[], None] = lambda: None,
    ) -> None:
        """``before`` is called ahead of each collection of ``numbers``."""
        self._watched = watched
        self.health = Health(watched.probes)
        own = CollectorRegistry()
        own.register(_Up(self.health.findings))
        for collector in watched.collectors:
            own.register(collector)
        self._exporter = Exporter(address, (numbers, own), self.health.document, before) if address else None

    def start(self) -> None:
        """Start the threads."""
        self.health.start()
        if self._exporter is not None:
            self._exporter.start()

    def stop(self) -> None:
        """Stop listening and asking."""
        if self._exporter is not None:
            self._exporter.stop()
        self.health.stop()
        for close in self._watched.closers:
            close()


class _Up(Collector):
    """1 for each dependency that works, 0 for one that does not; what is not known yet is left out."""

    def __init__(self, findings: Callable[[], list[Finding]]) -> None:
        self._findings = findings

    def collect(self) -> Iterator[Metric]:
        """See the base class."""
        family = GaugeMetricFamily(UP, "Whether a dependency works (1) or not (0).", labels=["kind", "name"])
        for finding in self._findings():
            if finding.ok is not None:
                family.add_metric([finding.probe.kind, finding.probe.name], float(finding.ok))
        yield family
