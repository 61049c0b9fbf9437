"""Views of the tags of an image (API section 13)."""

from flask import Blueprint, Response

from glance_api.http.request import context, services, without_body
from glance_api.services import tags as service
from glance_api.v2.operations import operation

blueprint = Blueprint("v2_tags", __name__)


@blueprint.put("/v2/images/<image_id>/tags/<rest:tag>")
@without_body
@operation(answers={204: None}, errors=(413,))
def add(image_id: str, tag: str) -> Response:
    """Put a tag on the image."""
    service.add(services(), context(), image_id, tag)
    return Response(status=204)


@blueprint.delete("/v2/images/<image_id>/tags/<rest:tag>")
@without_body
@operation(answers={204: None})
def remove(image_id: str, tag: str) -> Response:
    """Take a tag off the image."""
    service.remove(services(), context(), image_id, tag)
    return Response(status=204)
