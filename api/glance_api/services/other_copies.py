"""The rest of data whose copy cannot be read any further, from another copy of the same image."""

import logging
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import replace
from itertools import chain

from glance_api.cache.fill import pieces_of
from glance_api.content.streams import ByteRange, DamagedData, verified
from glance_api.services import data
from glance_api.services.collaborators import Services
from glance_api.services.data import VERIFY_ALWAYS, VERIFY_NEVER, Download
from glance_common.model.errors import BadRequest, GlanceError, Unavailable
from glance_common.model.image import Image
from glance_common.stores.base import StreamBlob
from glance_common.stores.contract import StoreError

LOG = logging.getLogger(__name__)

Rest = Callable[[int, Exception], Generator[bytes]]
"""Yields what comes behind so many bytes that were sent, as the copy failed; raises its error without another copy."""


class _BeginningUnreadable(Exception):
    """What was sent already cannot be read again."""


def continued(pieces: Iterable[bytes], rest: Rest) -> Iterator[bytes]:
    """Yield the pieces of a store, and what they lack when it fails. Raises StoreError."""
    sent = 0
    try:
        for piece in pieces:
            sent += len(piece)
            yield piece
    except StoreError as error:
        yield from rest(sent, error)


def open_stored(
    services: Services, image: Image, part: ByteRange | None, prefer: Sequence[str] = (), without: Sequence[str] = ()
) -> Download:
    """Open as ``data.open_stored``, the part also in a store that sends nothing but the whole. Raises Unavailable."""
    try:
        return data.open_stored(services, image, part, prefer, without)
    except BadRequest:
        if part is None:
            raise
        whole = data.open_stored(services, image, None, prefer, without)
        pieces = _cut(whole.blob, part.start, part.start + part.length)
        return replace(whole, part=part, blob=StreamBlob(whole.blob.size, pieces, whole.blob.close))


def _cut(pieces: Iterable[bytes], start: int, end: int) -> Iterator[bytes]:
    """Yield the bytes from ``start`` up to ``end`` of all that the pieces hold."""
    at = 0
    for piece in pieces:
        part = piece[max(start - at, 0):max(end - at, 0)]
        at += len(piece)
        if part:
            yield part
        if at >= end:
            return


def rest(services: Services, opened: Download, sent: int, cause: Exception) -> Generator[bytes]:
    """Yield what comes behind the first ``sent`` bytes of opened data, from copies that were not tried yet.

    A copy in the cache that cannot be read leaves the cache. Raises ``cause`` when no other copy gives the rest.
    """
    with closing(_from_others(services, opened, sent, cause)) as pairs:
        for piece, _ in pairs:
            yield piece


def verified_rest(services: Services, opened: Download, sent: int, cause: Exception) -> Generator[bytes]:
    """Yield as ``rest``, for a local file that went out unread.

    When it comes from a copy that ``verify_downloads`` has verified, the whole image is verified: what was sent is read
    again from its files (I8). Where that cannot be, the rest goes out as it comes. Raises DamagedData.
    """
    image, mode, descriptor = opened.image, services.settings.verify_downloads, opened.blob.fileno()
    fingerprint = opened.fingerprint or next((each.fingerprint for each in image.locations if each.fingerprint), None)
    proof = data.proof_of(image, fingerprint)
    if mode == VERIFY_NEVER or opened.part is not None or proof is None or descriptor is None:
        yield from rest(services, opened, sent, cause)
        return
    given = {descriptor: (0, sent)}
    at = sent
    with closing(_from_others(services, opened, sent, cause)) as pairs:
        for piece, other in pairs:
            descriptor = other.blob.fileno()
            if descriptor is None or mode == VERIFY_ALWAYS:
                yield from _verified(image, proof, chain([piece], (following for following, _ in pairs)), given)
                return
            start = given[descriptor][0] if descriptor in given else at
            at += len(piece)
            given[descriptor] = start, at
            yield piece


def _verified(
    image: Image, proof: tuple[str, str], left: Iterator[bytes], given: Mapping[int, tuple[int, int]]
) -> Iterator[bytes]:
    try:
        yield from verified(left, image.size or 0, *proof, _again(given))
    except _BeginningUnreadable as error:
        LOG.warning("image %s: the rest is not verified, for what was sent cannot be read again: %s", image.id, error)
        yield from left
    except DamagedData as damage:
        LOG.error("image %s: one of the copies that it was sent from is damaged: %s", image.id, damage)
        raise


def _again(given: Mapping[int, tuple[int, int]]) -> Iterator[bytes]:
    """Yield what was sent: the bytes of each open file from a start to an end. Raises _BeginningUnreadable."""
    for descriptor, (start, end) in given.items():
        try:
            yield from pieces_of(descriptor, end, start)
        except OSError as error:
            raise _BeginningUnreadable(error.strerror or str(error)) from error


def _from_others(
    services: Services, opened: Download, sent: int, cause: Exception
) -> Generator[tuple[bytes, Download]]:
    """Yield as ``rest``, each piece with the copy that gave it. All of these copies stay open until the end."""
    image = opened.image
    start = opened.part.start if opened.part else 0
    missing = (opened.part.length if opened.part else image.size or 0) - sent
    _give_up(services, opened, start + sent, cause)
    tried = [opened.location]
    with ExitStack() as opened_copies:
        while missing > 0:
            try:
                part = ByteRange(start + sent, missing)
                other = open_stored(services, image, part, without=[each for each in tried if each is not None])
            except GlanceError:
                raise cause from None
            LOG.warning(
                "image %s: %d bytes from byte %d come from store %s", image.id, missing, part.start, other.store
            )
            tried.append(other.location)
            opened_copies.callback(other.blob.close)
            try:
                for piece in other.blob:
                    sent, missing = sent + len(piece), missing - len(piece)
                    yield piece, other
            except StoreError as error:
                _give_up(services, other, start + sent, error)


def _give_up(services: Services, opened: Download, at: int, error: Exception) -> None:
    place = "the cache" if opened.is_cached else f"store {opened.store}"
    reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
    LOG.error("image %s cannot be read from %s any further than byte %d: %s", opened.image.id, place, at, reason)
    if opened.is_cached and services.cache is not None:
        with suppress(Unavailable):
            services.cache.drop(opened.image.id)
