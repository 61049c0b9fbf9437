"""The copies in the caches of nodes over HTTP (docs/registry-protocol.md)."""

from flask import Blueprint, Response

from glance_common.model.errors import Forbidden
from glance_registry.images import use_cases
from glance_registry.views import parsing

blueprint = Blueprint("cached_copies", __name__, url_prefix="/v1/cache")

MAX_NODE = 1024
"""Characters: a node is a URL."""

MAX_USES = 1000
_LATEST = 1e12


@blueprint.post("/search")
def search() -> Response:
    """Answer the copies of a node, or the one of an image."""
    _by_service()
    body = parsing.body()
    body.only("node", "image_id")
    image_id = body.uuid("image_id") if body.values.get("image_id") is not None else None
    found = use_cases.cached_of_node(parsing.engine(), body.text("node", MAX_NODE), image_id)
    return parsing.answer({"images": found})


@blueprint.get("/images/<image_id>/nodes")
def nodes(image_id: str) -> Response:
    """Answer the nodes that have a copy of an image."""
    _by_service()
    return parsing.answer({"nodes": use_cases.cached_nodes(parsing.engine(), parsing.path_id(image_id))})


@blueprint.put("/images/<image_id>")
def put(image_id: str) -> Response:
    """Write that a node has a copy of an image."""
    _by_service()
    body = parsing.body()
    body.only("node", "size", "modified", "verified", "hits", "accessed", "checksum")
    values = {
        "size": body.integer("size"), "modified": body.number("modified", _LATEST),
        "verified": body.integer("verified"), "hits": body.integer("hits"),
        "accessed": body.number("accessed", _LATEST), "checksum": body.optional_text("checksum", 128),
    }
    use_cases.put_cached(parsing.engine(), body.text("node", MAX_NODE), parsing.path_id(image_id), values)
    return parsing.no_content()


@blueprint.delete("/images/<image_id>")
def remove(image_id: str) -> Response:
    """Forget that a node has a copy of an image."""
    _by_service()
    body = parsing.body()
    body.only("node")
    use_cases.remove_cached(parsing.engine(), body.text("node", MAX_NODE), parsing.path_id(image_id))
    return parsing.no_content()


@blueprint.post("/uses")
def count() -> Response:
    """Add uses to the copies of a node."""
    _by_service()
    body = parsing.body()
    body.only("node", "uses")
    uses = []
    for use in body.objects("uses")[:MAX_USES]:
        use.only("image_id", "hits", "accessed")
        uses.append((use.uuid("image_id"), use.integer("hits"), use.number("accessed", _LATEST)))
    return parsing.answer({"unknown": use_cases.count_cached(parsing.engine(), body.text("node", MAX_NODE), uses)})


def _by_service() -> None:
    """Raise Forbidden for calls in the name of a user: they are the service's own, or an administrator's."""
    if not parsing.caller().is_admin:
        raise Forbidden("only an administrator may ask for cached copies")
