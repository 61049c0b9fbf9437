"""An attempt to put bytes into a store, with one owner for every byte at every moment.

Uploads, staging and imports write in this one way. The registry makes the attempt's location row before the first byte,
keeps its lease, and either commits it or gives it to the reaper. Only an attempt that the registry called aborted may
remove what it wrote, because until then a commit may still be under way.
"""

import logging
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial

from glance_api.clients.key_manager import Credentials
from glance_api.content.formats import Inspection
from glance_api.content.signatures import Verification
from glance_api.content.streams import Received, StreamChecks, UploadStream
from glance_api.services import access, keys
from glance_api.services.collaborators import AttemptServices
from glance_api.services.quotas import Reservation
from glance_api.services.store_errors import as_api_error
from glance_api.settings import Settings
from glance_common.digests import CHECKSUM, FINGERPRINT, Digests
from glance_common.failpoints import failpoint
from glance_common.leases import Lease
from glance_common.model.context import RequestContext
from glance_common.model.errors import GlanceError, OutcomeUnknown, Unavailable
from glance_common.model.image import Upload
from glance_common.model.limits import Limits
from glance_common.purge import Outcome, Purger, Verdict, error_text
from glance_common.registry_client.uploads import UploadResult
from glance_common.stores.caller import data_of
from glance_common.stores.contract import BlobExists, Store, Stored, StoreError

LOG = logging.getLogger(__name__)

_LEFT_BEHIND = "what upload %s left is removed later by the scrubber: %s"

_COPIED_FORMATS = frozenset({"qcow2", "vmdk", "vhd", "vhdx", "vdi", "ploop"})
"""Disk formats that Nova and Cinder convert, wherever the image is."""

Commit = Callable[[Stored, Received], object]
"""Tells the registry that the bytes are durable."""


def algorithms(settings: Settings, algorithm: str, checksum: str | None) -> tuple[str, ...]:
    """Return the digests to compute: by ``algorithm``, and the checksum if the options want it or it is known already.

    What a client or the image says of the data is compared, whatever the options say.
    """
    return (CHECKSUM, algorithm) if settings.compute_checksum or checksum is not None else (algorithm,)


def content(stored: Stored, received: Received, algorithm: str) -> UploadResult:
    """Return what the registry is told of the data at the commit; ``algorithm`` is the one of ``os_hash_value``."""
    return UploadResult(
        received.size,
        stored.metadata,
        checksum=received.digests.get(CHECKSUM),
        os_hash_algo=algorithm,
        os_hash_value=received.digests[algorithm],
        virtual_size=received.virtual_size,
        key=stored.key,
        fingerprint=f"{FINGERPRINT}:{received.digests[FINGERPRINT]}",
    )


@dataclass(frozen=True, slots=True)
class Formats:
    """What the bytes are declared to be, for their inspection."""

    disk: str
    container: str


@dataclass(frozen=True, slots=True)
class Data:
    """The bytes to write: their announced number (None = unknown), their formats, and the digests to compute.

    ``formats`` are None for data that only wait on this node: the import inspects them before it uses them.
    ``signed`` says how the data of a signed image are verified: with the certificate that the caller's credentials
    open, or with what was kept when the work was asked for; None for copies of data that were verified.
    ``limits`` are those of the image's owner: room for bytes that were not announced is reserved as they come.
    """

    pieces: Iterable[bytes]
    announced: int | None
    formats: Formats | None
    algorithms: tuple[str, ...]
    signed: Credentials | Verification | None = None
    limits: Limits | None = None


def write(
    services: AttemptServices, context: RequestContext, begun: Upload, store: Store, data: Data, commit: Commit
) -> Received:
    """Write ``data`` into ``store`` as the attempt ``begun`` and commit it.

    On return the bytes are durable and committed. On any error the attempt is aborted and what it wrote removed, or
    both are left to the reaper when the registry cannot be reached. Raises GlanceError: Gone when the image was deleted
    meanwhile, what a store's error means to a client, and whatever the pieces raise.
    """
    try:
        with kept_alive(services, context, begun) as lease:
            stored, received = _store_pieces(services, context, store, begun, data, lease)
            failpoint("api.upload.before-commit")
            commit(stored, received)
            access.set_new(services, context, begun.image.id, store, stored.key or begun.location.key)
    except OutcomeUnknown as error:
        # The commit may have happened: the bytes stay until the registry, or the reaper, has decided.
        raise Unavailable(f"the upload could not be completed: {error.message}") from error
    except BaseException as error:
        _give_up(services, context, begun, store, error)
        if isinstance(error, StoreError):
            raise as_api_error(error, store.id) from error
        raise
    _tell_format(store, begun)
    return received


