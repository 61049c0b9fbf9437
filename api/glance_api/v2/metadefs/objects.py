"""Views of the objects of a namespace (metadefs section 7)."""

from typing import Any

from flask import Blueprint, Response, request

from glance_api.http import query_string
from glance_api.http.request import answer, context, json_object, services, without_body
from glance_api.services.metadefs import objects as service
from glance_api.v2.metadefs import queries, wire
from glance_api.v2.operations import json_of, operation
from glance_api.v2.wire import link

blueprint = Blueprint("v2_metadef_objects", __name__)

_OBJECTS = "/v2/metadefs/namespaces/<namespace>/objects"
_OBJECT = f"{_OBJECTS}/<rest:object_name>"


@blueprint.post(_OBJECTS)
@operation(body=json_of("metadefs/new_object"), answers={201: json_of("metadefs/object")}, errors=(409,))
def create(namespace: str) -> Response:
    """Make an object."""
    given = json_object()
    made = service.create(services(), context(), namespace, lambda: wire.new_object(given))
    return answer(wire.object_document(namespace, made), 201)


@blueprint.get(_OBJECTS)
@operation(parameters=queries.OBJECT_PARAMETERS, answers={200: json_of("metadefs/objects")})
def index(namespace: str) -> Response:
    """List objects: all of them, or a page when a limit is given."""
    pairs = query_string.pairs_of(request.environ.get("QUERY_STRING", ""))
    query = queries.objects(dict(pairs), services().settings.api_limit_max)
    page = service.list_objects(services(), context(), namespace, query)
    document: dict[str, Any] = {
        "objects": [wire.object_document(namespace, each) for each in page.objects],
        "schema": "/v2/schemas/metadefs/objects",
    }
    if page.next_marker is not None:
        kept = [pair for pair in pairs if pair[0] != "marker"]
        path = f"{wire.namespace_path(namespace)}/objects"
        document["next"] = link(path, [*kept, ("marker", page.next_marker)])
    return answer(document)


@blueprint.delete(_OBJECTS)
@without_body
@operation(answers={204: None})
def delete_all(namespace: str) -> Response:
    """Delete all objects."""
    service.delete_all(services(), context(), namespace)
    return Response(status=204)


@blueprint.get(_OBJECT)
@without_body
@operation(answers={200: json_of("metadefs/object")})
def show(namespace: str, object_name: str) -> Response:
    """Show an object."""
    return answer(wire.object_document(namespace, service.show(services(), context(), namespace, object_name)))


@blueprint.put(_OBJECT)
@operation(body=json_of("metadefs/new_object"), answers={200: json_of("metadefs/object")}, errors=(409,))
def update(namespace: str, object_name: str) -> Response:
    """Replace an object, its name too."""
    given = json_object()
    changed = service.update(services(), context(), namespace, object_name, lambda: wire.new_object(given))
    return answer(wire.object_document(namespace, changed))


@blueprint.delete(_OBJECT)
@without_body
@operation(answers={204: None})
def delete(namespace: str, object_name: str) -> Response:
    """Delete an object."""
    service.delete(services(), context(), namespace, object_name)
    return Response(status=204)
