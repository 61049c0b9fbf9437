"""Views of kinds of resources and of associations with them (metadefs section 9)."""

from flask import Blueprint, Response

from glance_api.http.request import answer, context, json_object, services, without_body
from glance_api.services.metadefs import resource_types as service
from glance_api.v2.metadefs import fields, wire
from glance_api.v2.operations import json_of, operation

blueprint = Blueprint("v2_metadef_resource_types", __name__)

_ASSOCIATIONS = "/v2/metadefs/namespaces/<namespace>/resource_types"


@blueprint.get("/v2/metadefs/resource_types")
@without_body
@operation(answers={200: json_of(fields.RESOURCE_TYPES)})
def index() -> Response:
    """List the kinds of resources."""
    found = service.list_types(services(), context())
    return answer({"resource_types": [wire.resource_type_document(each) for each in found]})


@blueprint.get(_ASSOCIATIONS)
@without_body
@operation(answers={200: json_of("metadefs/resource_types")})
def associations(namespace: str) -> Response:
    """List the kinds of resources that a namespace is meant for."""
    found = service.list_associations(services(), context(), namespace)
    return answer({"resource_type_associations": [wire.association_document(each) for each in found]})


@blueprint.post(_ASSOCIATIONS)
@operation(body=json_of("metadefs/new_association"), answers={201: json_of("metadefs/resource_type")}, errors=(409,))
def create(namespace: str) -> Response:
    """Associate a namespace with a kind of resources."""
    given = json_object()
    made = service.associate(services(), context(), namespace, lambda: wire.new_association(given))
    return answer(wire.association_document(made), 201)


@blueprint.delete(f"{_ASSOCIATIONS}/<rest:resource_type>")
@without_body
@operation(answers={204: None})
def delete(namespace: str, resource_type: str) -> Response:
    """End an association."""
    service.dissociate(services(), context(), namespace, resource_type)
    return Response(status=204)
