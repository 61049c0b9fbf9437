"""Replaces a quarantined copy by a good one of another store, under a key of its own; the damaged bytes stay (I3, I7).

The new copy is an attempt like every upload: its location row is made before the first byte, a lease is renewed while
it is written, and what a failure leaves is purged. The good copy is verified while it is copied.
"""

import hashlib
import logging
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from uuid import uuid4

from glance_common.access_lists import set_access
from glance_common.damage import DamageReporter
from glance_common.digests import CHECKSUM, FINGERPRINT, Digests
from glance_common.failpoints import failpoint
from glance_common.leases import Lease, LeaseKeeper
from glance_common.model.context import RequestContext
from glance_common.model.errors import Conflict, GlanceError, Gone, NotFound, OutcomeUnknown
from glance_common.model.image import Upload
from glance_common.model.status import LocationStatus
from glance_common.model.stored_copy import Damage, Quarantined, StoredCopy
from glance_common.purge import Outcome, Purger, Verdict, error_text
from glance_common.registry_client import RegistryClient
from glance_common.registry_client.uploads import UploadResult
from glance_common.stores.caller import data_of
from glance_common.stores.contract import BlobExists, BlobNotFound, Store, Stored, StoreError, UnknownStore
from glance_common.stores.loader import Stores
from glance_scrubber.proof import Pass, difference, known_digests

LOG = logging.getLogger(__name__)


class SourceDamaged(Exception):
    """The copy that was read is not good either."""

    def __init__(self, damage: Damage, detail: str) -> None:
        super().__init__(detail)
        self.damage = damage
        self.detail = detail


class RepairStopped(Exception):
    """This process ends."""


@dataclass(frozen=True, slots=True)
class RepairTools:
    """What a repair works with; ``each`` bounds the rate of reading."""

    registry: RegistryClient
    stores: Stores
    leases: LeaseKeeper
    reporter: DamageReporter
    each: Pass


class Repair:
    """Repairs one quarantined copy at a time in each thread."""

    def __init__(self, tools: RepairTools) -> None:
        self._tools = tools

    def repair(self, context: RequestContext, damaged: Quarantined) -> bool:
        """Replace a copy when another store has a good one; return whether it is replaced now.

        Raises GlanceError when the registry cannot be asked.
        """
        try:
            store = self._tools.stores.get(damaged.store)
        except UnknownStore:
            return False
        if not store.capabilities.add:
            return False
        for source in self._sources(context, damaged):
            try:
                location = self._copy(context, damaged, store, source)
            except RepairStopped:
                return False
            except (Conflict, NotFound) as error:
                # Replaced by another process, or the image was deleted meanwhile.
                LOG.info("%s", error.message)
                return False
            except SourceDamaged as error:
                self._tools.reporter.report(context, source.id, error.damage, error.detail)
            except (StoreError, Gone) as error:
                LOG.warning("image %s: its copy in store %s is not replaced from store %s: %s",
                            damaged.image_id, store.id, source.store, error)
            else:
                self._tools.reporter.replaced(context, damaged, location, source.store)
                return True
        return False

    def _sources(self, context: RequestContext, damaged: Quarantined) -> Iterator[StoredCopy]:
        for copy in self._tools.registry.quarantine.of_image(context, damaged.image_id):
            is_good = copy.status is LocationStatus.ACTIVE and not copy.lent and known_digests(copy)
            if is_good and copy.store in self._tools.stores.ids:
                yield copy

    def _copy(self, context: RequestContext, damaged: Quarantined, store: Store, source: StoredCopy) -> str:
        """Return the id of the new location."""
        tools = self._tools
        attempt = str(uuid4())
        begun = tools.registry.quarantine.replace(context, damaged.id, attempt, lease=tools.leases.seconds)
        failpoint("repair.started")
        renew = partial(tools.registry.uploads.renew, context, attempt, lease=tools.leases.seconds)
        try:
            with tools.leases.keep(context, renew, f"repair {attempt}") as lease, data_of(source.owner):
                reading = _Reading(tools.stores.get(source.store), source, tools.each, lease)
                stored = store.add(begun.location.key, reading, source.image_size)
                failpoint("repair.before-commit")
                tools.registry.uploads.commit(context, attempt, reading.content(stored))
        except OutcomeUnknown:
            # The commit may have happened: the registry, or the reaper, decides.
            raise
        except BaseException as error:
            self._give_up(context, begun, store, error)
            raise
        failpoint("repair.after-commit")
        self._let_read(context, begun, store, stored.key or begun.location.key)
        return begun.location.id

    def _let_read(self, context: RequestContext, begun: Upload, store: Store, key: str) -> None:
        """Tell a store that keeps such lists who may read the new copy."""
        if not store.capabilities.access_lists:
            return
        try:
            set_access(self._tools.registry, context, begun.image, {key: store})
        except GlanceError as error:
            LOG.warning("image %s: the store %s was not told who may read it: %s", begun.image.id, store.id, error)

    def _give_up(self, context: RequestContext, begun: Upload, store: Store, cause: BaseException) -> None:
        """Abort the attempt and remove what it wrote; what cannot be done now is left to the reaper."""
        registry = self._tools.registry
        try:
            text = error_text(cause) if isinstance(cause, Exception) else type(cause).__name__
            aborted = registry.uploads.abort(context, begun.attempt, error=text)
            if aborted is None:
                return
            if isinstance(cause, BlobExists):
                # A store that refused the key as taken holds nothing of this attempt.
                registry.deletions.done(context, aborted.location, aborted.token)
                return
            purged = Purger(registry.deletions, lambda _: store, _leave, self._tools.leases).finish(context, aborted)
            if purged.outcome is Outcome.LEFT:
                LOG.warning("what repair %s left is removed later: %s", begun.attempt, purged.verdict.error)
        except GlanceError as error:
            LOG.warning("what repair %s left is removed later: %s", begun.attempt, error)


