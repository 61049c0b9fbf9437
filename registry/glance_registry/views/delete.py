"""Delete and restore of images over HTTP."""

from flask import Blueprint, Response

from glance_registry.images import delete as hiding
from glance_registry.images import use_cases
from glance_registry.views import parsing
from glance_registry.views.usage import limits

blueprint = Blueprint("delete", __name__, url_prefix="/v1/images")


@blueprint.delete("/<image_id>")
def delete(image_id: str) -> Response:
    """Hide the image; the answer names the locations that are due for a purge now."""
    body = parsing.body()
    body.only("attempt", "delayed", "scrub_time")
    asked = hiding.Delete(
        attempt=body.uuid("attempt"), delayed=body.boolean("delayed"), scrub_time=body.number("scrub_time")
    )
    due = use_cases.delete(parsing.engine(), parsing.caller(), parsing.path_id(image_id), asked)
    return parsing.answer({"locations": due})


@blueprint.post("/<image_id>/restore")
def restore(image_id: str) -> Response:
    """Bring a deleted image back."""
    body = parsing.body()
    body.only("attempt", "limits")
    image = use_cases.restore(
        parsing.engine(), parsing.caller(), parsing.path_id(image_id), body.uuid("attempt"), limits(body)
    )
    return parsing.raw_answer(f'{{"image":{image}}}')
