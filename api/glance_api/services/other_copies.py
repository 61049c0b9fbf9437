"""The rest of data whose copy cannot be read any further, from another copy of the same image."""

import logging
from collections.abc import Iterator
from contextlib import suppress

from glance_api.content.streams import ByteRange
from glance_api.services import data
from glance_api.services.collaborators import Services
from glance_api.services.data import Download
from glance_common.model.errors import GlanceError, Unavailable
from glance_common.stores.contract import StoreError

LOG = logging.getLogger(__name__)


def rest(services: Services, opened: Download, sent: int, cause: Exception) -> Iterator[bytes]:
    """Yield what comes behind the first ``sent`` bytes of opened data, from copies that were not tried yet.

    A copy in the cache that cannot be read leaves the cache. Raises ``cause`` when no other copy gives the rest.
    """
    image = opened.image
    start = opened.part.start if opened.part else 0
    missing = (opened.part.length if opened.part else image.size or 0) - sent
    _give_up(services, opened, start + sent, cause)
    tried = [opened.location]
    while missing > 0:
        try:
            part = ByteRange(start + sent, missing)
            other = data.open_stored(services, image, part, without=[each for each in tried if each is not None])
        except GlanceError:
            raise cause from None
        LOG.warning("image %s: %d bytes from byte %d come from store %s", image.id, missing, part.start, other.store)
        tried.append(other.location)
        try:
            for piece in other.blob:
                sent, missing = sent + len(piece), missing - len(piece)
                yield piece
        except StoreError as error:
            _give_up(services, other, start + sent, error)
        finally:
            other.blob.close()


def _give_up(services: Services, opened: Download, at: int, error: Exception) -> None:
    place = "the cache" if opened.is_cached else f"store {opened.store}"
    reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
    LOG.error("image %s cannot be read from %s any further than byte %d: %s", opened.image.id, place, at, reason)
    if opened.is_cached and services.cache is not None:
        with suppress(Unavailable):
            services.cache.drop(opened.image.id)
