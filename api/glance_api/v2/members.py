"""Views of image members (API section 13)."""

from typing import Any

from flask import Blueprint, Response

from glance_api.http.request import answer, context, json_object, services, without_body
from glance_api.services import members as service
from glance_api.v2 import fields, wire
from glance_api.v2.operations import json_of, operation
from glance_common.model.errors import BadRequest

blueprint = Blueprint("v2_members", __name__)


@blueprint.get("/v2/images/<image_id>/members")
@without_body
@operation(answers={200: json_of("members")})
def index(image_id: str) -> Response:
    """List the members that the caller may see."""
    members = service.list_members(services(), context(), image_id)
    return answer({"members": [wire.member_document(member) for member in members], "schema": "/v2/schemas/members"})


@blueprint.post("/v2/images/<image_id>/members")
@operation(body=json_of(fields.NEW_MEMBER), answers={200: json_of("member")}, errors=(409,))
def create(image_id: str) -> Response:
    """Share the image with a project."""
    member = _text(json_object(), "member")
    return answer(wire.member_document(service.add(services(), context(), image_id, member)))


@blueprint.get("/v2/images/<image_id>/members/<rest:member_id>")
@without_body
@operation(answers={200: json_of("member")})
def show(image_id: str, member_id: str) -> Response:
    """Show one member."""
    return answer(wire.member_document(service.show(services(), context(), image_id, member_id)))


@blueprint.put("/v2/images/<image_id>/members/<rest:member_id>")
@operation(body=json_of(fields.MEMBER_STATUS), answers={200: json_of("member")})
def update(image_id: str, member_id: str) -> Response:
    """Accept or reject the image."""
    status = _text(json_object(), "status")
    return answer(wire.member_document(service.set_status(services(), context(), image_id, member_id, status)))


@blueprint.delete("/v2/images/<image_id>/members/<rest:member_id>")
@without_body
@operation(answers={204: None})
def delete(image_id: str, member_id: str) -> Response:
    """Stop sharing the image with a project."""
    service.remove(services(), context(), image_id, member_id)
    return Response(status=204)


def _text(document: dict[str, Any], name: str) -> str:
    if name not in document:
        raise BadRequest(f"{name} is missing")
    value = document[name]
    if not isinstance(value, str):
        raise BadRequest(f"{name} must be a string")
    return value
