"""Upload and download: bytes between clients and stores, with one owner for every byte at every moment.

No Flask here. An upload is an *attempt*: the registry makes its location row before the first byte, keeps its lease,
and either commits it together with the image or gives it to the reaper. Only an attempt that the registry called
aborted may remove what it wrote, because until then a commit may still be under way.
"""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from uuid import uuid4

from glance_api.collaborators import Glance
from glance_api.digests import Digests
from glance_api.formats import Inspection
from glance_api.leases import Lease
from glance_api.services.images import check_image
from glance_api.services.store_errors import as_api_error
from glance_api.streams import ByteRange, Intake, Received
from glance_common.context import RequestContext
from glance_common.errors import (
    BadRequest,
    Forbidden,
    GlanceError,
    Gone,
    OutcomeUnknown,
    TooLarge,
    Unavailable,
)
from glance_common.failpoints import failpoint
from glance_common.image import Image, ImageLocation, Upload
from glance_common.status import ImageStatus
from glance_common.stores.contract import Blob, BlobExists, BlobNotFound, Store, Stored, StoreError, UnknownStore

LOG = logging.getLogger(__name__)

DATA_POLICY = "download_image"


@dataclass(frozen=True, slots=True)
class Source:
    """What a client sends: the pieces, the announced number of bytes, and the store it asks for (None = default)."""

    pieces: Iterable[bytes]
    announced: int | None
    store: str | None = None


@dataclass(frozen=True, slots=True)
class Download:
    """Opened data of an image: ``part`` is None for the whole of it. The caller closes ``blob``."""

    image: Image
    blob: Blob
    part: ByteRange | None
    store: str


def upload(glance: Glance, context: RequestContext, image_id: str, source: Source) -> None:
    """Store the data of a queued image and make it active.

    On return the bytes are durable and the image is active. On any error the image is back in ``queued``, or in the
    hands of the reaper when the registry cannot be reached, and nothing of the data stays (lifecycle section 3).
    """
    store = _store_for(glance, source.store)
    image = glance.registry.images.get(context, image_id)
    check_image(glance, context, "upload_image", image)
    if not store.capabilities.add:
        raise Gone(f"the store {store.id} takes no data")
    if source.announced is not None and source.announced > glance.settings.image_size_cap:
        raise TooLarge(f"the image is larger than image_size_cap, {glance.settings.image_size_cap} bytes")
    attempt = str(uuid4())
    begun = glance.registry.uploads.start(
        context, image_id, attempt, store=store.id, size=source.announced, lease=glance.leases.seconds,
        on_fail=ImageStatus.QUEUED,
    )
    failpoint("api.upload.started")
    try:
        with glance.leases.keep(context, attempt) as lease:
            stored, received = _store_pieces(glance, store, begun, source, lease)
            failpoint("api.upload.before-commit")
            _commit(glance, context, attempt, stored, received)
    except OutcomeUnknown as error:
        # The commit may have happened: the bytes stay until the registry, or the reaper, has decided.
        raise Unavailable(f"the upload could not be completed: {error.message}") from error
    except BaseException as error:
        _give_up(glance, context, begun, store, error)
        if isinstance(error, StoreError):
            raise as_api_error(error, store.id) from error
        raise
    failpoint("api.upload.after-commit")


def _store_for(glance: Glance, name: str | None) -> Store:
    if name is None:
        return glance.stores.default
    try:
        return glance.stores.get(name)
    except UnknownStore:
        raise BadRequest(f"X-Image-Meta-Store: there is no store {name!r}") from None


def _store_pieces(
    glance: Glance, store: Store, begun: Upload, source: Source, lease: Lease
) -> tuple[Stored, Received]:
    image, settings = begun.image, glance.settings
    digests = Digests(("md5", settings.hashing_algorithm))
    intake = Intake(
        source.pieces,
        announced=source.announced,
        cap=settings.image_size_cap,
        digests=digests,
        inspection=Inspection(image.disk_format or "", image.container_format or "", settings.format_rules),
        still_wanted=lease.check,
    )
    try:
        stored = store.add(begun.location.key, intake, source.announced)
    finally:
        digests.close()
    if stored.size != intake.received.size:
        raise Unavailable(f"the store {store.id} kept {stored.size} of {intake.received.size} bytes")
    return stored, intake.received


