"""Reconcile: compares what a store lists with the locations of the registry, in both directions.

Both come in the order of their keys, so one pass over both finds every difference in bounded memory. Whatever seems
wrong is looked at once more before it is told: data come and go during the pass.
"""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from glance_common.damage import DamageReporter
from glance_common.model.context import RequestContext
from glance_common.model.status import LocationStatus
from glance_common.model.stored_copy import Damage, StoredCopy
from glance_common.observability.metrics.catalog import RECONCILED
from glance_common.progress import amount
from glance_common.registry_client import RegistryClient
from glance_common.registry_client.quarantine import PAGE
from glance_common.stores.contract import BlobNotFound, Store, StoredObject

LOG = logging.getLogger(__name__)

YOUNG = 86400.0
"""Seconds since the last change of an object in which it is no orphan: its writer may be under way."""

BATCH = 200
"""Orphans that are told to the registry in one call."""


class DifferenceKind(StrEnum):
    """How store and registry differ."""

    ORPHAN = "orphan"
    MISSING = "missing"
    SIZE = "size"


@dataclass(frozen=True, slots=True)
class StoreDifference:
    """One difference; ``size`` is what the store has, ``expected`` what the registry says, in bytes."""

    kind: DifferenceKind
    store: str
    key: str
    size: int | None = None
    expected: int | None = None
    copy: StoredCopy | None = None

    def cells(self) -> tuple[str, ...]:
        """Return the difference as a line of a table."""
        image = self.copy.image_id if self.copy is not None else "-"
        sizes = ("-" if number is None else str(number) for number in (self.size, self.expected))
        return (self.kind, self.store, self.key, image, *sizes)


HEADINGS = ("found", "store", "key", "image", "bytes", "expected")


@dataclass(slots=True)
class Reconciled:
    """What a pass has seen so far."""

    objects: int = 0
    locations: int = 0
    young: int = 0
    key: str = ""
    """Up to where the pass has come; everything before it is told."""
    found: Counter[str] = field(default_factory=Counter)
    orphan_bytes: int = 0

    def line(self) -> str:
        """Return the sum as one line."""
        found = self.found
        return (
            f"{self.objects} objects, {self.locations} locations: {found[DifferenceKind.ORPHAN]} orphans "
            f"({amount(self.orphan_bytes)}), {found[DifferenceKind.MISSING]} missing, {found[DifferenceKind.SIZE]} of "
            f"a wrong size; {self.young} young objects without a location left out"
        )


Note = Callable[[str], None]
"""Writes down the key up to which a pass has come."""

NOTED_EVERY = 1.0
"""Seconds between two notes: a call for each object would take longer than all else."""


class Reconcile:
    """One pass over one store. ``seen`` is read by the progress display meanwhile."""

    def __init__(self, registry: RegistryClient, store: Store, context: RequestContext, stop: threading.Event) -> None:
        self._quarantine = registry.quarantine
        self._store = store
        self._context = context
        self._stop = stop
        self.seen = Reconciled()

    def differences(self, after: str | None = None, note: Note | None = None) -> Iterator[StoreDifference]:
        """Yield every difference behind the key ``after``, in the order of the keys, each confirmed.

        ``note`` is called now and then with a key whose differences, and those before it, were all taken. Ends early
        when the process is to stop. Raises StoreError, also WalkUnsupported, and GlanceError.
        """
        noted = time.monotonic()
        for stored, copy in merged(self._objects(after), self._copies(after)):
            is_over = self._stop.is_set()
            if note is not None and self.seen.key and (is_over or time.monotonic() - noted >= NOTED_EVERY):
                note(self.seen.key)
                noted = time.monotonic()
            if is_over:
                return
            difference = self._difference(stored, copy)
            if difference is not None:
                self.seen.found[difference.kind] += 1
                self.seen.orphan_bytes += difference.size or 0 if difference.kind is DifferenceKind.ORPHAN else 0
                RECONCILED.labels(self._store.id, difference.kind.value).inc()
                yield difference
            self.seen.key = (stored or copy).key  # type: ignore[union-attr]  # one of both is there

    def _objects(self, after: str | None) -> Iterator[StoredObject]:
        for stored in self._store.walk(after):
            self.seen.objects += 1
            yield stored

    def _copies(self, after: str | None) -> Iterator[StoredCopy]:
        while page := self._quarantine.of_store(self._context, self._store.id, after):
            self.seen.locations += len(page)
            yield from page
            if len(page) < PAGE:
                return
            after = page[-1].key

    def _difference(self, stored: StoredObject | None, copy: StoredCopy | None) -> StoreDifference | None:
        if copy is None:
            assert stored is not None, "one of both is there"
            return self._orphan(stored)
        if copy.status is not LocationStatus.ACTIVE or (stored is not None and stored.size == copy.image_size):
            # What is written, purged or in quarantine has an owner that sees to it.
            return None
        return self._changed(copy)

    def _orphan(self, stored: StoredObject) -> StoreDifference | None:
        if time.time() - stored.modified < YOUNG:
            if self._quarantine.with_key(self._context, self._store.id, stored.key) is None:
                self.seen.young += 1
            return None
        owner = self._quarantine.with_key(self._context, self._store.id, stored.key)
        if owner is not None or self._size(stored.key) is None:
            return None
        return StoreDifference(DifferenceKind.ORPHAN, self._store.id, stored.key, size=stored.size)

    def _changed(self, copy: StoredCopy) -> StoreDifference | None:
        """Look again at a copy that seemed to be missing or of another size."""
        size = self._size(copy.key)
        now = self._quarantine.with_key(self._context, self._store.id, copy.key)
        if now is None or now.id != copy.id or now.status is not LocationStatus.ACTIVE or now.lent:
            return None
        if size is None:
            return StoreDifference(DifferenceKind.MISSING, self._store.id, copy.key, expected=now.image_size, copy=now)
        if now.image_size is None or size == now.image_size:
            return None
        return StoreDifference(DifferenceKind.SIZE, self._store.id, copy.key, size, now.image_size, now)

    def _size(self, key: str) -> int | None:
        """Return the bytes under a key, None when the store proves that there are none."""
        try:
            return self._store.size(key)
        except BlobNotFound:
            return None


