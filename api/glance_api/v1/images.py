"""Views of images in v1: lists, metadata, data, create, update, delete (v1 API sections 3 to 7)."""

from collections.abc import Callable

from flask import Blueprint, Response, request
from werkzeug.exceptions import MethodNotAllowed

from glance_api.http.request import (
    answer,
    context,
    credentials,
    has_body,
    http_services,
    made_at,
    media_type,
    services,
)
from glance_api.http.transfers import OCTETS, at_end, begin, body, sendable
from glance_api.services import images, stores
from glance_api.services.data import Source
from glance_api.services.image_queries import ImageQuery
from glance_api.services.v1 import images as v1_images
from glance_api.services.v1.images import Body, CopyFrom, Empty, Filling, Register
from glance_api.v1 import headers, queries, wire
from glance_api.v1.headers import Metadata
from glance_common.model.errors import BadRequest, Forbidden, PolicyDenied
from glance_common.model.image import Image

blueprint = Blueprint("v1_images", __name__)

COPY_FROM = "X-Glance-Api-Copy-From"
PURGE = "X-Glance-Registry-Purge-Props"


@blueprint.get("/v1")
@blueprint.get("/v1/")
@blueprint.get("/v1/images")
def index() -> Response:
    """List images briefly."""
    _only_get("GET", "POST")
    return answer({"images": [wire.brief_document(image) for image in _page()]})


@blueprint.get("/v1/images/detail")
def detail() -> Response:
    """List images in detail."""
    _only_get("GET")
    return answer({"images": [wire.image_document(image) for image in _page()]})


def _only_get(*allowed: str) -> None:
    if request.method == "HEAD":
        raise MethodNotAllowed(list(allowed))


def _page() -> list[Image]:
    settings = services().settings
    query: ImageQuery = queries.parse(
        request.environ.get("QUERY_STRING", ""),
        is_admin=context().is_admin,
        default_limit=settings.limit_param_default,
        max_limit=settings.api_limit_max,
    )
    try:
        return images.list_images(services(), context(), query).images
    except PolicyDenied:
        raise
    except Forbidden as error:
        # A marker that the caller does not see is as unknown to it as any other (S-43).
        raise BadRequest(f"marker: no image with ID {query.marker}") from error


@blueprint.get("/v1/images/<image_id>")
def show(image_id: str) -> Response:
    """Send the data of an image with its metadata in headers; HEAD: the metadata of any image, whatever its status."""
    if request.method == "HEAD":
        return _described(Response(), v1_images.find(services(), context(), image_id))
    image = v1_images.readable(services(), context(), image_id)
    transfer = begin(image, None)
    try:
        # Passed through untouched, so that the server sees its own file wrapper and sends the file by the kernel.
        response = Response(sendable(transfer, at_end(transfer)), direct_passthrough=True)
    except BaseException:
        transfer.give_back()
        raise
    response.headers["Content-Length"] = str(image.size or 0)
    return _described(response, image)


def _described(response: Response, image: Image) -> Response:
    response.headers["Content-Type"] = OCTETS
    response.headers.extend(wire.image_headers(image))
    return _tagged(response, image)


def _tagged(response: Response, image: Image) -> Response:
    if image.checksum:
        response.headers["ETag"] = image.checksum
    return response


@blueprint.post("/v1/images")
def create() -> Response:
    """Create an image, with its data when they come with the request."""
    metadata = headers.parse(request.environ)
    v1_images.check_spelling(services(), context(), metadata.properties)
    new = wire.new_image(metadata, services().settings, is_admin=context().is_admin)
    filling = _filling(metadata, may_be_empty=True)
    image = _with_permit(filling, lambda: v1_images.create(services(), context(), new, filling))
    made_at(f"/v1/images/{image.id}")
    return _written(image, 201)


@blueprint.put("/v1/images/<image_id>")
def update(image_id: str) -> Response:
    """Change an image, and give a queued one its data when they come with the request."""
    metadata = headers.parse(request.environ)
    v1_images.check_spelling(services(), context(), metadata.properties)
    filling = _filling(metadata, may_be_empty=False)
    # A request with data keeps the properties that it does not name.
    purge = headers.boolean(request.headers.get(PURGE, "true")) and not isinstance(filling, Body)
    change = wire.changes(metadata, services().settings, purge=purge, is_admin=context().is_admin)
    image = _with_permit(filling, lambda: v1_images.update(services(), context(), image_id, change, filling))
    return _written(image, 200)


@blueprint.delete("/v1/images/<image_id>")
def delete(image_id: str) -> Response:
    """Delete an image."""
    v1_images.delete(services(), context(), image_id, credentials())
    return Response(status=200)


def _written(image: Image, status: int) -> Response:
    return _tagged(answer({"image": wire.image_document(image)}, status), image)


def _with_permit(filling: Filling | None, work: Callable[[], Image]) -> Image:
    """Do the work; with a transfer permit, taken before the first byte of the body is read."""
    if not isinstance(filling, Body):
        return work()
    give_back = http_services().permits.take(context().project_id)
    try:
        return work()
    finally:
        give_back()


def _filling(metadata: Metadata, *, may_be_empty: bool) -> Filling | None:
    """Return where the data of the image come from, None when none come. Raises BadRequest for several sources."""
    size, store = metadata.fields.get("size"), stores.named(services(), metadata.fields.get("store"))
    location = metadata.fields.get("location")
    has_copy = COPY_FROM in request.headers
    if sum((has_body(request), has_copy, location is not None)) > 1:
        raise BadRequest(f"only one of a body, {COPY_FROM} and x-image-meta-location can say where the data are")
    if has_copy:
        url = headers.text(request.headers[COPY_FROM], COPY_FROM)
        if url is None:
            raise BadRequest(f"{COPY_FROM} must be a URL, not empty")
        return CopyFrom(url, store, credentials())
    if location is not None:
        return Register(location, size)
    if has_body(request):
        announced = request.content_length if request.content_length is not None else size
        source = Source(body(), announced, store, credentials(), size, metadata.fields.get("checksum"))
        is_right = media_type() == OCTETS
        return Body(source, None if is_right else f"Content-Type must be {OCTETS}")
    return Empty() if may_be_empty and size == 0 else None
