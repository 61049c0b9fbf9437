"""Views of the location API (API section 16)."""

from flask import Blueprint, Response
from jsonschema import Draft4Validator

from glance_api.http.request import answer, context, json_object, services, without_body
from glance_api.services.locations import service_api as service
from glance_api.services.locations.check import ValidationData
from glance_api.v2.operations import Schema, json_of, operation
from glance_api.v2.schemas import check
from glance_common.model.errors import BadRequest
from glance_common.model.json_depth import has_at_most

blueprint = Blueprint("v2_locations", __name__)

_PLACES: Schema = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": {"url": {"type": "string"}, "metadata": {"type": "object"}},
        "required": ["url", "metadata"],
    },
}


_NEW: Schema = {
    "type": "object",
    "properties": {
        "url": {"type": "string", "minLength": 1, "maxLength": 255},
        "validation_data": {
            "type": "object",
            "properties": {
                "os_hash_algo": {"type": "string", "enum": ["md5", "sha1", "sha256", "sha512"]},
                "os_hash_value": {"type": "string", "maxLength": 128},
            },
            # Both or none; clients send an empty object for none.
            "anyOf": [{"maxProperties": 0}, {"required": ["os_hash_algo", "os_hash_value"]}],
            "additionalProperties": False,
        },
    },
    "required": ["url"],
    "additionalProperties": False,
}
_CHECK = Draft4Validator(_NEW)
MAX_VALUES = 20
"""Values in the document, so that a wrong one takes no time (S-59); a right one has four."""


@blueprint.post("/v2/images/<image_id>/locations")
@operation(body=json_of(_NEW), answers={202: None}, errors=(409,))
def create(image_id: str) -> Response:
    """Give a queued image the data at a URL."""
    document = json_object()
    if not has_at_most(document, MAX_VALUES):
        raise BadRequest(f"the document has more than {MAX_VALUES} values")
    check(_CHECK, document, "")
    data = document.get("validation_data")
    validation = ValidationData(data["os_hash_algo"], data["os_hash_value"]) if data else None
    service.add(services(), context(), image_id, document["url"], validation)
    return Response(status=202)


@blueprint.get("/v2/images/<image_id>/locations")
@without_body
@operation(answers={200: json_of(_PLACES)})
def index(image_id: str) -> Response:
    """List the locations of an image."""
    places = service.fetch(services(), context(), image_id)
    return answer([{"url": place.url, "metadata": place.metadata} for place in places])
