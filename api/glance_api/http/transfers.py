"""Image data in requests and answers, as every version of the API moves them."""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from wsgiref.types import WSGIEnvironment

from flask import request

from glance_api.cache.reading import FollowedBlob
from glance_api.content.streams import ByteRange, DamagedData
from glance_api.http.access_log import BYTES_IN
from glance_api.http.download_bodies import (
    CopyFile,
    Followed,
    FollowedFile,
    HandedOver,
    LocalFile,
    OnDamage,
    Permit,
    Pieces,
)
from glance_api.http.request import context, http_services, services
from glance_api.services import cached_data, data, other_copies
from glance_api.services.data import VERIFY_ALWAYS, VERIFY_NEVER, Download, found_damaged
from glance_api.services.events import images
from glance_api.transfers import accel
from glance_common.body import BYTES_SENT, SENDS_FILES, ClientDisconnected, ClientTooSlow, read_pieces
from glance_common.model.errors import BadRequest, RequestTimeout
from glance_common.model.image import Image

LOG = logging.getLogger(__name__)

OCTETS = "application/octet-stream"


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
    rest: other_copies.Rest = partial(other_copies.verified_rest, services(), opened)
    if isinstance(blob, FollowedBlob):
        return Followed(opened, end) if transfer.has_thread else FollowedFile(blob, _permit_of_rest(), end)
    if not transfer.has_thread and descriptor is not None:
        return CopyFile(opened, descriptor, rest, _permit_of_rest(), end)
    if wrapper is not None and descriptor is not None and _may_pass_unread(opened):
        wrapped: Iterable[bytes] = wrapper(LocalFile(opened, descriptor, rest, end, request.environ))
        return wrapped
    # What comes from a store in pieces is verified with its rest.
    rest = rest if opened.is_cached else partial(other_copies.rest, services(), opened)
    return Pieces(opened, rest, end, http_services().readers, _on_damage(opened))


def _permit_of_rest() -> Permit:
    """Return what takes a permit for a thread that sends the rest; it returns None while there is none."""
    return partial(http_services().permits.try_take, context().project_id, is_running=True)


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
