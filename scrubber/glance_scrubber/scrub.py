"""The removals of this process: how many run at the same time, what is counted and what is logged."""

import logging
import threading
from collections.abc import Collection
from dataclasses import dataclass
from functools import partial
from uuid import uuid4

from glance_common.leases import LeaseKeeper
from glance_common.model.context import system_context
from glance_common.observability.log_context import working_for
from glance_common.observability.metrics.catalog import REMOVALS
from glance_common.purge import Outcome, Purged, Purger
from glance_common.registry_client.deletions import DeletionsClient
from glance_common.stores.loader import Stores
from glance_scrubber import outcomes

LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ScrubSettings:
    """``lease`` is in seconds; ``scrub_time`` are the seconds that images deleted with a delay wait at least.

    ``max_attempts`` failures end a removal; ``pool_size`` removals run at the same time.
    """

    lease: int
    scrub_time: int
    max_attempts: int
    pool_size: int


@dataclass(frozen=True, slots=True)
class Result:
    """How one location ended; ``down`` is its store when nothing can be removed from there now."""

    outcome: Outcome
    down: str | None = None


class Scrubber:
    """Purges locations for the queue and the sweep, at most ``pool_size`` at the same time.

    Begins nothing new once ``stop`` is set, also for those that have waited for their turn.
    """

    def __init__(
        self, deletions: DeletionsClient, stores: Stores, settings: ScrubSettings, stop: threading.Event
    ) -> None:
        self.settings = settings
        self.stores = stores
        self._stop = stop
        self._purger = Purger(
            deletions, stores.get, partial(outcomes.failed, max_attempts=settings.max_attempts),
            LeaseKeeper(settings.lease),
        )
        self._slots = threading.BoundedSemaphore(settings.pool_size)

    def scrub(
        self, location: str, token: str, *, request_id: str | None = None, stores: Collection[str] | None = None
    ) -> Result:
        """Purge ``location`` when it is due, not claimed by another, and in one of ``stores``.

        Without ``stores``: in any configured one. Raises GlanceError when the registry cannot be asked or did not
        confirm what was told; call again with the same token then.
        """
        identifier = request_id or f"req-{uuid4()}"
        allowed = list(self.stores.ids if stores is None else stores)
        with self._slots, working_for(identifier):
            if self._stop.is_set():
                return Result(Outcome.STOPPED)
            purged = self._purger.purge(
                system_context(identifier), location, token, stores=allowed, scrub_time=self.settings.scrub_time
            )
            if purged is None:
                LOG.debug("location %s is not ours to remove now", location)
                return Result(Outcome.NOT_OURS)
            REMOVALS.labels(purged.deletion.store, purged.outcome.name.lower()).inc()
            with working_for(purged.deletion.request_id or identifier):
                _log(purged)
            return Result(purged.outcome, purged.deletion.store if purged.verdict.store_down else None)


def _log(purged: Purged) -> None:
    deletion, verdict, outcome = purged.deletion, purged.verdict, purged.outcome
    facts = {
        "image": deletion.image_id, "location": deletion.location, "store": deletion.store,
        "ms": round(purged.seconds * 1000, 1),
    }
    if verdict.error:
        facts |= {"attempts": deletion.attempts + 1, "error": verdict.error}
    level = {Outcome.RETRY: logging.WARNING, Outcome.FAILED: logging.ERROR}.get(outcome, logging.INFO)
    LOG.log(level, "removal: %s", outcome.value, extra=facts)
