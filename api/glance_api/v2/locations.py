"""Views of the location API (API section 16)."""

from flask import Blueprint, Response

from glance_api.request import answer, context, glance, without_body
from glance_api.services import location_api as service
from glance_api.v2.operations import Schema, json_of, operation

blueprint = Blueprint("v2_locations", __name__)

_PLACES: Schema = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": {"url": {"type": "string"}, "metadata": {"type": "object"}},
        "required": ["url", "metadata"],
    },
}


@blueprint.get("/v2/images/<image_id>/locations")
@without_body
@operation(answers={200: json_of(_PLACES)})
def index(image_id: str) -> Response:
    """List the locations of an image."""
    places = service.fetch(glance(), context(), image_id)
    return answer([{"url": place.url, "metadata": place.metadata} for place in places])
