"""The purge of the bytes of one location: claim, delete in the store, record.

Nothing is deleted without a claim that the registry has positively answered. The whole may be repeated with the same
token when the registry did not answer: a claim that is still held is given again, and bytes that are gone already count
as purged.
"""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Protocol

from glance_common.failpoints import failpoint
from glance_common.leases import LeaseKeeper
from glance_common.model.context import RequestContext, system_context
from glance_common.model.errors import GlanceError, Gone
from glance_common.model.image import Deletion
from glance_common.model.status import LocationStatus
from glance_common.observability.log_context import working_for
from glance_common.registry_client.deletions import DeletionsClient
from glance_common.stores.contract import BlobNotFound, DeleteUnsupported, StoreError

LOG = logging.getLogger(__name__)

NEVER = 1_000_000
"""Failures allowed when a purge is never given up: the most that the registry takes, centuries of pauses."""


class Outcome(StrEnum):
    """What became of one location."""

    PURGED = "purged"
    """The store has removed the bytes."""
    ALREADY_GONE = "already gone"
    """The store proved that it holds nothing under the key."""
    KEPT = "kept"
    """The bytes are not ours to delete (http); only the row is closed."""
    NOT_OURS = "not ours"
    """Not due, claimed by another, or in a store that this process does not work."""
    RETRY = "retry"
    """It failed and is tried again later."""
    LEFT = "left"
    """It failed and is left to its lease; the process that claims it then tries again."""
    RELEASED = "released"
    """It was claimed with others, and given back untouched because those before it took long or their store is down."""
    STOPPED = "stopped"
    """Nothing was done, because this process is ending."""
    BROKEN = "broken"
    """A defect of the service ended it; what was claimed ends with its lease."""
    FAILED = "failed"
    """It failed too often; an operator lists and replays it."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to record: ``error`` is for operators, ``delay`` seconds to the next try, ``max_attempts`` failures at most.

    ``store_down`` says that no other purge in this store would work now.
    """

    outcome: Outcome
    error: str = ""
    delay: float = 0
    max_attempts: int = 0
    store_down: bool = False


@dataclass(frozen=True, slots=True)
class Purged:
    """How the purge of a claimed location ended, after how many ``seconds``; ``verdict`` says why."""

    deletion: Deletion
    outcome: Outcome
    verdict: Verdict
    seconds: float


class Deletes(Protocol):
    """The part of a store that a purge needs."""

    def delete(self, key: str) -> None:
        """See the contract of stores."""


StoreOf = Callable[[str], Deletes]
"""Returns the store with an id. Raises UnknownStore."""

OnFailure = Callable[[Exception, int], Verdict]
"""Returns what follows from an error of the store; the number counts the failures of this location before it."""


class Purger:
    """Purges locations: ``deletions`` are the rows, ``store_of`` finds the bytes, ``leases`` keeps the claims alive."""

    def __init__(
        self, deletions: DeletionsClient, store_of: StoreOf, on_failure: OnFailure, leases: LeaseKeeper
    ) -> None:
        self._deletions = deletions
        self._store_of = store_of
        self._on_failure = on_failure
        self._leases = leases

    def purge(
        self, context: RequestContext, location: str, token: str, *, stores: Sequence[str], scrub_time: float = 0
    ) -> Purged | None:
        """Claim ``location`` with ``token`` and purge it, on behalf of the request that deleted it.

        Returns None when it is not due, claimed by another, or in none of ``stores``; ``scrub_time`` are the seconds
        that images deleted with a delay wait at least. Raises GlanceError when the registry cannot be asked or did not
        confirm what was told; call again with the same token then.
        """
        deletion = self._deletions.claim(
            context, location, token, lease=self._leases.seconds, stores=stores, scrub_time=scrub_time
        )
        failpoint("purge.claim.after")
        if deletion is None:
            return None
        request_id = deletion.request_id or context.request_id
        with working_for(request_id):
            return self.finish(system_context(request_id), deletion)

    def finish(self, context: RequestContext, deletion: Deletion) -> Purged:
        """Purge what is claimed already. Raises GlanceError when the registry did not confirm what was told."""
        started = time.monotonic()
        error = self._delete(context, deletion)
        failpoint("purge.delete.after")
        verdict = judge(error, deletion.attempts, self._on_failure)
        outcome = self._record(context, deletion, verdict)
        failpoint("purge.record.after")
        return Purged(deletion, outcome, verdict, time.monotonic() - started)

    def _delete(self, context: RequestContext, deletion: Deletion) -> Exception | None:
        """Delete in the store and return what it raised; an error of the registry inside of a store goes up."""
        renew = partial(
            self._deletions.renew, context, deletion.location, deletion.token, lease=self._leases.seconds
        )
        with self._leases.keep(context, renew, f"the claim on location {deletion.location}") as lease:
            error = None
            try:
                self._store_of(deletion.store).delete(deletion.key)
            except GlanceError:
                raise
            except Exception as raised:
                error = raised
        if lease.lost is not None:
            # No reason to stop: the process that has taken the claim over deletes the same bytes.
            LOG.warning("the claim on location %s ran out before the removal ended", deletion.location)
        return error

    def _record(self, context: RequestContext, deletion: Deletion, verdict: Verdict) -> Outcome:
        if verdict.outcome is Outcome.LEFT:
            return verdict.outcome
        try:
            if verdict.outcome is not Outcome.RETRY:
                self._deletions.done(context, deletion.location, deletion.token)
                return verdict.outcome
            status = self._deletions.retry(
                context, deletion.location, deletion.token,
                error=verdict.error, delay=verdict.delay, max_attempts=verdict.max_attempts,
            )
        except Gone:
            # The lease had run out and another process has taken over; it says how it ends.
            return Outcome.NOT_OURS
        return Outcome.FAILED if status is LocationStatus.FAILED else Outcome.RETRY


def judge(error: Exception | None, attempts: int, on_failure: OnFailure) -> Verdict:
    """Return what follows from the end of ``store.delete``; ``attempts`` counts the failures before this one."""
    match error:
        case None:
            return Verdict(Outcome.PURGED)
        case BlobNotFound():
            return Verdict(Outcome.ALREADY_GONE)
        case DeleteUnsupported():
            return Verdict(Outcome.KEPT)
        case _:
            return on_failure(error, attempts)


def error_text(error: Exception) -> str:
    """Return what operators are told of an error.

    The texts of StoreErrors hold no credentials; those of others may, and are left out (S-75).
    """
    if isinstance(error, StoreError):
        return f"{type(error).__name__}: {error}"
    return f"unexpected {type(error).__name__} at {_place(error)}"


def _place(error: BaseException) -> str:
    """Return file and line where the error was raised."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return "an unknown place"
    return f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"
