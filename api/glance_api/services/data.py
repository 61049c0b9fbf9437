"""Upload and download: bytes between clients and stores. No Flask here."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from uuid import uuid4

from glance_api.clients.key_manager import Credentials
from glance_api.content.streams import ByteRange, Received
from glance_api.services import attempts
from glance_api.services.attempts import Data, Formats
from glance_api.services.collaborators import EventServices, Services
from glance_api.services.events import images
from glance_api.services.locations.read import in_order
from glance_api.services.store_errors import as_api_error
from glance_common.damage import DamageReporter
from glance_common.digests import CHECKSUM, FINGERPRINT
from glance_common.failpoints import failpoint
from glance_common.model.context import RequestContext
from glance_common.model.errors import BadRequest, Forbidden, GlanceError, Gone, TooLarge, Unavailable
from glance_common.model.image import Image, ImageLocation, Upload
from glance_common.model.limits import Limits
from glance_common.model.status import ImageStatus
from glance_common.model.stored_copy import Damage
from glance_common.registry_client.uploads import UploadStart
from glance_common.stores.contract import Blob, RangeUnsupported, Store, Stored, StoreError, UnknownStore
from glance_common.stores.loader import Stores

LOG = logging.getLogger(__name__)

DATA_POLICY = "download_image"

VERIFY_ALWAYS = "always"
VERIFY_NEVER = "never"


@dataclass(frozen=True, slots=True)
class Source:
    """What a client sends: the pieces, the announced number of bytes, and the store it asks for (None = default).

    The certificate of a signed image is fetched with the client's ``credentials``. ``size`` and ``checksum`` (MD5) are
    what the client says about the data beside their announced number; None where it says nothing.
    """

    pieces: Iterable[bytes]
    announced: int | None
    store: str | None = None
    credentials: Credentials = field(default_factory=Credentials)
    size: int | None = None
    checksum: str | None = None

    def check(self, received: Received) -> None:
        """Raise BadRequest unless what came is what the client says."""
        if self.size not in (None, received.size):
            raise BadRequest(f"size: {self.size} bytes were announced, {received.size} came")
        if self.checksum is not None and self.checksum != (found := received.digests[CHECKSUM]):
            raise BadRequest(f"checksum: {self.checksum} was announced, that of the data is {found}")


@dataclass(frozen=True, slots=True)
class Download:
    """Opened data of an image: ``part`` is None for the whole of it. The caller closes ``blob``.

    ``location`` is the id of the copy which was opened, ``fingerprint`` what it is verified by. What is cached gives no
    wrong data as complete by itself.
    """

    image: Image
    blob: Blob
    part: ByteRange | None
    store: str
    fingerprint: str | None = None
    is_cached: bool = False
    location: str | None = None

    def proof(self) -> tuple[str, str] | None:
        """Return the algorithm and the digest by which the whole data are to be verified; None where none is known."""
        return None if self.is_cached else proof_of(self.image, self.fingerprint)


def proof_of(image: Image, fingerprint: str | None) -> tuple[str, str] | None:
    """Return the algorithm and the digest that the whole data have; None where none is known.

    ``fingerprint`` is that of one of its copies; it takes a tenth of the time.
    """
    algorithm, colon, digest = (fingerprint or "").partition(":")
    if colon and algorithm == FINGERPRINT:
        return algorithm, digest
    return (image.os_hash_algo, image.os_hash_value) if image.os_hash_algo and image.os_hash_value else None


def upload(
    services: Services,
    context: RequestContext,
    image_id: str,
    source: Source,
    on_fail: ImageStatus = ImageStatus.QUEUED,
) -> None:
    """Store the data of a queued image and make it active.

    On return the bytes are durable and the image is active. On any error after the start the image has the status
    ``on_fail``, or is in the hands of the reaper when the registry cannot be reached, and nothing of the data stays
    (lifecycle section 3).
    """
    store = _store_for(services.stores, source.store)
    image = services.registry.images.get(context, image_id)
    services.policy.check_image(context, "upload_image", image)
    if not store.capabilities.add:
        raise Gone(f"the store {store.id} takes no data")
    if source.announced is not None and source.announced > services.settings.image_size_cap:
        raise TooLarge(f"the image is larger than image_size_cap, {services.settings.image_size_cap} bytes")
    limits = services.limits.of(image.owner)
    start = UploadStart(store.id, source.announced, services.leases.seconds, on_fail)
    begun = services.registry.uploads.start(context, image_id, str(uuid4()), start, limits=limits)
    failpoint("api.upload.started")
    _receive(services, context, begun, store, source, limits)
    failpoint("api.upload.after-commit")


def _receive(
    services: Services, context: RequestContext, begun: Upload, store: Store, source: Source, limits: Limits | None
) -> None:
    """Write what the client sends into ``store`` as the attempt ``begun``, and commit it."""

    def commit(stored: Stored, received: Received) -> None:
        source.check(received)
        result = attempts.content(stored, received, services.settings.hashing_algorithm)
        image = services.registry.uploads.commit(context, begun.attempt, result, limits=limits)
        images.upload_finished(services, context, image, store.id)

    formats = Formats(begun.image.disk_format or "", begun.image.container_format or "")
    algorithms = attempts.algorithms(services.settings, services.settings.hashing_algorithm, source.checksum)
    data = Data(source.pieces, source.announced, formats, algorithms, source.credentials, limits)
    images.upload_begun(services, context, begun.image, store.id)
    try:
        attempts.write(services, context, begun, store, data, commit)
    except BaseException as error:
        images.upload_failed(services, context, begun.image.id, error)
        raise


def _store_for(stores: Stores, name: str | None) -> Store:
    if name is None:
        return stores.default
    try:
        return stores.get(name)
    except UnknownStore:
        raise BadRequest(f"X-Image-Meta-Store: there is no store {name[:80]!r}") from None


def readable(services: Services, context: RequestContext, image_id: str) -> Image | None:
    """Return the image whose data the caller may read, with its locations; None while it has no data.

    Raises NotFound, PolicyDenied, and Forbidden for a deactivated image.
    """
    image = services.registry.images.get(context, image_id, locations=True)
    services.policy.check_image(context, DATA_POLICY, image)
    if image.status is ImageStatus.DEACTIVATED and not context.is_admin:
        raise Forbidden("the image is deactivated")
    if image.status not in (ImageStatus.ACTIVE, ImageStatus.DEACTIVATED) or image.size is None:
        return None
    return image


def open_stored(
    services: Services, image: Image, part: ByteRange | None, prefer: Sequence[str] = (), without: Sequence[str] = ()
) -> Download:
    """Open the data of a ``readable`` image, or a part of them, in one of the stores in ``prefer`` if that can be.

    The next location is tried when one cannot be opened; those in ``without`` are not. Raises BadRequest when a store
    can send only the whole, Unavailable when none can send anything.
    """
    if image.size == 0 and not image.locations:
        return Download(image=image, blob=NoData(), part=None, store="")
    failure: Exception | None = None
    for location in in_order(services, image.locations, prefer):
        if location.id in without:
            continue
        try:
            return _open(services.stores, image, location, part)
        except (StoreError, GlanceError) as error:
            failure = failure if isinstance(failure, RangeUnsupported) else error
            LOG.error("image %s cannot be read from store %s: %s", image.id, location.store, error)
    if isinstance(failure, StoreError):
        raise as_api_error(failure, "the image's data") from failure
    raise failure or Unavailable("no store holds the data of this image")


def elsewhere(services: Services, image: Image, prefer: Sequence[str], client: str) -> str | None:
    """Return an address at which this client reads the data of a ``readable`` image at their store; mostly None.

    Only the location that comes first counts. The address is a credential, and its store is not asked for it. Data that
    are verified always are not read elsewhere.
    """
    if services.settings.verify_downloads == VERIFY_ALWAYS:
        return None
    location = next(iter(in_order(services, image.locations, prefer)), None)
    if location is None:
        return None
    try:
        address = services.stores.direct_address(location.store, location.key, client)
    except StoreError as error:
        LOG.warning("image %s: no address in store %s: %s", image.id, location.store, error)
        return None
    if address is not None:
        LOG.info("image %s is read by %s at store %s", image.id, client, location.store)
    return address


def found_damaged(
    services: EventServices, context: RequestContext, location: str, damage: Damage, detail: str
) -> None:
    """Take a copy that a reader found damaged out of use, so that it is never served again (I8). Never raises."""
    DamageReporter(services.registry.quarantine, services.notifications).report(context, location, damage, detail)


class NoData:
    """The data of an image that was made without any, which v1 allows (lifecycle section 2)."""

    size = 0

    def fileno(self) -> int | None:
        """Return None: there is no file."""
        return None

    def path(self) -> str | None:
        """Return None, as ``fileno``."""
        return None

    def __iter__(self) -> Iterator[bytes]:
        return iter(())

    def close(self) -> None:
        """Nothing is open."""


def _open(stores: Stores, image: Image, location: ImageLocation, part: ByteRange | None) -> Download:
    store = stores.get(location.store)
    blob = store.open(location.key, part.start, part.length) if part else store.open(location.key)
    if blob.size != image.size:
        blob.close()
        raise Unavailable(f"the copy in store {store.id} has {blob.size} bytes instead of {image.size}")
    return Download(
        image=image, blob=blob, part=part, store=store.id, fingerprint=location.fingerprint, location=location.id
    )
