"""Image data in requests and answers, as every version of the API moves them."""

import logging
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor
from wsgiref.types import WSGIEnvironment

from flask import request

from glance_api.content.streams import DamagedData, verified
from glance_api.http.access_log import BYTES_IN
from glance_api.http.request import context, http_services, services
from glance_api.services.data import VERIFY_ALWAYS, VERIFY_NEVER, Download, found_damaged
from glance_api.services.events import images
from glance_api.transfers import accel
from glance_common.body import BYTES_SENT, ClientDisconnected, ClientTooSlow, read_pieces
from glance_common.model.errors import BadRequest, RequestTimeout
from glance_common.observability.metrics.catalog import CACHE_BYTES, STORE_BYTES
from glance_common.stores.decorators.read_ahead import ReadAhead

LOG = logging.getLogger(__name__)

OCTETS = "application/octet-stream"

OnDamage = Callable[[DamagedData], None]


def body() -> Iterator[bytes]:
    """Return the pieces of the body. Reading raises BadRequest when it is incomplete, RequestTimeout when too slow."""
    return _pieces_of(request.environ)


def _pieces_of(environ: WSGIEnvironment) -> Iterator[bytes]:
    """Yield the pieces. A half-read iterator may be closed at any time, so it does not use the Flask request."""
    received = 0
    try:
        for piece in read_pieces(environ):
            received += len(piece)
            yield piece
    except ClientDisconnected as gone:
        raise BadRequest(f"the body is incomplete: {gone}") from gone
    except ClientTooSlow as slow:
        raise RequestTimeout(f"the body came too slowly: {slow}") from slow
    finally:
        environ[BYTES_IN] = received


def at_end(opened: Download, give_back: Callable[[], None]) -> Callable[[], None]:
    """Return what ends the transfer: the permit goes back and the bytes that really left are told."""
    environ, collaborators, caller = request.environ, services(), context()
    wanted = opened.part.length if opened.part else opened.image.size or 0

    def end() -> None:
        give_back()
        # Counted by our own server only, and a HEAD request sends none.
        if BYTES_SENT in environ and environ["REQUEST_METHOD"] == "GET":
            images.image_sent(collaborators, caller, opened.image, environ[BYTES_SENT], wanted)

    return end


def sendable(opened: Download, end: Callable[[], None]) -> Iterable[bytes]:
    """Return the body of an answer with the opened data; ``end`` is called when it was sent, or broke off."""
    wrapper = request.environ.get("wsgi.file_wrapper")
    if opened.is_cached and opened.blob.fileno() is None:
        return Followed(opened, end)
    descriptor = opened.blob.fileno()
    if wrapper is not None and descriptor is not None and _may_pass_unread(opened):
        wrapped: Iterable[bytes] = wrapper(LocalFile(opened, descriptor, end, request.environ))
        return wrapped
    return Pieces(opened, end, http_services().readers, _on_damage(opened))


def _may_pass_unread(opened: Download) -> bool:
    """Return whether kernel or proxy may send a local file: what is cached was verified when it was made."""
    return opened.is_cached or services().settings.verify_downloads != VERIFY_ALWAYS


def _on_damage(opened: Download) -> OnDamage | None:
    """Return what is done with a copy that is found damaged while it is sent; None: it is not verified."""
    collaborators, caller = services(), context()
    if opened.part is not None or collaborators.settings.verify_downloads == VERIFY_NEVER:
        return None

    def tell(damage: DamagedData) -> None:
        if opened.location is not None:
            found_damaged(collaborators, caller, opened.location, damage.damage, str(damage))

    return tell


def handed_over(opened: Download, end: Callable[[], None]) -> tuple[str, Iterable[bytes]] | None:
    """Return the proxy's internal address of the opened data, and the empty body of the answer that hands them over.

    None when the proxy cannot reach the data, or when the request does not ask for it.
    """
    address = http_services().accel.address(opened.blob.path())
    if address is None or not _may_pass_unread(opened) or not accel.is_asked(request.method, request.headers):
        return None
    return address, HandedOver(opened, end, request.environ)


class HandedOver:
    """The empty body of an answer whose data the proxy sends. Counts the bytes that the proxy was asked to send."""

    def __init__(self, opened: Download, end: Callable[[], None], environ: WSGIEnvironment) -> None:
        self._opened = opened
        self._end = end
        self._environ = environ

    def __iter__(self) -> Iterator[bytes]:
        return iter(())

    def close(self) -> None:
        """End our part of the transfer."""
        self._opened.blob.close()
        count = self._opened.part.length if self._opened.part else self._opened.image.size or 0
        self._environ[BYTES_SENT] = count
        self._end()
        _count(self._opened, count)


def _count(opened: Download, count: int) -> None:
    """Count bytes that went out without passing through the blob."""
    (CACHE_BYTES.labels("copy") if opened.is_cached else STORE_BYTES.labels(opened.store, "out")).inc(count)


class Followed:
    """A copy that is being made in the cache, on this node's disk: there is nothing to read ahead."""

    def __init__(self, opened: Download, end: Callable[[], None]) -> None:
        self._opened = opened
        self._end = end

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._opened.blob)

    def close(self) -> None:
        """Close the read and end the transfer."""
        self._opened.blob.close()
        self._end()


class LocalFile:
    """A blob in a local file, as the server's file wrapper wants it."""

    def __init__(
        self, opened: Download, descriptor: int, end: Callable[[], None], environ: WSGIEnvironment
    ) -> None:
        self._opened = opened
        self._descriptor = descriptor
        self._end = end
        self._environ = environ
        self._rest = iter(opened.blob)
        self._is_read = False

    def fileno(self) -> int:
        """Return the descriptor, positioned at the first byte to send."""
        return self._descriptor

    def read(self, _size: int) -> bytes:
        """Return the next piece, for servers that do not send by descriptor; empty at the end."""
        self._is_read = True
        return next(self._rest, b"")

    def close(self) -> None:
        """Close the file and end the transfer."""
        self._opened.blob.close()
        self._end()
        if not self._is_read:
            # The kernel sent the file past us; only the server knows how much of it.
            _count(self._opened, self._environ.get(BYTES_SENT, 0))


class Pieces:
    """A blob that comes piece by piece from a remote store. The whole of an image is verified on the way (I8).

    ``on_damage`` is told of a copy that is found damaged; without it nothing is verified.
    """

    def __init__(
        self, opened: Download, end: Callable[[], None], readers: Executor, on_damage: OnDamage | None
    ) -> None:
        self._opened = opened
        self._on_damage = on_damage
        self._end = end
        self._ahead = ReadAhead(opened.blob, readers)

    def __iter__(self) -> Iterator[bytes]:
        image, proof = self._opened.image, self._opened.proof()
        if self._on_damage is None or image.size is None or proof is None:
            yield from self._ahead
            return
        try:
            yield from verified(self._ahead, image.size, *proof)
        except DamagedData as damage:
            LOG.error("the copy of image %s in store %s is damaged: %s", image.id, self._opened.store, damage)
            self._on_damage(damage)
            raise

    def close(self) -> None:
        """Close the read and end the transfer."""
        self._ahead.close()
        self._opened.blob.close()
        self._end()
