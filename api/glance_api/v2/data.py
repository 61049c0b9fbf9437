"""Views of image data: upload and download (API section 10)."""

from flask import Blueprint, Response, request

from glance_api.content.streams import ByteRange, decimal, parse_content_range, parse_range
from glance_api.http import conditional
from glance_api.http.request import context, credentials, http_services, media_type, services, without_body
from glance_api.http.transfers import OCTETS, DownloadTransfer, at_end, begin, body, handed_over, sendable
from glance_api.services import data as service
from glance_api.services import stores
from glance_api.services.data import Source
from glance_api.v2.operations import BINARY, Parameter, operation
from glance_common.model.errors import BadRequest, UnsupportedMediaType

SIZE_HEADER = "x-openstack-image-size"
STORE_HEADER = "X-Image-Meta-Store"

SIZE_PARAMETER = Parameter(
    SIZE_HEADER, "Size of the data in bytes, when Content-Length cannot say it", {"type": "integer", "minimum": 0},
    "header",
)
STORE_PARAMETER = Parameter(STORE_HEADER, "Store that takes the data", where="header")
_PARTS = (
    Parameter("prefer", "Stores to read from before all others, separated by commas"),
    Parameter("Range", "Part of the data, as bytes=0-99, bytes=100- or bytes=-100", where="header"),
    Parameter("Content-Range", "The same in an older form, as bytes 0-99/1000", where="header"),
    Parameter("If-None-Match", "ETag of data that the client has already", where="header"),
)

blueprint = Blueprint("v2_data", __name__)


@blueprint.put("/v2/images/<image_id>/file")
@operation(
    body=BINARY, parameters=(SIZE_PARAMETER, STORE_PARAMETER), answers={204: None}, errors=(408, 409, 410, 413, 415)
)
def upload(image_id: str) -> Response:
    """Store the body as the data of a queued image."""
    if media_type() != OCTETS:
        raise UnsupportedMediaType(f"Content-Type must be {OCTETS}")
    announced = announced_size()
    store = request.headers.get(STORE_HEADER) if services().settings.multi_store else None
    # Taken before the first byte of the body is read: a client that gets no permit has lost nothing.
    give_back = http_services().permits.take(context().project_id)
    try:
        service.upload(services(), context(), image_id, Source(body(), announced, store, credentials()))
    finally:
        give_back()
    return Response(status=204)


def announced_size() -> int | None:
    """Return the bytes that the client says it will send, None when it does not say; BadRequest when it cannot be."""
    hint, length = request.headers.get(SIZE_HEADER), request.content_length
    if hint is None:
        return length
    if not (hint.isascii() and hint.isdigit()):
        raise BadRequest(f"{SIZE_HEADER} must be a number of bytes, not {hint[:80]!r}")
    size = decimal(hint)
    if length is not None and length != size:
        raise BadRequest(f"{SIZE_HEADER} announces {size} bytes, but Content-Length is {length}")
    return size


@blueprint.get("/v2/images/<image_id>/file")
@without_body
@operation(parameters=_PARTS, answers={200: BINARY, 204: None, 206: BINARY, 302: None, 304: None}, errors=(416,))
def download(image_id: str) -> Response:
    """Send the data of an image, or the part that was asked for; 204 while there are none.

    HEAD opens the data as well and sends none of them, so that its answer is the truth about a GET.
    """
    image = service.readable(services(), context(), image_id)
    if image is None:
        return Response(status=204)
    prefer = stores.preferred(services(), context(), image, request.args.get("prefer"))
    tag = conditional.data_tag(image)
    if conditional.has_data(tag):
        return Response(status=304, headers={"ETag": f'"{tag}"'})
    part = _wanted_part(image.size or 0, tag)
    is_read = request.method == "GET"
    address = service.elsewhere(services(), image, prefer, request.remote_addr or "") if is_read else None
    if address is not None:
        return Response(status=302, headers={"Location": address, "Cache-Control": "no-store"})
    transfer = begin(image, part, prefer, is_sent=is_read)
    try:
        return _answer(transfer, tag)
    except BaseException:
        transfer.give_back()
        raise


def _wanted_part(size: int, tag: str) -> ByteRange | None:
    """Return the range that the request asks of an image of ``size`` bytes: Range, or the older Content-Range."""
    if "Range" in request.headers:
        return parse_range(request.headers["Range"], size) if conditional.wants_range(tag) else None
    if "Content-Range" in request.headers:
        return parse_content_range(request.headers["Content-Range"], size)
    return None


def _answer(transfer: DownloadTransfer, tag: str) -> Response:
    opened, end = transfer.opened, at_end(transfer)
    image, part = opened.image, opened.part
    size = image.size or 0
    headers = {
        "Content-Type": OCTETS,
        "Content-Length": str(part.length if part else size),
        "Accept-Ranges": "bytes",
        "ETag": f'"{tag}"',
    }
    if image.checksum:
        headers["Content-MD5"] = image.checksum
    if part:
        headers["Content-Range"] = part.content_range(size)
    handed = handed_over(opened, end)
    if handed:
        headers["X-Accel-Redirect"], nothing = handed
        headers["Content-Length"] = "0"
        if not part:
            # nginx adds the header for the whole data itself, but not for a part.
            del headers["Accept-Ranges"]
        return Response(nothing, status=206 if part else 200, headers=headers, direct_passthrough=True)
    # Passed through untouched, so that the server sees its own file wrapper and sends the file by the kernel.
    return Response(
        sendable(transfer, end), status=206 if part else 200, headers=headers, direct_passthrough=True
    )
