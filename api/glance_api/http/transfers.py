"""Image data in requests and answers, as every version of the API moves them."""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from wsgiref.types import WSGIEnvironment

from flask import request

from glance_api.cache.reading import FollowedBlob
from glance_api.content.streams import ByteRange, DamagedData, verified
from glance_api.http.access_log import BYTES_IN
from glance_api.http.request import context, http_services, services
from glance_api.services import cached_data, data
from glance_api.services.data import VERIFY_ALWAYS, VERIFY_NEVER, Download, found_damaged
from glance_api.services.events import images
from glance_api.transfers import accel
from glance_common.body import BYTES_SENT, SENDS_FILES, ClientDisconnected, ClientTooSlow, FileBody, read_pieces
from glance_common.model.errors import BadRequest, RequestTimeout
from glance_common.model.image import Image
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


@dataclass(frozen=True, slots=True)
class DownloadTransfer:
    """Opened data on their way to the client; ``give_back`` returns the permit.

    Without a thread (``has_thread``) our server sends them from a file, many of them at once.
    """

    opened: Download
    give_back: Callable[[], None]
    has_thread: bool = True


def begin(
    image: Image, part: ByteRange | None, prefer: Sequence[str] = (), *, is_sent: bool = True
) -> DownloadTransfer:
    """Open the data of a ``readable`` image, or a part of them, with a permit; ``is_sent``: not for HEAD.

    Raises Unavailable, also when there is no permit.
    """
    project, http = context().project_id, http_services()
    apart = http.cache_permits.try_take(project) if is_sent and SENDS_FILES in request.environ else None
    if apart is None:
        return _with_thread(lambda: cached_data.open_data(services(), image, part, prefer, is_sent=is_sent))
    # Only a thread with a permit waits for a store.
    permit = http.permits.try_take(project)
    transfer: DownloadTransfer | None = None
    try:
        cached = cached_data.open_cached(services(), image, part, prefer, waits=permit is not None)
        if cached is not None and cached.blob.fileno() is None:
            transfer = DownloadTransfer(cached, apart, has_thread=False)
        elif cached is not None:
            # A copy may have to come from the disk: with threads of their own, readers do not wait for each other.
            transfer = DownloadTransfer(cached, permit or apart, has_thread=permit is not None)
    finally:
        for unused in (permit, apart):
            if unused is not None and (transfer is None or unused is not transfer.give_back):
                unused()
    return transfer or _with_thread(lambda: data.open_stored(services(), image, part, prefer))


def _with_thread(open_data: Callable[[], Download]) -> DownloadTransfer:
    give_back = http_services().permits.take(context().project_id)
    try:
        return DownloadTransfer(open_data(), give_back)
    except BaseException:
        give_back()
        raise


def at_end(transfer: DownloadTransfer) -> Callable[[], None]:
    """Return what ends the transfer: the permit goes back and the bytes that really left are told."""
    opened, give_back = transfer.opened, transfer.give_back
    environ, collaborators, caller = request.environ, services(), context()
    wanted = opened.part.length if opened.part else opened.image.size or 0

    def end() -> None:
        give_back()
        # Counted by our own server only, and a HEAD request sends none.
        if BYTES_SENT in environ and environ["REQUEST_METHOD"] == "GET":
            images.image_sent(collaborators, caller, opened.image, environ[BYTES_SENT], wanted)

    return end


def sendable(transfer: DownloadTransfer, end: Callable[[], None]) -> Iterable[bytes]:
    """Return the body of an answer with the opened data; ``end`` is called when it was sent, or broke off."""
    opened, blob = transfer.opened, transfer.opened.blob
    wrapper = request.environ.get("wsgi.file_wrapper")
    descriptor = blob.fileno()
    if isinstance(blob, FollowedBlob):
        if transfer.has_thread:
            return Followed(opened, end)
        permit = partial(http_services().permits.try_take, context().project_id, is_running=True)
        return FollowedFile(blob, permit, end)
    if not transfer.has_thread and descriptor is not None:
        return CopyFile(opened, descriptor, end)
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


class FollowedFile(FileBody):
    """A copy that is being made, sent by our server as it grows."""

    def __init__(
        self, blob: FollowedBlob, permit: Callable[[], Callable[[], None] | None], end: Callable[[], None]
    ) -> None:
        """``permit`` returns a permit for the rest from the store, None while there is none."""
        self._blob = blob
        self._permit = permit
        self._end = end
        self._give_back: Callable[[], None] | None = None

    @property
    def descriptor(self) -> int:
        """The file that grows."""
        return self._blob.descriptor

    def ready(self) -> tuple[int, int] | None:
        """Return what is there now, None when the copy has no more."""
        return self._blob.ready()

    def sent(self, count: int) -> None:
        """Count the bytes."""
        self._blob.sent(count)

    def on_growth(self, wake: Callable[[], None]) -> None:
        """Have ``wake`` called when there is more."""
        self._blob.on_growth(wake)

    def admit(self) -> bool:
        """Take a permit for a thread, if there is one."""
        self._give_back = self._permit()
        return self._give_back is not None

    def resume(self) -> bool:
        """Say whether the copy goes on; then no thread is needed any more. Raises what the store raises."""
        goes_on = self._blob.resume()
        if goes_on:
            self._release()
        return goes_on

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._blob)

    def _release(self) -> None:
        give_back, self._give_back = self._give_back, None
        if give_back is not None:
            give_back()

    def close(self) -> None:
        """Close the read and end the transfer."""
        self._blob.close()
        self._release()
        self._end()


class CopyFile(FileBody):
    """A whole copy in the cache, sent by our server beside many others."""

    def __init__(self, opened: Download, descriptor: int, end: Callable[[], None]) -> None:
        self._opened = opened
        self._descriptor = descriptor
        self._end = end
        self._start = self._at = opened.part.start if opened.part else 0
        self._until = self._at + opened.part.length if opened.part else opened.image.size or 0

    @property
    def descriptor(self) -> int:
        """The file."""
        return self._descriptor

    def ready(self) -> tuple[int, int]:
        """Return the rest."""
        return self._at, self._until - self._at

    def sent(self, count: int) -> None:
        """Go on behind these bytes."""
        self._at += count

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._opened.blob)

    def close(self) -> None:
        """Close the file and end the transfer."""
        self._opened.blob.close()
        self._end()
        _count(self._opened, self._at - self._start)


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
