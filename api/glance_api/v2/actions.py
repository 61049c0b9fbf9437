"""Views of the actions on an image (API section 12)."""

from flask import Blueprint, Response

from glance_api.http.request import context, services, without_body
from glance_api.services import actions as service
from glance_api.services import restore as restoring
from glance_api.v2.operations import operation

blueprint = Blueprint("v2_actions", __name__)


@blueprint.post("/v2/images/<image_id>/actions/deactivate")
@without_body
@operation(answers={204: None})
def deactivate(image_id: str) -> Response:
    """Close the data of the image."""
    service.deactivate(services(), context(), image_id)
    return Response(status=204)


@blueprint.post("/v2/images/<image_id>/actions/reactivate")
@without_body
@operation(answers={204: None})
def reactivate(image_id: str) -> Response:
    """Open the data of the image again."""
    service.reactivate(services(), context(), image_id)
    return Response(status=204)


@blueprint.post("/v2/images/<image_id>/actions/restore")
@without_body
@operation(answers={204: None}, errors=(409, 413))
def restore(image_id: str) -> Response:
    """Bring a deleted image back while its data are kept."""
    restoring.restore(services(), context(), image_id)
    return Response(status=204)
