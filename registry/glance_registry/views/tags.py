"""Tags of images over HTTP (docs/registry-protocol.md)."""

from flask import Blueprint, Response

from glance_common.model import errors
from glance_registry.images import tags, use_cases
from glance_registry.views import parsing

blueprint = Blueprint("tags", __name__)

UNLIMITED = -1
MAX_TAG = 255
"""Characters (API section 3)."""


@blueprint.put("/v1/images/<image_id>/tags/<rest:tag>")
def add(image_id: str, tag: str) -> Response:
    """Put a tag on an image."""
    if len(tag) > MAX_TAG:
        raise errors.BadRequest(f"tag: at most {MAX_TAG} characters", field="tag")
    body = parsing.body()
    body.only("attempt", "quota")
    quota = body.integer("quota", minimum=-(2**31)) if body.given("quota") else UNLIMITED
    room = tags.Room(quota, parsing.bounds().image_document)
    document = use_cases.add_tag(
        parsing.engine(), parsing.caller(), parsing.path_id(image_id), body.uuid("attempt"), tag, room
    )
    return parsing.raw_answer(f'{{"image":{document}}}')


@blueprint.delete("/v1/images/<image_id>/tags/<rest:tag>")
def remove(image_id: str, tag: str) -> Response:
    """Take a tag off an image."""
    body = parsing.body()
    body.only("attempt")
    document = use_cases.remove_tag(
        parsing.engine(), parsing.caller(), parsing.path_id(image_id), body.uuid("attempt"), tag
    )
    return parsing.raw_answer(f'{{"image":{document}}}')
