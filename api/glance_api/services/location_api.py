"""The location API for services of the cloud (API section 16): give a queued image its data, and see where data are."""

from glance_api.collaborators import Glance
from glance_api.services.locations import Place, visible
from glance_common.context import RequestContext


def fetch(glance: Glance, context: RequestContext, image_id: str) -> list[Place]:
    """Return the locations of an image, none of a deactivated one to others than administrators (S-49).

    Raises NotFound, PolicyDenied.
    """
    image = glance.registry.images.get(context, image_id, locations=True)
    glance.policy.check_image(context, "fetch_image_location", image)
    return visible(glance, context, image)
