"""Verify: reads the data of a store again, at a bounded rate, and takes damaged copies out of use.

A run goes through the copies in the order of their keys and leaves a cursor in the registry, so that the next process
goes on where this one stopped. One process at a time runs over a store; it holds the run by a lease.
"""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from uuid import uuid4

from glance_common.damage import DamageReporter
from glance_common.leases import Lease, LeaseKeeper
from glance_common.model.context import RequestContext, system_context
from glance_common.model.errors import GlanceError, NotFound
from glance_common.model.status import ImageStatus, LocationStatus
from glance_common.model.stored_copy import Quarantined, StoredCopy
from glance_common.observability.log_context import working_for
from glance_common.observability.metrics.catalog import VERIFIED, VERIFIED_BYTES
from glance_common.progress import amount
from glance_common.registry_client import RegistryClient
from glance_common.stores.contract import StoreError
from glance_common.stores.loader import Stores
from glance_scrubber.proof import CopyProof, Pass, ProofResult, prove
from glance_scrubber.rate import Rate
from glance_scrubber.repair import Repair

LOG = logging.getLogger(__name__)

KIND = "verify"
NOTED_EVERY = 1.0
"""Seconds between two notes of the cursor: a run over tiny images does not cost a call more for each."""

Note = Callable[[str], None]
"""Writes down the key up to which a run has come."""

_HAS_DATA = (ImageStatus.ACTIVE, ImageStatus.DEACTIVATED)


class StoreDown(Exception):
    """A store cannot be read at all; the text names it and says why."""


@dataclass(slots=True)
class Tally:
    """What a run has found so far."""

    found: Counter[str] = field(default_factory=Counter)
    bytes: int = 0
    replaced: int = 0
    began: float = field(default_factory=time.monotonic)

    @property
    def is_good(self) -> bool:
        """Whether every copy could be read and was right."""
        return not self.found[ProofResult.DAMAGED] and not self.found[ProofResult.UNREADABLE]

    def line(self) -> str:
        """Return the sum as one line."""
        names = (ProofResult.RIGHT, ProofResult.DAMAGED, ProofResult.UNREADABLE, ProofResult.UNPROVED)
        counts = ", ".join(f"{self.found[name]} {name}" for name in names)
        seconds = time.monotonic() - self.began
        return f"{counts}, {self.replaced} replaced; {amount(self.bytes)} in {seconds:.0f} s"


@dataclass(frozen=True, slots=True)
class VerifyTools:
    """What a run works with; ``pool_size`` copies are read at the same time, all together within ``rate``."""

    registry: RegistryClient
    stores: Stores
    leases: LeaseKeeper
    reporter: DamageReporter
    repair: Repair
    rate: Rate
    pool_size: int
    stop: threading.Event


