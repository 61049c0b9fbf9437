"""The purge of many locations together: one claim, the deletes one after the other, one record.

What costs most in the purge of a small file is what is done once for each: two calls to the registry with a commit
each, and a sync of the directory. Here they are done once for a batch. A batch is bounded in time: what is not begun
soon is given back untouched, so that a slow store holds no claims that others could work.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from glance_common.failpoints import failpoint
from glance_common.leases import LeaseKeeper
from glance_common.model.context import RequestContext, system_context
from glance_common.model.errors import GlanceError, Gone, Unavailable, is_row_held
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

Ended = tuple[str, Purged | None]
"""A location with how its purge ended; None when it could not be claimed."""


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
    ) -> Iterator[Ended]:
        """Claim and purge ``locations``; yield those that ended, each as soon as it did.

        What is not yielded needs a purge by itself with the same token. What is yielded as released must never be
        claimed with this token again: the word of the release may arrive late, and would end the new claim. Nothing is
        begun once ``is_over`` says so. Raises GlanceError when the registry cannot be asked or did not confirm what it
        was told, after it has yielded all the others.
        """
        lease = self._leases.seconds
        claimed, refused = self._deletions.claim_many(
            context, locations, token, lease=lease, stores=stores, scrub_time=scrub_time
        )
        failpoint("purge.claim.after")
        yield from ((location, None) for location in locations if location in refused)
        if not claimed:
            return
        claims = _Claims({deletion.location: deletion for deletion in claimed})
        last = time.monotonic() + LONGEST

        def renew() -> None:
            # A delete takes long: what waits behind it need not.
            self._release(context, claims, token)
            if begun := list(claims.begun):
                self._deletions.renew_many(context, begun, token, lease=lease)

        tried: list[_Deleted] = []
        failure: Exception | None = None
        with self._leases.keep(context, renew, f"the claims on {len(claimed)} locations"):
            try:
                self._delete(claimed, claims, tried, lambda: is_over() or time.monotonic() > last)
            except Exception as error:
                failure = error
            finally:
                self._release(context, claims, token)
            yield from self._released(claimed, claims, tried)
            yield from self._recorded(context, tried, token)
        failpoint("purge.record.after")
        if failure is not None:
            raise failure

    def _delete(
        self, claimed: Sequence[Deletion], claims: _Claims, tried: list[_Deleted], is_over: Callable[[], bool]
    ) -> None:
        """Delete store by store and add what the stores said to ``tried``."""
        by_store = sorted(claimed, key=lambda deletion: deletion.store)
        for store, group in groupby(by_store, key=lambda deletion: deletion.store):
            tried += self._delete_in(store, list(group), claims, is_over)

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

    def _released(
        self, claimed: Sequence[Deletion], claims: _Claims, tried: Sequence[_Deleted]
    ) -> Iterator[Ended]:
        """Yield what was given back untouched."""
        down = {one.deletion.store for one in tried if self._verdict(one).store_down}
        for deletion in claimed:
            if deletion.location not in claims.begun:
                verdict = Verdict(Outcome.RELEASED, store_down=deletion.store in down)
                yield deletion.location, Purged(deletion, Outcome.RELEASED, verdict, 0.0)

    def _recorded(self, context: RequestContext, tried: Sequence[_Deleted], token: str) -> Iterator[Ended]:
        """Tell the registry how the deletes ended, and yield what it confirmed.

        One that the registry cannot handle does not stop the others. Raises GlanceError when one was not confirmed.
        """
        verdicts = [(one, self._verdict(one)) for one in tried]
        recorded = self._done_many(
            context, [one.deletion.location for one, verdict in verdicts if verdict.outcome in _FINAL], token
        )
        failure: GlanceError | None = None
        # First what needs no further call, because a call may fail.
        for one, verdict in sorted(verdicts, key=lambda tell: tell[0].deletion.location not in recorded):
            deletion, outcome = one.deletion, verdict.outcome
            try:
                if deletion.location not in recorded:
                    outcome = self._told(context, deletion, verdict)
            except GlanceError as error:
                if is_away(error):
                    raise
                failure = error
            else:
                yield deletion.location, Purged(deletion, outcome, verdict, time.monotonic() - one.began)
        if failure is not None:
            raise failure

    def _done_many(self, context: RequestContext, locations: list[str], token: str) -> set[str]:
        if not locations:
            return set()
        try:
            return self._deletions.done_many(context, locations, token)
        except GlanceError as error:
            if is_away(error):
                raise
            LOG.warning("the registry: %s; the ends of %d purges are told one by one", error, len(locations))
            return set()

    def _told(self, context: RequestContext, deletion: Deletion, verdict: Verdict) -> Outcome:
        """Tell the registry how one delete ended, and return how the purge did."""
        try:
            if verdict.outcome not in _FINAL:
                return self._retried(context, deletion, verdict)
            self._deletions.done(context, deletion.location, deletion.token)
        except Gone:
            # The lease had run out and another process has taken over; it says how it ends.
            return Outcome.NOT_OURS
        return verdict.outcome

    def _retried(self, context: RequestContext, deletion: Deletion, verdict: Verdict) -> Outcome:
        own = system_context(deletion.request_id or context.request_id)
        status = self._deletions.retry(
            own, deletion.location, deletion.token,
            error=verdict.error, delay=verdict.delay, max_attempts=verdict.max_attempts,
        )
        return Outcome.FAILED if status is LocationStatus.FAILED else Outcome.RETRY

    def _release(self, context: RequestContext, claims: _Claims, token: str) -> None:
        if left := claims.give_back():
            self._deletions.release(context, left, token)


def is_away(error: GlanceError) -> bool:
    """Return whether the registry did nothing because it, or its database, cannot be reached: for every location.

    Any other error may be that of one location; so may an Unavailable because other requests hold its rows.
    """
    return type(error) is Unavailable and not is_row_held(error)


def _error_of(delete: Delete, key: str) -> Exception | None:
    """Delete in the store and return what it raised; an error of the registry inside of a store goes up."""
    try:
        delete(key)
    except GlanceError:
        raise
    except Exception as raised:
        return raised
    return None
