"""Views of namespaces (metadefs section 5)."""

from typing import Any

from flask import Blueprint, Response, request

from glance_api.http import query_string
from glance_api.http.request import answer, context, json_object, made_at, services, without_body
from glance_api.services.metadefs import namespaces as service
from glance_api.v2.metadefs import queries, wire
from glance_api.v2.operations import json_of, operation
from glance_api.v2.wire import link

blueprint = Blueprint("v2_metadef_namespaces", __name__)


@blueprint.post("/v2/metadefs/namespaces")
@operation(
    body=json_of("metadefs/new_namespace"), answers={201: json_of("metadefs/namespace")},
    headers={"Location": "Where the namespace is found"}, errors=(409,),
)
def create() -> Response:
    """Make a namespace, with content or without."""
    given = json_object()
    namespace = service.create(services(), context(), given, lambda: wire.new_namespace(given))
    made_at(wire.namespace_path(namespace.namespace), as_url=True)
    return answer(wire.namespace_document(namespace), 201)


@blueprint.get("/v2/metadefs/namespaces")
@operation(parameters=queries.NAMESPACE_PARAMETERS, answers={200: json_of("metadefs/namespaces")}, errors=(404,))
def index() -> Response:
    """List namespaces, one page at a time."""
    settings = services().settings
    pairs = query_string.pairs_of(request.environ.get("QUERY_STRING", ""))
    query = queries.namespaces(dict(pairs), settings.limit_param_default, settings.api_limit_max)
    page = service.list_namespaces(services(), context(), query)
    kept = [pair for pair in pairs if pair[0] != "marker"]
    document: dict[str, Any] = {
        "namespaces": [wire.namespace_document(namespace) for namespace in page.namespaces],
        "first": link(wire.NAMESPACES, kept),
        "schema": "/v2/schemas/metadefs/namespaces",
    }
    if page.next_marker is not None:
        document["next"] = link(wire.NAMESPACES, [*kept, ("marker", page.next_marker)])
    return answer(document)


@blueprint.get("/v2/metadefs/namespaces/<namespace>")
@without_body
@operation(parameters=(queries.RESOURCE_TYPE,), answers={200: json_of("metadefs/namespace")})
def show(namespace: str) -> Response:
    """Show a namespace with all that is in it."""
    resource_type = request.args.get("resource_type")
    return answer(wire.namespace_document(service.show(services(), context(), namespace, resource_type)))


@blueprint.put("/v2/metadefs/namespaces/<namespace>")
@operation(body=json_of("metadefs/new_namespace"), answers={200: json_of("metadefs/namespace")}, errors=(409,))
def update(namespace: str) -> Response:
    """Replace what a namespace says of itself; its content stays."""
    given = json_object()
    changed = service.update(services(), context(), namespace, lambda: wire.changed_namespace(given))
    return answer(wire.namespace_document(changed))


@blueprint.delete("/v2/metadefs/namespaces/<namespace>")
@without_body
@operation(answers={204: None})
def delete(namespace: str) -> Response:
    """Delete a namespace with all that is in it."""
    service.delete(services(), context(), namespace)
    return Response(status=204)
