"""The removals of this process: how many run at the same time, what is counted and what is logged."""

import logging
import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial
from uuid import uuid4

from glance_common.leases import LeaseKeeper
from glance_common.model.context import system_context
from glance_common.model.errors import GlanceError
from glance_common.observability import log_context
from glance_common.observability.log_context import working_for
from glance_common.observability.metrics.catalog import REMOVALS
from glance_common.purge import Outcome, Purged, Purger
from glance_common.registry_client.deletions import DeletionsClient
from glance_common.stores.loader import Stores
from glance_scrubber import outcomes
from glance_scrubber.batch import BatchPurger

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

    @property
    def is_left(self) -> bool:
        """Whether any process may begin with it at once: it was given back only because those before it took long."""
        return self.outcome is Outcome.RELEASED and self.down is None


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
        leases, on_failure = LeaseKeeper(settings.lease), partial(outcomes.failed, max_attempts=settings.max_attempts)
        self._purger = Purger(deletions, stores.get, on_failure, leases)
        self._batches = BatchPurger(deletions, stores.get, on_failure, leases)
        self._slots = threading.BoundedSemaphore(settings.pool_size)

    def scrub(
        self, location: str, token: str, *, request_id: str | None = None, stores: Collection[str] | None = None
    ) -> Result:
        """Purge ``location`` when it is due, not claimed by another, and in one of ``stores``.

        Without ``stores``: in any configured one. Raises GlanceError when the registry cannot be asked or did not
        confirm what was told; call again with the same token then.
        """
        identifier = request_id or f"req-{uuid4()}"
        with self._slots, working_for(identifier):
            if self._stop.is_set():
                return Result(Outcome.STOPPED)
            purged = self._purger.purge(
                system_context(identifier), location, token, stores=self._allowed(stores),
                scrub_time=self.settings.scrub_time,
            )
            return _told(location, purged)

    def scrub_many(
        self,
        locations: Sequence[str],
        token: str,
        *,
        request_id: str | None = None,
        stores: Collection[str] | None = None,
    ) -> dict[str, Result]:
        """Purge at most ``batch.MOST`` different locations with few calls; return how each ended. Else as ``scrub``.

        A defect in one of them does not stop the others.
        """
        identifier = request_id or f"req-{uuid4()}"
        if len(locations) == 1:
            return {locations[0]: self._alone(locations[0], token, identifier, stores)}
        with self._slots, working_for(identifier):
            if self._stop.is_set():
                return dict.fromkeys(locations, Result(Outcome.STOPPED))
            try:
                ended = self._batches.purge(
                    system_context(identifier), locations, token, stores=self._allowed(stores),
                    scrub_time=self.settings.scrub_time, is_over=self._stop.is_set,
                )
            except GlanceError:
                raise
            except Exception:
                LOG.exception("%d locations could not be scrubbed together", len(locations))
            else:
                by_location = {purged.deletion.location: purged for purged in ended}
                return {location: _told(location, by_location.get(location)) for location in locations}
        return {location: self._alone(location, token, identifier, stores) for location in locations}

    def _alone(self, location: str, token: str, identifier: str, stores: Collection[str] | None) -> Result:
        try:
            return self.scrub(location, token, request_id=identifier, stores=stores)
        except GlanceError:
            raise
        except Exception:
            # The row is still there, and a later sweep will meet it.
            LOG.exception("location %s could not be scrubbed", location)
            return Result(Outcome.BROKEN)

    def _allowed(self, stores: Collection[str] | None) -> list[str]:
        return list(self.stores.ids if stores is None else stores)


def _told(location: str, purged: Purged | None) -> Result:
    """Count and log how a purge ended, and return it."""
    if purged is None:
        LOG.debug("location %s is not ours to remove now", location)
        return Result(Outcome.NOT_OURS)
    down = purged.deletion.store if purged.verdict.store_down else None
    if purged.outcome is not Outcome.RELEASED:
        REMOVALS.labels(purged.deletion.store, purged.outcome.name.lower()).inc()
        with working_for(purged.deletion.request_id or log_context.request_id.get()):
            _log(purged)
    return Result(purged.outcome, down)


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
