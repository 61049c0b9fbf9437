"""Data of images from the cache of this node, or from their stores. Who may read them was settled before (S-05)."""

from collections.abc import Generator, Sequence
from functools import partial
from uuid import uuid4

from glance_api.cache.wanted import WantedData
from glance_api.content.streams import ByteRange
from glance_api.services import data, other_copies
from glance_api.services.collaborators import Services
from glance_api.services.data import Download
from glance_api.services.store_errors import as_api_error
from glance_common.digests import CHECKSUM
from glance_common.model.context import system_context
from glance_common.model.image import Image
from glance_common.model.status import ImageStatus
from glance_common.model.stored_copy import Damage
from glance_common.stores.base import StreamBlob
from glance_common.stores.contract import Blob, StoreError


def open_data(
    services: Services, image: Image, part: ByteRange | None, prefer: Sequence[str] = (), *, is_sent: bool = True
) -> Download:
    """Open the data of a ``readable`` image, or a part of them, in the cache or in a store; ``is_sent``: not for HEAD.

    ``prefer`` names the stores that are read before others when the cache has no copy. Raises Unavailable.
    """
    asked = wanted(services, image, prefer) if services.cache is not None else None
    if asked is None or services.cache is None:
        return data.open_stored(services, image, part, prefer)
    extent = _extent(part)
    try:
        blob = services.cache.read(asked, extent) if is_sent else services.cache.copy(asked, extent)
    except StoreError as error:
        raise as_api_error(error, "the image's data") from error
    return data.open_stored(services, image, part, prefer) if blob is None else _download(image, blob, part)


def open_cached(
    services: Services, image: Image, part: ByteRange | None, prefer: Sequence[str] = (), *, waits: bool
) -> Download | None:
    """Open the data of a ``readable`` image, or a part of them, in the cache; None when their store is to be read.

    Unless it ``waits`` for a store and for the first byte of a copy that is being made, their failures show later.
    Raises Unavailable.
    """
    asked = wanted(services, image, prefer) if services.cache is not None else None
    if asked is None or services.cache is None:
        return None
    try:
        blob = services.cache.read(asked, _extent(part), waits=waits)
    except StoreError as error:
        raise as_api_error(error, "the image's data") from error
    return None if blob is None else _download(image, blob, part)


def wanted(services: Services, image: Image, prefer: Sequence[str] = ()) -> WantedData | None:
    """Return what the cache needs to keep the data of an image, read with its locations.

    None for an image that is not active (a deactivated one is never kept or served: S-49, S-65), that has no data, or
    whose data cannot be verified because no digest of them is known.
    """
    if image.status is not ImageStatus.ACTIVE or not image.size:
        return None
    fingerprint = next((place.fingerprint for place in image.locations if place.fingerprint), None)
    proof = data.proof_of(image, fingerprint) or ((CHECKSUM, image.checksum) if image.checksum else None)
    if proof is None:
        return None
    stored = _Stored(services, image, prefer)
    return WantedData(image.id, image.size, *proof, image.checksum, stored.open, stored.damaged)


def _extent(part: ByteRange | None) -> tuple[int, int] | None:
    return (part.start, part.length) if part else None


def _download(image: Image, blob: Blob, part: ByteRange | None) -> Download:
    return Download(image=image, blob=blob, part=part, store="", is_cached=True)


class _Stored:
    """The data of an image in its stores; knows which copy was opened last to be read to its end, as a fill does."""

    def __init__(self, services: Services, image: Image, prefer: Sequence[str]) -> None:
        self._services = services
        self._image = image
        self._prefer = prefer
        self._location: str | None = None

    def open(self, offset: int, length: int | None) -> Blob:
        """Open ``length`` bytes from ``offset``. Raises as ``data.open_stored``."""
        size = self._image.size or 0
        is_whole = offset == 0 and length in (None, size)
        part = None if is_whole else ByteRange(offset, size - offset if length is None else length)
        # A reader that leaves a fill asks for a number of bytes, maybe of another copy.
        is_fill = length is None
        opened = other_copies.open_stored(self._services, self._image, part, self._prefer)
        if is_fill:
            self._location = opened.location
        pieces = other_copies.continued(opened.blob, partial(self._rest, opened, is_fill))
        return StreamBlob(opened.blob.size, pieces, opened.blob.close)

    def _rest(self, opened: Download, is_fill: bool, sent: int, error: Exception) -> Generator[bytes]:
        if is_fill:
            # From here on wrong data do not tell which of the copies is damaged.
            self._location = None
        return other_copies.rest(self._services, opened, sent, error)

    def damaged(self, damage: Damage, detail: str) -> None:
        """Take the copy that the fill has read out of use."""
        if self._location is not None:
            context = system_context(f"req-{uuid4()}")
            data.found_damaged(self._services, context, self._location, damage, detail)