class Verify:
    """Verifies stores and single images. ``tally`` is read by the progress display while a run goes on."""

    def __init__(self, tools: VerifyTools) -> None:
        self._tools = tools
        self._lock = threading.Lock()
        self.tally = Tally()

    def store(self, store: str, *, rest: float = 0) -> bool:
        """Verify the copies in ``store``, or what an unfinished run has left; return whether it came to the end.

        ``rest``: seconds after a finished run in which no new one begins. Raises Conflict with the reason ``running``
        or ``not_due``, Gone when another process took the run over, StoreDown, other GlanceErrors of the registry.
        """
        tools, context, token = self._tools, system_context(f"req-{uuid4()}"), str(uuid4())
        runs, lease = tools.registry.store_runs, tools.leases.seconds
        with working_for(context.request_id):
            cursor = runs.start(context, KIND, store, token, lease=lease, rest=rest)
            is_finished = False
            try:
                renew = partial(runs.renew, context, KIND, store, token, lease=lease)
                with tools.leases.keep(context, renew, f"the verify run of store {store}") as kept:
                    self._repair_old(context, lambda damaged: damaged.store == store)
                    note = partial(runs.renew, context, KIND, store, token, lease=lease)
                    is_finished = self._pages(context, store, cursor, kept, lambda key: note(cursor=key))
            finally:
                self._end(context, store, token, is_finished)
        return is_finished

    def _end(self, context: RequestContext, store: str, token: str, is_finished: bool) -> None:
        try:
            self._tools.registry.store_runs.end(context, KIND, store, token, finished=is_finished)
        except GlanceError as error:
            # The lease ends by itself, and the cursor stays.
            LOG.warning("the end of the verify run of store %s was not noted: %s", store, error)

    def image(self, image_id: str) -> None:
        """Verify the copies of one image. Raises NotFound when it has none, StoreDown, GlanceError."""
        context = system_context(f"req-{uuid4()}")
        with working_for(context.request_id):
            copies = [copy for copy in self._tools.registry.quarantine.of_image(context, image_id) if _is_ours(copy)]
            copies = [copy for copy in copies if copy.store in self._tools.stores.ids]
            if not copies:
                raise NotFound(f"image {image_id} has no data in a configured store that could be verified")
            self._repair_old(context, lambda damaged: damaged.image_id == copies[0].image_id)
            for copy in copies:
                self._one(context, copy)

    def _pages(self, context: RequestContext, store: str, cursor: str | None, lease: Lease, note: Note) -> bool:
        tools, noted = self._tools, time.monotonic()
        size = tools.pool_size
        with ThreadPoolExecutor(size, thread_name_prefix="verify") as pool:
            while page := tools.registry.quarantine.of_store(context, store, cursor):
                for batch in _batches(page, 4 * size):
                    self._batch(context, pool, [copy for copy in batch if _is_ours(copy)])
                    if tools.stop.is_set():
                        return False
                    lease.check()
                    cursor = batch[-1].key
                    if time.monotonic() - noted >= NOTED_EVERY:
                        note(cursor)
                        noted = time.monotonic()
        return True

    def _batch(self, context: RequestContext, pool: ThreadPoolExecutor, copies: Sequence[StoredCopy]) -> None:
        def work(copy: StoredCopy) -> None:
            with working_for(context.request_id):
                self._one(context, copy)

        list(pool.map(work, copies))

    def _one(self, context: RequestContext, copy: StoredCopy) -> None:
        """Verify one copy and record what was found. Raises StoreDown, GlanceError."""
        finding = self._prove(copy)
        if finding.result is ProofResult.STOPPED:
            return
        if finding.result is ProofResult.DAMAGED:
            if not self._is_in_use(context, copy):
                return
            # Read twice, so that an accident on the way from the store does not take the copy out of use.
            finding = self._prove(copy)
        self._count(copy, finding)
        if finding.result is ProofResult.RIGHT:
            self._tools.registry.quarantine.verified(context, copy.id)
        elif finding.result is ProofResult.UNREADABLE:
            LOG.error("image %s: its copy in store %s cannot be read: %s", copy.image_id, copy.store, finding.detail)
            self._check_store(copy.store)
        elif finding.damage is not None:
            damaged = self._tools.reporter.report(context, copy.id, finding.damage, finding.detail)
            if damaged is not None:
                self._repair(context, damaged)

    def _is_in_use(self, context: RequestContext, copy: StoredCopy) -> bool:
        """Say whether the copy is still what the page said: its image may have been deleted since."""
        found = self._tools.registry.quarantine.with_key(context, copy.store, copy.key)
        return found is not None and found.id == copy.id and found.status == copy.status

    def _prove(self, copy: StoredCopy) -> CopyProof:
        return prove(self._tools.stores.get(copy.store), copy, self._each(copy.store))

    def _each(self, store: str) -> Pass:
        counter, rate = VERIFIED_BYTES.labels(store), self._tools.rate

        def each(count: int) -> bool:
            counter.inc(count)
            with self._lock:
                self.tally.bytes += count
            return rate.take(count)

        return each

    def _count(self, copy: StoredCopy, finding: CopyProof) -> None:
        if finding.result is ProofResult.STOPPED:
            return
        VERIFIED.labels(copy.store, finding.result.value).inc()
        with self._lock:
            self.tally.found[finding.result] += 1

    def _check_store(self, store: str) -> None:
        """Raise StoreDown when not a single copy but the whole store cannot be read."""
        try:
            self._tools.stores.get(store).check()
        except StoreError as error:
            raise StoreDown(f"store {store}: {error}") from error

    def _repair(self, context: RequestContext, damaged: Quarantined) -> None:
        if self._tools.repair.repair(context, damaged):
            with self._lock:
                self.tally.replaced += 1

    def _repair_old(self, context: RequestContext, is_wanted: Callable[[Quarantined], bool]) -> None:
        """Replace wanted copies that went into quarantine before, for example by a download. Raises GlanceError."""
        for damaged in self._tools.registry.quarantine.listed(context):
            if self._tools.stop.is_set():
                return
            if is_wanted(damaged) and damaged.copies:
                self._repair(context, damaged)


def _batches(page: Sequence[StoredCopy], size: int) -> Iterator[Sequence[StoredCopy]]:
    for start in range(0, len(page), size):
        yield page[start : start + size]


def _is_ours(copy: StoredCopy) -> bool:
    """Say whether a copy is data of an image that can be read now."""
    return copy.status is LocationStatus.ACTIVE and not copy.lent and copy.image_status in _HAS_DATA
