"""Removes the bytes of one location: claim, delete in the store, record.

Nothing is deleted without a claim that the registry has positively answered. The whole may be repeated with the same
token when the registry did not answer: a claim that is still held is given again, and bytes that are gone already count
as removed.
"""

import logging
import threading
import time
from collections.abc import Collection
from dataclasses import dataclass
from functools import partial
from uuid import uuid4

from glance_common.failpoints import failpoint
from glance_common.leases import LeaseKeeper
from glance_common.model.context import RequestContext, system_context
from glance_common.model.errors import GlanceError, Gone
from glance_common.model.image import Deletion
from glance_common.model.status import LocationStatus
from glance_common.observability.log import working_for
from glance_common.observability.metrics.catalog import REMOVALS
from glance_common.registry_client.deletions import DeletionsClient
from glance_common.stores.loader import Stores
from glance_scrubber import outcomes
from glance_scrubber.outcomes import Outcome, Verdict

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
    """Removes locations, at most ``pool_size`` at the same time whoever asks: the queue or the sweep.

    Begins nothing new once ``stop`` is set, also for those that have waited for their turn.
    """

    def __init__(
        self, deletions: DeletionsClient, stores: Stores, settings: ScrubSettings, stop: threading.Event
    ) -> None:
        self.settings = settings
        self.stores = stores
        self._stop = stop
        self._deletions = deletions
        self._leases = LeaseKeeper(settings.lease)
        self._slots = threading.BoundedSemaphore(settings.pool_size)

    def scrub(
        self, location: str, token: str, *, request_id: str | None = None, stores: Collection[str] | None = None
    ) -> Result:
        """Remove the bytes of ``location`` when they are due, not claimed by another, and in one of ``stores``.

        Without ``stores``: in any configured one. Raises GlanceError when the registry cannot be asked or did not
        confirm what was told; call again with the same token then.
        """
        identifier = request_id or f"req-{uuid4()}"
        allowed = list(self.stores.ids if stores is None else stores)
        with self._slots, working_for(identifier):
            if self._stop.is_set():
                return Result(Outcome.STOPPED)
            deletion = self._deletions.claim(
                system_context(identifier), location, token,
                lease=self.settings.lease, stores=allowed, scrub_time=self.settings.scrub_time,
            )
            failpoint("scrubber.claim.after")
            if deletion is None:
                LOG.debug("location %s is not ours to remove now", location)
                return Result(Outcome.NOT_OURS)
            with working_for(deletion.request_id or identifier):
                return self._purge(system_context(deletion.request_id or identifier), deletion)

    def _purge(self, context: RequestContext, deletion: Deletion) -> Result:
        started = time.monotonic()
        renew = partial(
            self._deletions.renew, context, deletion.location, deletion.token, lease=self.settings.lease
        )
        with self._leases.keep(context, renew, f"the claim on location {deletion.location}") as lease:
            error = self._delete(deletion)
        if lease.lost is not None:
            # No reason to stop: the scrubber that has taken it over removes the same bytes.
            LOG.warning("the claim on location %s ran out before the removal ended", deletion.location)
        failpoint("scrubber.delete.after")
        verdict = outcomes.judge(error, deletion.attempts, self.settings.max_attempts)
        outcome = self._record(context, deletion, verdict)
        failpoint("scrubber.done.after")
        REMOVALS.labels(deletion.store, outcome.name.lower()).inc()
        _log(deletion, outcome, verdict, time.monotonic() - started)
        return Result(outcome, deletion.store if verdict.store_down else None)

    def _delete(self, deletion: Deletion) -> Exception | None:
        """Delete in the store and return what it raised; what the registry raised inside of a store goes up."""
        try:
            self.stores.get(deletion.store).delete(deletion.key)
        except GlanceError:
            raise
        except Exception as error:
            return error
        return None

    def _record(self, context: RequestContext, deletion: Deletion, verdict: Verdict) -> Outcome:
        try:
            if verdict.outcome is not Outcome.RETRY:
                self._deletions.done(context, deletion.location, deletion.token)
                return verdict.outcome
            status = self._deletions.retry(
                context, deletion.location, deletion.token,
                error=verdict.error, delay=verdict.delay, max_attempts=verdict.max_attempts,
            )
        except Gone:
            # The lease had run out and another scrubber has taken over; it says how it ends.
            return Outcome.NOT_OURS
        return Outcome.FAILED if status is LocationStatus.FAILED else Outcome.RETRY


def _log(deletion: Deletion, outcome: Outcome, verdict: Verdict, seconds: float) -> None:
    facts = {
        "image": deletion.image_id, "location": deletion.location, "store": deletion.store,
        "ms": round(seconds * 1000, 1),
    }
    if verdict.error:
        facts |= {"attempts": deletion.attempts + 1, "error": verdict.error}
    level = {Outcome.RETRY: logging.WARNING, Outcome.FAILED: logging.ERROR}.get(outcome, logging.INFO)
    LOG.log(level, "removal: %s", outcome.value, extra=facts)
