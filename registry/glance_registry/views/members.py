"""Members of images over HTTP (docs/registry-protocol.md)."""

from flask import Blueprint, Response, request

from glance_common.model.image import MEMBER_STATUSES
from glance_common.model.pages import MAX_PAGE_ROWS
from glance_registry.images import members, use_cases
from glance_registry.views import parsing

blueprint = Blueprint("members", __name__)

UNLIMITED = -1


@blueprint.get("/v1/images/<image_id>/members")
def index(image_id: str) -> Response:
    """Answer the members that the caller may see."""
    found = use_cases.list_members(parsing.engine(), parsing.caller(), parsing.path_id(image_id))
    return parsing.answer({"members": found})


@blueprint.post("/v1/images/<image_id>/members")
def add(image_id: str) -> Response:
    """Share an image with a project."""
    body = parsing.body()
    body.only("attempt", "member", "quota")
    member = use_cases.add_member(
        parsing.engine(), parsing.caller(), parsing.path_id(image_id), body.uuid("attempt"),
        body.text("member"), body.integer("quota", minimum=-(2**31)) if body.given("quota") else UNLIMITED,
    )
    return parsing.answer({"member": member})


@blueprint.put("/v1/images/<image_id>/members")
def share(image_id: str) -> Response:
    """Share an image with several projects."""
    body = parsing.body()
    body.only("members", "only", "quota")
    wanted: dict[str, bool | None] = {}
    for row in body.objects("members"):
        row.only("member", "can_share")
        can_share = None if row.values.get("can_share") is None else row.boolean("can_share")
        wanted[row.text("member")] = can_share
    found = use_cases.share(
        parsing.engine(), parsing.caller(), parsing.path_id(image_id), wanted, body.boolean("only"),
        body.integer("quota", minimum=-(2**31)),
    )
    return parsing.answer({"members": found})


@blueprint.get("/v1/memberships/<rest:member>")
def shared_with(member: str) -> Response:
    """Answer the memberships of a project that the caller may see; with limit or marker a page of them."""
    limit, marker = request.args.get("limit"), request.args.get("marker")
    page = members.SharedPage(
        MAX_PAGE_ROWS if limit is None else parsing.row_count(limit),
        None if marker is None else parsing.path_id(marker),
    )
    is_paged = limit is not None or marker is not None
    found = use_cases.shared_with(parsing.engine(), parsing.caller(), member, page if is_paged else None)
    return parsing.answer({"members": found})


@blueprint.get("/v1/images/<image_id>/members/<rest:member>")
def show(image_id: str, member: str) -> Response:
    """Answer one member."""
    found = use_cases.show_member(parsing.engine(), parsing.caller(), parsing.path_id(image_id), member)
    return parsing.answer({"member": found})


@blueprint.put("/v1/images/<image_id>/members/<rest:member>")
def set_status(image_id: str, member: str) -> Response:
    """Change the status of a membership."""
    body = parsing.body()
    body.only("attempt", "status")
    changed = use_cases.set_member_status(
        parsing.engine(), parsing.caller(), parsing.path_id(image_id), member,
        body.choice("status", MEMBER_STATUSES),
    )
    return parsing.answer({"member": changed})


@blueprint.delete("/v1/images/<image_id>/members/<rest:member>")
def remove(image_id: str, member: str) -> Response:
    """Stop sharing an image with a project."""
    body = parsing.body()
    body.only("attempt")
    use_cases.remove_member(
        parsing.engine(), parsing.caller(), parsing.path_id(image_id), body.uuid("attempt"), member
    )
    return parsing.no_content()
