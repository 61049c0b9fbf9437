"""Copy one source into the stores of an import: one attempt per store, several at the same time."""

import hashlib
import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from contextvars import copy_context
from dataclasses import dataclass
from functools import partial
from uuid import uuid4

from glance_api.background.job import Job, explain
from glance_api.content.signatures import Verification
from glance_api.content.streams import Received
from glance_api.imports.contract import ImportFailed
from glance_api.services import attempts
from glance_api.services.attempts import Data, Formats
from glance_api.services.events import images
from glance_common.digests import CHECKSUM
from glance_common.failpoints import failpoint
from glance_common.fetch.deadlines import pause
from glance_common.model.errors import Unavailable
from glance_common.model.image import Image
from glance_common.model.status import ImageStatus
from glance_common.registry_client.uploads import UploadStart
from glance_common.stores.contract import Store, Stored, StoreResting
from glance_common.stores.decorators.circuit import REST

LOG = logging.getLogger(__name__)

Opener = Callable[[], AbstractContextManager[Iterable[bytes]]]
"""Opens the bytes anew for each store; raises SourceFailed, also while they are read."""


class SourceFailed(ImportFailed):
    """This source cannot give the bytes; another source may have them."""


class _Ended(Exception):
    """Another copy of the same import failed, so this one ends too."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Where the data go: ``all_must_succeed`` false makes the image active with the first store that has them.

    ``size`` is the number of bytes, ``sources`` are tried one after another. ``signed`` verifies the data (S-29).
    """

    stores: tuple[str, ...]
    all_must_succeed: bool
    parallel: int
    size: int
    sources: Sequence[Opener]
    signed: Verification | None = None


def fill(job: Job, image: Image, plan: Plan) -> dict[str, str]:
    """Put the data into each store that does not have them yet; return the stores that failed, and why.

    Raises ImportFailed when a store failed that must not fail, or none has the data in the end, and whatever
    ``Job.check`` raises.
    """
    present = {location.store for location in image.locations}
    missing = [store for store in plan.stores if store not in present]
    copies = _Copies(job, image, plan)
    with ThreadPoolExecutor(min(plan.parallel, len(missing)) or 1, thread_name_prefix="copy") as pool:
        # Each with the context variables of this thread: the lines of the log carry the request id.
        running = [pool.submit(copy_context().run, copies.make, store) for store in missing]
    failures = {store: why for store, copy in zip(missing, running, strict=True) if (why := copy.result())}
    if failures and not present and len(failures) == len(missing):
        raise ImportFailed("; ".join(failures.values()))
    return failures


class _Copies:
    """The copies of one image."""

    def __init__(self, job: Job, image: Image, plan: Plan) -> None:
        self._job = job
        self._image = image
        self._plan = plan
        self._limits = job.services.limits.of(image.owner)
        self._over = threading.Event()
        # Several copies may make the image active; one of them sends the notification.
        self._activation = threading.Semaphore(0 if image.status is ImageStatus.ACTIVE else 1)

    def make(self, store: str) -> str | None:
        """Copy into ``store``; return why that failed, where it may. Raises what ends the whole import."""
        try:
            self._check()
            self._from_any_source(store)
        except _Ended:
            return None
        except Exception as error:
            if not self._job.is_failure(error):
                self._over.set()
                raise
            reason = explain(error)
            images.upload_failed(self._job.services, self._job.context, self._image.id, reason)
            why = reason if reason.startswith(f"{store}:") else f"{store}: {reason}"
            if self._plan.all_must_succeed:
                self._over.set()
                raise ImportFailed(why) from error
            LOG.warning("image %s is not stored in %s", self._image.id, why)
            image = self._job.services.registry.operations.store_failed(self._job.context, self._job.held, store)
            images.image_updated(self._job.services, self._job.context, image)
            return why
        return None

    def _check(self) -> None:
        self._job.check()
        if self._over.is_set():
            raise _Ended

    def _from_any_source(self, store: str) -> None:
        failure: SourceFailed | None = None
        for source in self._plan.sources:
            try:
                return self._copy_when_rested(store, source)
            except SourceFailed as error:
                LOG.error("image %s: %s", self._image.id, error)
                failure = error
        raise failure or SourceFailed("there is nothing that could be copied")

    def _copy_when_rested(self, store: str, source: Opener) -> None:
        """Copy; wait once for a store that was not even asked: hours of an import must not depend on some seconds."""
        try:
            self._copy(store, source)
        except Unavailable as error:
            if not isinstance(error.__cause__, StoreResting):
                raise
            pause(REST)
            self._copy(store, source)

    def _copy(self, store_id: str, source: Opener) -> None:
        job, services, image = self._job, self._job.services, self._image
        store = services.stores.get(store_id)
        algorithm = _algorithm(image, services.settings.hashing_algorithm)
        with source() as pieces:
            attempt = str(uuid4())
            start = UploadStart(store_id, self._plan.size, services.leases.seconds, operation=job.held)
            begun = services.registry.uploads.start(job.context, image.id, attempt, start, limits=self._limits)
            failpoint("api.import.store-started")
            images.copy_begun(services, job.context, begun.image, store_id)
            formats, signed = _formats(begun.image), self._plan.signed
            algorithms = attempts.algorithms(services.settings, algorithm, image.checksum)
            data = Data(self._counted(pieces), self._plan.size, formats, algorithms, signed)
            attempts.write(services, job.context, begun, store, data, partial(self._commit, store, attempt, algorithm))
        failpoint("api.import.store-committed")

    def _counted(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            self._check()
            self._job.progress.add(len(piece))
            yield piece

    def _commit(self, store: Store, attempt: str, algorithm: str, stored: Stored, received: Received) -> None:
        if not _is_same(self._image, received):
            raise SourceFailed("what was read are not the data of the image")
        image = self._job.services.registry.uploads.commit(
            self._job.context,
            attempt,
            attempts.content(stored, received, algorithm),
            operation=self._job.held,
            activate=not self._plan.all_must_succeed,
            limits=self._limits,
        )
        activated = image.status is ImageStatus.ACTIVE and self._activation.acquire(blocking=False)
        images.upload_finished(self._job.services, self._job.context, image, store.id, activated=activated)


def _formats(image: Image) -> Formats:
    """Return what the data are inspected as; the bytes of an image that has data are compared with these instead."""
    has_data = image.checksum or image.os_hash_value
    return Formats("", "") if has_data else Formats(image.disk_format or "", image.container_format or "")


def _is_same(image: Image, received: Received) -> bool:
    """Say whether digests of the image, where it has any, are those of the bytes (S-71)."""
    known = {CHECKSUM: image.checksum, str(image.os_hash_algo): image.os_hash_value}
    return all(known.get(name) in (None, digest) for name, digest in received.digests.items())


def _algorithm(image: Image, configured: str) -> str:
    """Return the algorithm by which a copy is compared with the image's data (S-71), or the one for new data."""
    known = image.os_hash_algo
    return known if known is not None and known in hashlib.algorithms_available else configured
