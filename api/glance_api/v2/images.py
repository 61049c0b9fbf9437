"""Views of images: create, list, show, update, delete (API sections 4 to 8)."""

from functools import cache
from typing import Any

import orjson
from flask import Blueprint, Response, request

from glance_api.http import conditional
from glance_api.http.request import (
    answer,
    context,
    credentials,
    json_array,
    json_object,
    made_at,
    media_type,
    services,
    without_body,
)
from glance_api.services import images as service
from glance_api.services.locations import read
from glance_api.v2 import fields, patch, queries, wire
from glance_api.v2.operations import Parameter, json_of, operation
from glance_api.v2.schemas import image_schema
from glance_common.model.image import Image

blueprint = Blueprint("v2_images", __name__)

METHODS = "OpenStack-image-import-methods"
STORE_IDS = "OpenStack-image-store-ids"
_CREATED = {"Location": "Path of the image", STORE_IDS: "Stores that may take the data, with several stores"}

_KNOWN = Parameter("If-None-Match", "ETag of the document that the client has already", where="header")


@blueprint.post("/v2/images")
@operation(body=json_of("new_image"), answers={201: json_of("image")}, headers=_CREATED, errors=(409,))
def create() -> Response:
    """Create an image."""
    document = json_object()
    owner = document.get("owner", context().project_id)
    # An owner of the wrong kind or length is refused below, by name.
    is_owner = owner is None or (isinstance(owner, str) and len(owner) <= fields.MAX_OWNER)
    asked = service.check_create(services(), context(), owner if is_owner else context().project_id)
    image = service.create(services(), context(), wire.new_image(document, image_schema()), asked)
    response = answer(_documents([image])[0], 201)
    made_at(f"/v2/images/{image.id}")
    response.headers[METHODS] = ",".join(services().settings.imports.methods)
    if services().settings.multi_store:
        response.headers[STORE_IDS] = ",".join(services().stores.ids)
    return response


@blueprint.get("/v2/images")
@operation(parameters=queries.PARAMETERS, answers={200: json_of("images")})
def index() -> Response:
    """List images, one page at a time."""
    settings = services().settings
    wanted = queries.parse(
        request.environ.get("QUERY_STRING", ""),
        default_limit=settings.limit_param_default,
        max_limit=settings.api_limit_max,
    )
    page = service.list_images(services(), context(), wanted.query)
    document: dict[str, Any] = {
        "images": _documents(page.images),
        "first": wire.link("/v2/images", wanted.pairs),
        "schema": "/v2/schemas/images",
    }
    if page.next_marker is not None:
        document["next"] = wire.link("/v2/images", [*wanted.pairs, ("marker", page.next_marker)])
    return answer(document)


@blueprint.get("/v2/images/<image_id>")
@without_body
@operation(parameters=(_KNOWN,), answers={200: json_of("image"), 304: None})
def show(image_id: str) -> Response:
    """Show one image."""
    return conditional.revalidated(orjson.dumps(_documents([service.show(services(), context(), image_id)])[0]))


@blueprint.patch("/v2/images/<image_id>")
@operation(
    body={patch.V21: fields.PATCH_V21, patch.V20: fields.PATCH_V20}, answers={200: json_of("image")}, errors=(409, 415)
)
def update(image_id: str) -> Response:
    """Change an image."""
    schema = image_schema()
    dialect = patch.dialect_of(media_type())
    document, locations_too = json_array(), services().settings.show_multiple_locations
    # Parsed once, and only after the caller's right was checked: it takes time (S-59).
    operations = cache(lambda: patch.parse(document, dialect, schema, locations=locations_too))
    image = service.update(services(), context(), image_id, lambda now: patch.apply(now, operations(), schema))
    return answer(_documents([image])[0])


@blueprint.delete("/v2/images/<image_id>")
@without_body
@operation(answers={204: None})
def delete(image_id: str) -> Response:
    """Delete an image."""
    service.delete(services(), context(), image_id, credentials())
    return Response(status=204)


def _documents(images: list[Image]) -> list[dict[str, Any]]:
    nullable = image_schema().nullable
    documents = [wire.image_document(image, nullable) for image in images]
    settings = services().settings
    if read.are_shown(settings):
        are_asked = settings.show_multiple_locations
        listable = read.may_list(services().policy, context(), images) if are_asked else frozenset()
        for image, document in zip(images, documents, strict=True):
            wire.add_places(
                document,
                read.visible(services(), context(), image),
                direct_url=settings.show_image_direct_url,
                locations=settings.show_multiple_locations,
                may_list=image.id in listable,
                stores=settings.multi_store,
            )
    return documents