def _leave(error: Exception, _attempts: int) -> Verdict:
    return Verdict(Outcome.LEFT, error_text(error))


class _Reading:
    """The pieces of a good copy on their way to the store that lacks one; ends normally only when all digests hold."""

    def __init__(self, store: Store, copy: StoredCopy, each: Pass, lease: Lease) -> None:
        self._store = store
        self._copy = copy
        self._each = each
        self._lease = lease
        self._found: dict[str, str] = {}

    def __iter__(self) -> Iterator[bytes]:
        copy, count = self._copy, 0
        known = known_digests(copy)
        digests = Digests(_algorithms(copy))
        try:
            with closing(self._store.open(copy.key)) as blob:
                for piece in blob:
                    self._lease.check()
                    count += len(piece)
                    if not self._each(len(piece)):
                        raise RepairStopped
                    digests.update(piece)
                    yield piece
            self._found = digests.finish()
        except BlobNotFound as error:
            raise SourceDamaged(Damage.MISSING, "the store holds nothing under the key") from error
        finally:
            digests.close()
        if count != copy.image_size:
            raise SourceDamaged(Damage.SIZE, f"{count} bytes instead of {copy.image_size}")
        wrong = difference(known, self._found)
        if wrong:
            raise SourceDamaged(Damage.DIGEST, wrong)

    def content(self, stored: Stored) -> UploadResult:
        """Return what the registry is told of the new copy."""
        copy = self._copy
        return UploadResult(
            stored.size,
            stored.metadata,
            checksum=self._found.get(CHECKSUM),
            os_hash_algo=copy.os_hash_algo if copy.os_hash_algo in self._found else None,
            os_hash_value=self._found.get(copy.os_hash_algo or ""),
            key=stored.key,
            fingerprint=f"{FINGERPRINT}:{self._found[FINGERPRINT]}",
        )


def _algorithms(copy: StoredCopy) -> list[str]:
    """Return the digests that the registry compares with those of the image, and the new copy's fingerprint."""
    has_hash = copy.os_hash_algo and copy.os_hash_algo in hashlib.algorithms_available
    named = [copy.os_hash_algo] if has_hash and copy.os_hash_algo else []
    return [FINGERPRINT, *named, *([CHECKSUM] if copy.checksum else [])]
