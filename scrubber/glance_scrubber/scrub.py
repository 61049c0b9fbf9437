"""The removals of this process: how many run at the same time, what is counted and what is logged."""

import logging
import math
import threading
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
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
from glance_scrubber.batch import LONGEST, MOST, BatchPurger, is_away

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


@dataclass(slots=True)
class Batch:
    """Locations that are purged together, at most ``batch.MOST`` different ones, and how those ended that did.

    ``token`` is that of all their claims, however often the purge is tried (``was_tried``: at least once); what has
    ended is not claimed with it again.
    """

    locations: Sequence[str]
    token: str = field(default_factory=lambda: str(uuid4()))
    results: dict[str, Result] = field(default_factory=dict)
    unclear: set[str] = field(default_factory=set)
    """Locations to which the registry once gave no clear answer though it works."""
    was_tried: bool = False

    @property
    def left(self) -> list[str]:
        """The locations whose purge has not ended."""
        return [location for location in self.locations if location not in self.results]

    def ended(self, otherwise: Outcome) -> dict[str, Result]:
        """Return how each ended; those that did not count as ``otherwise``."""
        return dict.fromkeys(self.locations, Result(otherwise)) | self.results


def next_size(size: int, results: Collection[Result], seconds: float) -> int:
    """Return how many locations to purge together after a batch of ``size`` at most, which took so many ``seconds``.

    What one process has in hand, no other can work: so they are few while the purges take long.
    """
    if any(result.is_left for result in results):
        return 1
    return min(2 * size, MOST) if len(results) >= size and seconds < LONGEST / 2 else size


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
        self._deletions = deletions
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
        self, batch: Batch, *, request_id: str | None = None, stores: Collection[str] | None = None
    ) -> None:
        """Purge the locations of ``batch`` with few calls and note how they ended. Else as ``scrub``.

        A defect in one of them, or one that the registry cannot handle, does not stop the others: they are purged one
        by one then. Such a one is still left after the first call and given up in the second. Raises GlanceError when
        the registry does not work; call again with the same batch then.
        """
        identifier = request_id or f"req-{uuid4()}"
        is_sure, batch.was_tried = not batch.was_tried, True
        last = time.monotonic() + LONGEST
        if len(batch.left) > 1:
            is_sure &= self._together(batch, identifier, stores)
        # Where an answer got lost the token may have a claim already, which cannot be left for later.
        self._one_by_one(batch, identifier, stores, last if is_sure else math.inf)

    def _together(self, batch: Batch, identifier: str, stores: Collection[str] | None) -> bool:
        """Purge what is usual in ``batch``; return whether nothing went wrong. Raises GlanceError of a registry that is
        away."""
        with self._slots, working_for(identifier):
            if self._stop.is_set():
                batch.results |= dict.fromkeys(batch.left, Result(Outcome.STOPPED))
                return True
            ended = self._batches.purge(
                system_context(identifier), batch.left, batch.token, stores=self._allowed(stores),
                scrub_time=self.settings.scrub_time, is_over=self._stop.is_set,
            )
            try:
                for location, purged in ended:
                    batch.results[location] = _told(location, purged)
            except GlanceError as error:
                if is_away(error):
                    raise
                LOG.warning("the registry: %s; %d locations are purged one by one", error, len(batch.left))
            except Exception:
                LOG.exception("%d locations could not be scrubbed together", len(batch.left))
            else:
                return True
            return False

    def _one_by_one(self, batch: Batch, identifier: str, stores: Collection[str] | None, last: float) -> None:
        """Purge what has not ended, and begin none after ``last`` but the first. A store that is down is asked no more.

        Raises GlanceError as ``scrub_many``.
        """
        down = {result.down for result in batch.results.values()}
        for number, location in enumerate(batch.left):
            if number and not batch.unclear and time.monotonic() > last:
                batch.results[location] = Result(Outcome.RELEASED)
                continue
            try:
                up = [store for store in self._allowed(stores) if store not in down]
                batch.results[location] = self._alone(location, batch.token, identifier, up)
                down.add(batch.results[location].down)
            except GlanceError as error:
                if is_away(error) or not self._has_registry(identifier):
                    raise
                LOG.error("the registry cannot handle location %s: %s", location, error)
                if location in batch.unclear:
                    # What is claimed ends with its lease, and a later sweep will meet it.
                    batch.results[location] = Result(Outcome.BROKEN)
                batch.unclear.add(location)

    def _has_registry(self, identifier: str) -> bool:
        """Return whether the registry works: then an unclear answer is no sign that it is about to end."""
        try:
            self._deletions.due(system_context(identifier), limit=1, stores=self.stores.ids)
        except GlanceError:
            return False
        return True

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
