"""What operators do with copies and orphans in quarantine: list, release, discard."""

from functools import partial
from uuid import uuid4

from glance_common.leases import LeaseKeeper
from glance_common.model.context import RequestContext, system_context
from glance_common.model.errors import Conflict, NotFound, Unavailable
from glance_common.model.stored_copy import OrphanObject, Quarantined, StoredCopy
from glance_common.purge import Outcome, error_text
from glance_common.registry_client import RegistryClient
from glance_common.stores.contract import BlobNotFound, Store, StoreError, UnknownStore
from glance_common.stores.loader import Stores
from glance_scrubber import table
from glance_scrubber.proof import ProofResult, prove
from glance_scrubber.rate import Rate
from glance_scrubber.scrub import Scrubber

HEADINGS = ("id", "what", "store", "key", "bytes", "since", "good copies", "reason")


class QuarantineTool:
    """The commands; each prints what it did and raises GlanceError when it cannot be done."""

    def __init__(self, registry: RegistryClient, stores: Stores, scrubber: Scrubber, rate: Rate, lease: int) -> None:
        """``lease``: seconds of the claim on an orphan that is discarded."""
        self._registry = registry
        self._stores = stores
        self._scrubber = scrubber
        self._rate = rate
        self._lease = lease

    def show(self) -> None:
        """Print a table of everything in quarantine."""
        context = _context()
        copies = (self._copy_cells(copy) for copy in self._registry.quarantine.listed(context))
        count = table.show(HEADINGS, copies)
        count += table.show(HEADINGS, (_orphan_cells(orphan) for orphan in self._registry.quarantine.orphans(context)))
        if not count:
            table.say("Nothing is in quarantine.")

    def release(self, identifier: str) -> None:
        """Read a copy again and put it back into use when it is right (I8)."""
        context = _context()
        found = self._find(context, identifier)
        if isinstance(found, OrphanObject):
            raise Conflict(f"{found.id} is an orphan: there is no image to give it to")
        copy = self._registry.quarantine.with_key(context, found.store, found.key)
        if copy is None or copy.id != found.id:
            raise Conflict(f"location {found.id} cannot be read again: its bytes are not the service's own")
        self._check_right(copy)
        self._registry.quarantine.release(context, found.id)
        table.say(f"{found.id}: the copy of image {found.image_id} in store {found.store} is in use again")

    def discard(self, identifier: str) -> None:
        """Remove the bytes of a copy or an orphan."""
        context = _context()
        found = self._find(context, identifier)
        if isinstance(found, OrphanObject):
            self._discard_orphan(context, found)
            return
        self._registry.quarantine.discard(context, found.id)
        outcome = self._scrubber.scrub(found.id, str(uuid4()), stores=[found.store]).outcome
        is_gone = outcome in (Outcome.PURGED, Outcome.ALREADY_GONE, Outcome.KEPT)
        table.say(f"{found.id}: {outcome.value}" if is_gone else f"{found.id}: a scrubber will remove it")

    def _discard_orphan(self, context: RequestContext, orphan: OrphanObject) -> None:
        store = self._store(orphan.store)
        token = str(uuid4())
        claim = partial(self._registry.quarantine.claim_orphan, context, orphan.id, token, lease=self._lease)
        claim()
        with LeaseKeeper(self._lease).keep(context, claim, f"the claim on orphan {orphan.id}"):
            try:
                store.delete(orphan.key)
            except BlobNotFound:
                pass
            except StoreError as error:
                raise Unavailable(f"orphan {orphan.id} was not removed: {error_text(error)}") from error
        self._registry.quarantine.orphan_done(context, orphan.id, token)
        table.say(f"{orphan.id}: removed from store {orphan.store}")

    def _find(self, context: RequestContext, identifier: str) -> Quarantined | OrphanObject:
        wanted = identifier.lower()
        for copy in self._registry.quarantine.listed(context):
            if copy.id == wanted:
                return copy
        for orphan in self._registry.quarantine.orphans(context):
            if orphan.id == wanted:
                return orphan
        raise NotFound(f"nothing in quarantine has the ID {identifier[:80]!r}")

    def _check_right(self, copy: StoredCopy) -> None:
        finding = prove(self._store(copy.store), copy, self._rate.take)
        if finding.result is ProofResult.RIGHT:
            return
        if finding.result is ProofResult.UNPROVED:
            table.tell(f"no digest of image {copy.image_id} is known: only the size of the copy was compared")
            return
        raise Conflict(f"location {copy.id} stays in quarantine: it is {finding.result.value}: {finding.detail}")

    def _copy_cells(self, copy: Quarantined) -> tuple[str, ...]:
        size = "-" if copy.size is None else str(copy.size)
        key = self._shown(copy)
        return (copy.id, "copy", copy.store, key, size, copy.since[:19], str(copy.copies), copy.reason or "")

    def _shown(self, copy: Quarantined) -> str:
        """Return the key without credentials (S-02): that of a web server is the address as it was registered."""
        if "://" not in copy.key:
            return copy.key
        try:
            return self._stores.get(copy.store).url(copy.key)
        except (UnknownStore, StoreError):
            return "-"

    def _store(self, name: str) -> Store:
        try:
            return self._stores.get(name)
        except UnknownStore as error:
            raise NotFound(f"the store {name} is not configured here") from error


def _context() -> RequestContext:
    return system_context(f"req-{uuid4()}")


def _orphan_cells(orphan: OrphanObject) -> tuple[str, ...]:
    return (orphan.id, "orphan", orphan.store, orphan.key, str(orphan.size), orphan.since[:19], "-",
            "no location owns it")