def _tell_format(store: Store, begun: Upload) -> None:
    """Warn of an image that others would clone in its store if it were raw."""
    image = begun.image
    if store.capabilities.clones and image.disk_format in _COPIED_FORMATS:
        LOG.warning(
            "image %s in store %s has the format %s: only raw images can be cloned there, so that every disk is made "
            "as a converted copy", image.id, store.id, image.disk_format,
        )


def kept_alive(services: AttemptServices, context: RequestContext, begun: Upload) -> AbstractContextManager[Lease]:
    """Return a block that keeps the lease of an attempt alive. Entering it raises Unavailable without a thread."""
    renew = partial(services.registry.uploads.renew, context, begun.attempt, lease=services.leases.seconds)
    return services.leases.keep(context, renew, f"upload {begun.attempt}")


def _store_pieces(
    services: AttemptServices, context: RequestContext, store: Store, begun: Upload, data: Data, lease: Lease
) -> tuple[Stored, Received]:
    settings = services.settings
    verification = data.signed
    if isinstance(verification, Credentials):
        # Of the image as the attempt found it: its properties may have changed since the request looked at them.
        verification = keys.verification(services.keys, verification, begun.image.properties)
    digests = Digests((FINGERPRINT, *data.algorithms, *([verification.algorithm] if verification else [])))
    formats, limits = data.formats, data.limits if data.announced is None else None
    intake = UploadStream(
        data.pieces,
        announced=data.announced,
        cap=settings.image_size_cap,
        digests=digests,
        inspection=None if formats is None else Inspection(formats.disk, formats.container, settings.format_rules),
        checks=StreamChecks(
            still_wanted=lease.check,
            verify=verification.verify if verification else None,
            cover=None if limits is None else Reservation(services, context, begun, limits).cover,
        ),
    )
    try:
        with data_of(begun.image.owner):
            stored = store.add(begun.location.key, intake, data.announced)
    finally:
        digests.close()
    if stored.size != intake.received.size:
        raise Unavailable(f"the store {store.id} kept {stored.size} of {intake.received.size} bytes")
    return stored, intake.received


def _give_up(
    services: AttemptServices, context: RequestContext, begun: Upload, store: Store, cause: BaseException
) -> None:
    """Abort the attempt and remove what it wrote; what cannot be done now is left to the reaper."""
    LOG.info("upload %s of image %s failed: %s", begun.attempt, begun.image.id, reason(cause))
    try:
        aborted = services.registry.uploads.abort(context, begun.attempt, error=reason(cause))
        if aborted is None:
            return
        failpoint("api.upload.aborted")
        if isinstance(cause, BlobExists):
            # A store that refused the key as taken holds nothing of this attempt.
            services.registry.deletions.done(context, aborted.location, aborted.token)
            return
        purger = Purger(services.registry.deletions, lambda _: store, _leave, services.leases)
        purged = purger.finish(context, aborted)
        if purged.outcome is Outcome.LEFT:
            LOG.warning(_LEFT_BEHIND, begun.attempt, purged.verdict.error)
    except GlanceError as error:
        LOG.warning(_LEFT_BEHIND, begun.attempt, error)


def _leave(error: Exception, _attempts: int) -> Verdict:
    return Verdict(Outcome.LEFT, error_text(error))


def reason(error: BaseException) -> str:
    """Return a short text for row and log; of foreign exceptions only the type, as their text may hold secrets."""
    if isinstance(error, GlanceError | StoreError):
        return f"{type(error).__name__}: {error}"[:500]
    return type(error).__name__
