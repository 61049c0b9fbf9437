"""Views of members in v1 (v1 API section 8)."""

from typing import Any

from flask import Blueprint, Response, request

from glance_api.http.request import answer, context, has_body, json_object, services
from glance_api.services.v1 import members as sharing
from glance_api.v1 import queries, wire
from glance_common.model.errors import BadRequest

blueprint = Blueprint("v1_members", __name__)

MAX_MEMBER = 255


@blueprint.get("/v1/images/<image_id>/members")
def index(image_id: str) -> Response:
    """List the members that the caller may see."""
    members = sharing.list_members(services(), context(), image_id)
    return answer({"members": [wire.member_document(member) for member in members]})


@blueprint.put("/v1/images/<image_id>/members")
def replace(image_id: str) -> Response:
    """Share an image with these projects and no others."""
    rows = json_object().get("memberships")
    if not isinstance(rows, list):
        raise BadRequest("memberships must be a list")
    wanted = {}
    for row in rows:
        if not isinstance(row, dict) or "member_id" not in row:
            raise BadRequest("memberships must hold objects with a member_id each")
        wanted[_member(row["member_id"])] = _can_share(row)
    sharing.share(services(), context(), image_id, wanted, only=True)
    return Response(status=204)


@blueprint.put("/v1/images/<image_id>/members/<rest:member>")
def update(image_id: str, member: str) -> Response:
    """Share an image with a project."""
    can_share = None
    if has_body(request):
        row = json_object().get("member")
        if not isinstance(row, dict):
            raise BadRequest("member must be an object")
        can_share = _can_share(row)
    sharing.share(services(), context(), image_id, {_member(member): can_share}, only=False)
    return Response(status=204)


@blueprint.delete("/v1/images/<image_id>/members/<rest:member>")
def delete(image_id: str, member: str) -> Response:
    """Stop sharing an image with a project."""
    sharing.remove(services(), context(), image_id, member)
    return Response(status=204)


@blueprint.get("/v1/shared-images/<rest:member>")
def shared_images(member: str) -> Response:
    """List the images that are shared with a project; with limit or marker page by page, the oldest first."""
    query = request.environ.get("QUERY_STRING", "")
    limit, marker = queries.shared_page(query, services().settings.api_limit_max)
    found = sharing.shared_with(services(), context(), member, limit=limit, marker=marker)
    return answer({"shared_images": [wire.shared_document(row) for row in found]})


def _member(value: Any) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= MAX_MEMBER:
        raise BadRequest(f"member_id must be a text of 1 to {MAX_MEMBER} characters")
    return value


def _can_share(row: dict[str, Any]) -> bool | None:
    value = row.get("can_share")
    if value is not None and not isinstance(value, bool):
        raise BadRequest("can_share must be true or false")
    return value
