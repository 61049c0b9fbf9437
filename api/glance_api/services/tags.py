"""Tags of an image, one at a time (API section 13)."""

from uuid import uuid4

from glance_api.services.collaborators import RecordServices
from glance_api.services.events import images
from glance_common.model.context import RequestContext
from glance_common.model.errors import BadRequest

MAX_TAG = 255


def add(services: RecordServices, context: RequestContext, image_id: str, tag: str) -> None:
    """Put a tag on an image; one that is there already stays. Raises BadRequest, NotFound, PolicyDenied, TooLarge."""
    if len(tag) > MAX_TAG:
        raise BadRequest(f"a tag has at most {MAX_TAG} characters, this one has {len(tag)}")
    image = services.registry.images.get(context, image_id)
    services.policy.check_image(context, "modify_image", image)
    quota = services.settings.image_tag_quota
    tagged = services.registry.images.add_tag(context, image_id, tag, str(uuid4()), quota=quota)
    images.image_updated(services, context, tagged)


def remove(services: RecordServices, context: RequestContext, image_id: str, tag: str) -> None:
    """Take a tag off an image. Raises NotFound also when the image does not have it, PolicyDenied."""
    image = services.registry.images.get(context, image_id)
    services.policy.check_image(context, "modify_image", image)
    untagged = services.registry.images.remove_tag(context, image_id, tag, str(uuid4()))
    images.image_updated(services, context, untagged)
