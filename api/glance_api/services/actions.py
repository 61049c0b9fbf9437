"""Close and open the data of an image (API section 12)."""

from uuid import uuid4

from glance_api.services.collaborators import RecordServices
from glance_api.services.events import images
from glance_common.model.context import RequestContext
from glance_common.model.errors import Forbidden, StatusConflict
from glance_common.model.operation import REFUSED_PROPERTY
from glance_common.model.status import ImageStatus


def deactivate(services: RecordServices, context: RequestContext, image_id: str) -> None:
    """Make an active image deactivated; one that is already stays. Raises NotFound, PolicyDenied, Forbidden."""
    _switch(services, context, image_id, "deactivate", ImageStatus.ACTIVE, ImageStatus.DEACTIVATED)


def reactivate(services: RecordServices, context: RequestContext, image_id: str) -> None:
    """Make a deactivated image active; one that is already stays. Raises NotFound, PolicyDenied, Forbidden.

    Only an administrator may reactivate an image that the service deactivated because of its data.
    """
    _switch(services, context, image_id, "reactivate", ImageStatus.DEACTIVATED, ImageStatus.ACTIVE)


def _switch(
    services: RecordServices, context: RequestContext, image_id: str, rule: str,
    source: ImageStatus, target: ImageStatus,
) -> None:
    image = services.registry.images.get(context, image_id)
    services.policy.check_image(context, rule, image)
    if image.status is target:
        return
    refused = Forbidden(f"{rule}: the status of the image is {image.status}, only {source} images can be")
    if image.status is not source:
        raise refused
    reason = image.properties.get(REFUSED_PROPERTY)
    if target is ImageStatus.ACTIVE and reason is not None and not context.is_admin:
        raise Forbidden(f"{rule}: only administrators can, the service refused the data of the image: {reason}")
    try:
        switched = services.registry.images.set_status(context, image_id, str(uuid4()), [source], target)
    except StatusConflict as conflict:
        # Another caller made the same change first, which is no error.
        if conflict.details.get("status") != target:
            raise refused from None
        return
    images.image_updated(services, context, switched)
