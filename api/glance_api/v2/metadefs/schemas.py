"""The view that serves the schemas of the catalogue (metadefs section 10)."""

from flask import Blueprint, Response

from glance_api.http.request import without_body, without_policy
from glance_api.v2.metadefs import fields
from glance_api.v2.operations import json_of, operation
from glance_api.v2.schemas import serve
from glance_common.model.errors import NotFound

blueprint = Blueprint("v2_metadef_schemas", __name__)


@blueprint.get("/v2/schemas/metadefs/<metadef>")
@without_policy("schemas describe the API and tell nothing about the catalogue")
@without_body
@operation(answers={200: json_of({"type": "object"})})
def document(metadef: str) -> Response:
    """Serve the schema of a document of the catalogue."""
    name = f"metadefs/{metadef}"
    if name not in fields.SERVED:
        raise NotFound(f"there is no schema {name}")
    return serve(name)
