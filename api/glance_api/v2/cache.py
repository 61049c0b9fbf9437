"""Views of the image cache of this node (API section 14.2)."""

from uuid import UUID

from flask import Blueprint, Response, request

from glance_api.http.cached_images import document, nothing
from glance_api.http.request import answer, context, services, without_body
from glance_api.services import cache as service
from glance_api.v2.operations import Parameter, Schema, json_of, operation
from glance_common.model.errors import BadRequest

blueprint = Blueprint("v2_cache", __name__)

TARGET = "x-image-cache-clear-target"
_TARGETS = ("", "cache", "queue")
_ID: Schema = {"type": "string", "format": "uuid"}
_COUNT: Schema = {"type": "integer", "minimum": 0}

CACHED: Schema = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": {
            "image_id": _ID,
            "hits": _COUNT,
            "last_accessed": {"type": "number", "description": "Seconds of the epoch; 0 = never"},
            "last_modified": {"type": "number", "description": "Seconds of the epoch"},
            "size": {**_COUNT, "description": "Bytes"},
            "checksum": {"type": ["string", "null"], "description": "MD5 of the data"},
        },
        "required": ["image_id", "hits", "last_accessed", "last_modified", "size"],
    },
}
QUEUED: Schema = {"type": "array", "items": _ID, "description": "The oldest first"}


def object_of(**properties: Schema) -> Schema:
    """Return the schema of an object that has all these properties."""
    return {"type": "object", "properties": properties, "required": list(properties)}


@blueprint.get("/v2/cache")
@without_body
@operation(answers={200: json_of(object_of(cached_images=CACHED, queued_images=QUEUED))}, errors=(404,))
def show() -> Response:
    """List the images in the cache of this node, and those queued for it."""
    cached = [document(image) for image in service.cached(services(), context())]
    return answer({"cached_images": cached, "queued_images": service.queued(services(), context())})


@blueprint.delete("/v2/cache")
@without_body
@operation(
    answers={204: None}, errors=(404,),
    parameters=[Parameter(TARGET, "What is cleared; nothing = both", {"type": "string", "enum": _TARGETS}, "header")],
)
def clear() -> Response:
    """Remove all images from the cache of this node, from its queue, or from both."""
    target = request.headers.get(TARGET, "").lower()
    if target not in _TARGETS:
        raise BadRequest(f"{TARGET}: must be cache, queue, or empty for both")
    if target != "queue":
        service.clear(services(), context())
    if target != "cache":
        service.clear_queue(services(), context())
    return Response(status=204)


# Only a UUID is an image here: ``clean`` and ``prune`` are paths of their own.
@blueprint.put("/v2/cache/<uuid:image_id>")
@without_body
@operation(answers={202: None})
def queue(image_id: UUID) -> Response:
    """Queue an image for the cache of this node."""
    service.queue(services(), context(), str(image_id))
    return nothing(202)


@blueprint.delete("/v2/cache/<uuid:image_id>")
@without_body
@operation(answers={204: None})
def delete(image_id: UUID) -> Response:
    """Remove an image from the cache of this node and from its queue."""
    service.delete(services(), context(), str(image_id))
    return Response(status=204)


@blueprint.post("/v2/cache/clean")
@without_body
@operation(answers={200: None}, errors=(404,))
def clean() -> Response:
    """Remove damaged copies, and unfinished ones that do not grow any more."""
    service.clean(services(), context())
    return nothing(200)


@blueprint.post("/v2/cache/prune")
@without_body
@operation(answers={200: json_of(object_of(total_files_pruned=_COUNT, total_bytes_pruned=_COUNT))}, errors=(404,))
def prune() -> Response:
    """Remove the least recently used copies until image_cache_max_size holds."""
    pruned = service.prune(services(), context())
    return answer({"total_files_pruned": pruned.files, "total_bytes_pruned": pruned.size})


@blueprint.get("/v2/cache/nodes/<image_id>")
@without_body
@operation(answers={200: json_of({"type": "array", "items": {"type": "string"}})}, errors=(409,))
def nodes(image_id: str) -> Response:
    """List the nodes that have an image in their caches."""
    return answer(service.nodes(services(), context(), image_id))
