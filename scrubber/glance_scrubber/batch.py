"""The purge of many locations together: one claim, the deletes one after the other, one record.

What costs most in the purge of a small file is what is done once for each: two calls to the registry with a commit
each, and a sync of the directory. Here they are done once for a batch. A batch is bounded in time: what is not begun
soon is given back untouched, so that a slow store holds no claims that others could work.
"""

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from glance_common.failpoints import failpoint
from glance_common.leases import LeaseKeeper
from glance_common.model.context import RequestContext, system_context
from glance_common.model.errors import GlanceError, Gone
from glance_common.model.image import Deletion
from glance_common.model.status import LocationStatus
from glance_common.observability.log_context import request_id, working_for
from glance_common.purge import OnFailure, Outcome, Purged, StoreOf, Verdict, judge
from glance_common.registry_client.deletions import DeletionsClient
from glance_common.stores.contract import BlobNotFound, Delete, StoreError, deletes_of

LOG = logging.getLogger(__name__)

MOST = 50
"""Locations of one batch: so many share the cost of a call."""

LONGEST = 2.0
"""Seconds after which a batch begins no further delete."""

_FINAL = (Outcome.PURGED, Outcome.ALREADY_GONE, Outcome.KEPT)


@dataclass(slots=True)
class _Deleted:
    """A delete that was tried: what the store said to it, and when it began."""

    deletion: Deletion
    error: Exception | None
    began: float


@dataclass(slots=True)
class _Claims:
    """The claims of one batch, shared with the thread that renews their lease."""

    waiting: dict[str, Deletion]
    begun: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(self, deletion: Deletion) -> bool:
        """Take a claim that still waits; return False when it was given back."""
        with self.lock:
            if self.waiting.pop(deletion.location, None) is None:
                return False
            self.begun.append(deletion.location)
            return True

    def give_back(self) -> list[str]:
        """Return the locations that still wait; none of them is begun from now on."""
        with self.lock:
            left = list(self.waiting)
            self.waiting.clear()
            return left


class BatchPurger:
    """Purges at most ``MOST`` locations together; otherwise like ``glance_common.purge.Purger``."""

    def __init__(
        self, deletions: DeletionsClient, store_of: StoreOf, on_failure: OnFailure, leases: LeaseKeeper
    ) -> None:
        self._deletions = deletions
        self._store_of = store_of
        self._on_failure = on_failure
        self._leases = leases

    def purge(
        self,
        context: RequestContext,
        locations: Sequence[str],
        token: str,
        *,
        stores: Sequence[str],
        scrub_time: float,
        is_over: Callable[[], bool],
    ) -> list[Purged]:
        """Claim and purge ``locations``; return how each ended that could be claimed.

        Nothing is begun once ``is_over`` says so. Raises GlanceError when the registry cannot be asked or did not
        confirm what was told; call again with the same token then.
        """
        lease = self._leases.seconds
        claimed = self._deletions.claim_many(
            context, locations, token, lease=lease, stores=stores, scrub_time=scrub_time
        )
        failpoint("purge.claim.after")
        if not claimed:
            return []
        claims = _Claims({deletion.location: deletion for deletion in claimed})
        last = time.monotonic() + LONGEST

        def renew() -> None:
            # A delete takes long: what waits behind it need not.
            self._release(context, claims, token)
            if begun := list(claims.begun):
                self._deletions.renew_many(context, begun, token, lease=lease)

        with self._leases.keep(context, renew, f"the claims on {len(claimed)} locations"):
            try:
                tried = self._delete(claimed, claims, lambda: is_over() or time.monotonic() > last)
            finally:
                self._release(context, claims, token)
            ended = list(self._recorded(context, tried, token))
        failpoint("purge.record.after")
        down = {purged.deletion.store for purged in ended if purged.verdict.store_down}
        done = {purged.deletion.location for purged in ended}
        return ended + [_released(deletion, down) for deletion in claimed if deletion.location not in done]

    def _delete(self, claimed: Sequence[Deletion], claims: _Claims, is_over: Callable[[], bool]) -> list[_Deleted]:
        tried: list[_Deleted] = []
        by_store = sorted(claimed, key=lambda deletion: deletion.store)
        for store, group in groupby(by_store, key=lambda deletion: deletion.store):
            tried += self._delete_in(store, list(group), claims, is_over)
        return tried

    def _delete_in(
        self, store: str, group: Sequence[Deletion], claims: _Claims, is_over: Callable[[], bool]
    ) -> list[_Deleted]:
        """Delete in one store, until it turns out to be down. Errors of the registry inside of a store go up."""
        tried: list[_Deleted] = []
        try:
            with deletes_of(self._store_of(store)) as delete:
                for deletion in group:
                    # The first of all is always begun, so that every batch gets on.
                    if (is_over() and claims.begun) or not claims.begin(deletion):
                        break
                    one = _Deleted(deletion, None, time.monotonic())
                    tried.append(one)
                    with working_for(deletion.request_id or request_id.get()):
                        one.error = _error_of(delete, deletion.key)
                    failpoint("purge.delete.after")
                    if self._verdict(one).store_down:
                        break
        except StoreError as error:
            # The store is not configured, or what was deleted is not durable.
            if not tried:
                tried = [_Deleted(one, error, time.monotonic()) for one in group if claims.begin(one)]
            for one in tried:
                if one.error is None or isinstance(one.error, BlobNotFound):
                    one.error = error
        return tried

    def _verdict(self, one: _Deleted) -> Verdict:
        return judge(one.error, one.deletion.attempts, self._on_failure)

    def _recorded(self, context: RequestContext, tried: Sequence[_Deleted], token: str) -> Iterator[Purged]:
        """Tell the registry how the deletes ended. Raises GlanceError."""
        verdicts = [(one, self._verdict(one)) for one in tried]
        final = [one.deletion.location for one, verdict in verdicts if verdict.outcome in _FINAL]
        recorded = self._deletions.done_many(context, final, token) if final else set()
        for one, verdict in verdicts:
            outcome = verdict.outcome
            if outcome not in _FINAL:
                outcome = self._retried(context, one.deletion, verdict)
            elif one.deletion.location not in recorded:
                # The lease had run out and another process has taken over; it says how it ends.
                outcome = Outcome.NOT_OURS
            yield Purged(one.deletion, outcome, verdict, time.monotonic() - one.began)

    def _retried(self, context: RequestContext, deletion: Deletion, verdict: Verdict) -> Outcome:
        own = system_context(deletion.request_id or context.request_id)
        try:
            status = self._deletions.retry(
                own, deletion.location, deletion.token,
                error=verdict.error, delay=verdict.delay, max_attempts=verdict.max_attempts,
            )
        except Gone:
            return Outcome.NOT_OURS
        return Outcome.FAILED if status is LocationStatus.FAILED else Outcome.RETRY

    def _release(self, context: RequestContext, claims: _Claims, token: str) -> None:
        if left := claims.give_back():
            self._deletions.release(context, left, token)


def _error_of(delete: Delete, key: str) -> Exception | None:
    """Delete in the store and return what it raised; an error of the registry inside of a store goes up."""
    try:
        delete(key)
    except GlanceError:
        raise
    except Exception as raised:
        return raised
    return None


def _released(deletion: Deletion, down: Collection[str]) -> Purged:
    return Purged(deletion, Outcome.RELEASED, Verdict(Outcome.RELEASED, store_down=deletion.store in down), 0.0)
