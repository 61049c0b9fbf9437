"""Views of the properties of a namespace (metadefs section 6)."""

from flask import Blueprint, Response, request

from glance_api.http.request import answer, context, json_object, services, without_body
from glance_api.services.metadefs import properties as service
from glance_api.v2.metadefs import wire
from glance_api.v2.metadefs.queries import RESOURCE_TYPE
from glance_api.v2.operations import json_of, operation

blueprint = Blueprint("v2_metadef_properties", __name__)

_PROPERTIES = "/v2/metadefs/namespaces/<namespace>/properties"
_PROPERTY = f"{_PROPERTIES}/<rest:property_name>"


@blueprint.post(_PROPERTIES)
@operation(body=json_of("metadefs/new_property"), answers={201: json_of("metadefs/property")}, errors=(409,))
def create(namespace: str) -> Response:
    """Make a property."""
    given = json_object()
    made = service.create(services(), context(), namespace, lambda: wire.new_property(given))
    return answer(wire.property_document(made), 201)


@blueprint.get(_PROPERTIES)
@without_body
@operation(answers={200: json_of("metadefs/properties")})
def index(namespace: str) -> Response:
    """List all properties."""
    return answer({"properties": wire.property_map(service.list_properties(services(), context(), namespace))})


@blueprint.delete(_PROPERTIES)
@without_body
@operation(answers={204: None})
def delete_all(namespace: str) -> Response:
    """Delete all properties."""
    service.delete_all(services(), context(), namespace)
    return Response(status=204)


@blueprint.get(_PROPERTY)
@without_body
@operation(parameters=(RESOURCE_TYPE,), answers={200: json_of("metadefs/property")})
def show(namespace: str, property_name: str) -> Response:
    """Show a property."""
    resource_type = request.args.get("resource_type")
    return answer(wire.property_document(service.show(services(), context(), namespace, property_name, resource_type)))


@blueprint.put(_PROPERTY)
@operation(body=json_of("metadefs/new_property"), answers={200: json_of("metadefs/property")}, errors=(409,))
def update(namespace: str, property_name: str) -> Response:
    """Replace a property, its name too."""
    given = json_object()
    changed = service.update(services(), context(), namespace, property_name, lambda: wire.new_property(given))
    return answer(wire.property_document(changed))


@blueprint.delete(_PROPERTY)
@without_body
@operation(answers={204: None})
def delete(namespace: str, property_name: str) -> Response:
    """Delete a property."""
    service.delete(services(), context(), namespace, property_name)
    return Response(status=204)
