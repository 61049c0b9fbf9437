"""What the monitor of the registry watches: the database, and how the purge of data gets on."""

from collections.abc import Iterator

import sqlalchemy as sa
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from glance_common.monitor.monitor import Watched
from glance_common.monitor.probes import Probe
from glance_registry.db.session import read
from glance_registry.locations import orphans, purge, quarantine
from glance_registry.readiness import Readiness

BACKLOG_SECONDS = 10.0


def watched(engine: sa.Engine, replica: sa.Engine | None = None) -> Watched:
    """Return the probes; they may hold two connections of ``engine`` at a time, and one of ``replica``.

    Both engines are closed at the end.
    """
    backlog, readiness = _Backlog(engine), Readiness(engine)

    def check_primary() -> None:
        check_database(engine)
        readiness.check()

    probes = [
        Probe("database", "postgresql", check_primary, essential=True),
        Probe("deletions", "due rows", backlog.ask, interval=BACKLOG_SECONDS),
    ]
    closers = [engine.dispose]
    if replica is not None:
        probes.append(Probe("database", "replica", lambda: check_database(replica)))
        closers.append(replica.dispose)
    return Watched(probes=tuple(probes), collectors=(backlog,), closers=tuple(closers))


def check_database(engine: sa.Engine) -> None:
    """Raise Unavailable unless the database answers."""
    read(engine, _ping)


def _ping(connection: sa.Connection) -> None:
    connection.execute(sa.text("SELECT 1")).scalar_one()


class _Backlog(Collector):
    """Numbers about the rows that wait for a scrubber; the last answer of the database, none while it is away."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._last: purge.Backlog | None = None
        self._quarantined = 0
        self._orphans = 0

    def ask(self) -> None:
        """Ask the database. Raises Unavailable."""
        self._last = None
        self._quarantined = read(self._engine, quarantine.count)
        self._orphans = read(self._engine, orphans.count)
        self._last = read(self._engine, purge.backlog)

    def collect(self) -> Iterator[Metric]:
        """See the base class."""
        last = self._last
        if last is None:
            return
        yield GaugeMetricFamily(
            "glance_deletions_due", "Locations whose data a scrubber should remove now.", value=last.due
        )
        yield GaugeMetricFamily(
            "glance_deletions_oldest_due_seconds", "For how long the longest waiting of them has been due.",
            value=last.oldest,
        )
        yield GaugeMetricFamily(
            "glance_deletions_failed", "Removals given up until an operator replays them.", value=last.failed
        )
        yield GaugeMetricFamily(
            "glance_quarantined", "Copies of images that were found damaged or missing, until an operator decides.",
            value=self._quarantined,
        )
        yield GaugeMetricFamily(
            "glance_orphans", "Objects in stores that no image owns, until an operator decides.", value=self._orphans
        )