def _commit(glance: Glance, context: RequestContext, attempt: str, stored: Stored, received: Received) -> None:
    algorithm = glance.settings.hashing_algorithm
    glance.registry.uploads.commit(
        context,
        attempt,
        size=received.size,
        checksum=received.digests["md5"],
        os_hash_algo=algorithm,
        os_hash_value=received.digests[algorithm],
        virtual_size=received.virtual_size,
        metadata=stored.metadata,
    )


def _give_up(glance: Glance, context: RequestContext, begun: Upload, store: Store, cause: BaseException) -> None:
    """Abort the attempt and remove what it wrote; what cannot be done now is left to the reaper."""
    LOG.info("upload %s of image %s failed: %s", begun.attempt, begun.image.id, _reason(cause))
    try:
        aborted = glance.registry.uploads.abort(context, begun.attempt, error=_reason(cause))
        if aborted is None:
            return
        failpoint("api.upload.aborted")
        _remove(store, begun.location.key, cause)
        glance.registry.deletions.done(context, aborted.location, aborted.token)
    except (GlanceError, StoreError) as error:
        LOG.warning("what upload %s left is removed later by the scrubber: %s", begun.attempt, error)


def _remove(store: Store, key: str, cause: BaseException) -> None:
    """Remove the attempt's own data. A store that refused the key as taken holds nothing of this attempt."""
    if isinstance(cause, BlobExists):
        return
    try:
        store.delete(key)
    except BlobNotFound:
        return


def _reason(error: BaseException) -> str:
    """Return a short text for row and log; of foreign exceptions only the type, as their text may hold secrets."""
    if isinstance(error, GlanceError | StoreError):
        return f"{type(error).__name__}: {error}"[:500]
    return type(error).__name__


def open_data(
    glance: Glance, context: RequestContext, image_id: str, wanted: Callable[[int], ByteRange | None]
) -> Download | None:
    """Open the data of an image, or the part that ``wanted`` names for the image's size; None without data.

    Raises Forbidden for a deactivated image, RangeNotSatisfiable and BadRequest from ``wanted``, and Unavailable when
    no location of an active image can be read.
    """
    image = glance.registry.images.get(context, image_id, locations=True)
    check_image(glance, context, DATA_POLICY, image)
    if image.status is ImageStatus.DEACTIVATED and not context.is_admin:
        raise Forbidden("the image is deactivated")
    if image.status not in (ImageStatus.ACTIVE, ImageStatus.DEACTIVATED) or image.size is None:
        return None
    part = wanted(image.size)
    failure: Exception | None = None
    for location in _by_weight(glance, image.locations):
        try:
            return _open(glance, image, location, part)
        except (StoreError, GlanceError) as error:
            failure = error
            LOG.error("image %s cannot be read from store %s: %s", image.id, location.store, error)
    if isinstance(failure, StoreError):
        raise as_api_error(failure, "the image's data") from failure
    raise failure or Unavailable("no store holds the data of this image")


def _by_weight(glance: Glance, locations: tuple[ImageLocation, ...]) -> list[ImageLocation]:
    """Return the locations to try, the store with the highest weight first, otherwise in the order they were added."""
    known = {store.id: store.weight for store in glance.stores}
    return sorted(locations, key=lambda location: -known.get(location.store, 0))


def _open(glance: Glance, image: Image, location: ImageLocation, part: ByteRange | None) -> Download:
    store = glance.stores.get(location.store)
    blob = store.open(location.key, part.start, part.length) if part else store.open(location.key)
    if blob.size != image.size:
        blob.close()
        raise Unavailable(f"the copy in store {store.id} has {blob.size} bytes instead of {image.size}")
    return Download(image=image, blob=blob, part=part, store=store.id)