class Fix:
    """Takes out of use what a pass finds, and lists orphans; deletes nothing."""

    def __init__(
        self, registry: RegistryClient, reporter: DamageReporter, context: RequestContext, store: Store
    ) -> None:
        self._quarantine = registry.quarantine
        self._reporter = reporter
        self._context = context
        self._store = store
        self._orphans: list[tuple[str, int]] = []
        self.listed = 0
        self.quarantined = 0
        self.forgotten = 0
        self.left = 0
        """Locations that are in use as before, because the registry did not take the word."""

    def take(self, difference: StoreDifference) -> None:
        """Mend one difference. Raises GlanceError."""
        if difference.copy is None:
            self._orphans.append((difference.key, difference.size or 0))
            if len(self._orphans) >= BATCH:
                self.tell()
            return
        damage = Damage.MISSING if difference.kind is DifferenceKind.MISSING else Damage.SIZE
        detail = (
            "the store holds nothing under the key" if damage is Damage.MISSING
            else f"{difference.size} bytes instead of {difference.expected}"
        )
        if self._reporter.report(self._context, difference.copy.id, damage, detail) is not None:
            self.quarantined += 1
        elif self._is_in_use(difference.copy):
            self.left += 1

    def finish(self) -> None:
        """Tell the rest, and take off the list what is no orphan any more. Raises GlanceError, StoreError."""
        self.tell()
        for orphan in self._quarantine.orphans(self._context, self._store.id):
            owner = self._quarantine.with_key(self._context, self._store.id, orphan.key)
            if owner is not None or self._is_gone(orphan.key):
                self.forgotten += self._quarantine.forget_orphan(self._context, orphan.id)

    def tell(self) -> None:
        """Tell the registry of the orphans that wait for it. Raises GlanceError."""
        if self._orphans:
            self.listed += self._quarantine.record_orphans(self._context, self._store.id, self._orphans)
            self._orphans = []

    def _is_in_use(self, copy: StoredCopy) -> bool:
        found = self._quarantine.with_key(self._context, copy.store, copy.key)
        return found is not None and found.id == copy.id and found.status is LocationStatus.ACTIVE

    def _is_gone(self, key: str) -> bool:
        try:
            self._store.size(key)
        except BlobNotFound:
            return True
        return False

    def line(self) -> str:
        """Return what was done as one line."""
        return (
            f"{self.listed} orphans are new in quarantine, {self.quarantined} locations are in quarantine, "
            f"{self.forgotten} orphans are off the list"
        )


def merged(
    objects: Iterator[StoredObject], copies: Iterator[StoredCopy]
) -> Iterator[tuple[StoredObject | None, StoredCopy | None]]:
    """Yield objects and copies side by side, by their keys; None on the side that has nothing under a key.

    Keys are compared as the registry orders them: by their bytes, which for text is the order of its characters.
    """
    stored, copy = next(objects, None), next(copies, None)
    while stored is not None or copy is not None:
        if copy is None or (stored is not None and stored.key < copy.key):
            yield stored, None
            stored = next(objects, None)
        elif stored is None or copy.key < stored.key:
            yield None, copy
            copy = next(copies, None)
        else:
            yield stored, copy
            stored, copy = next(objects, None), next(copies, None)
