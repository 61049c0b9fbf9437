"""Owners find the deleted images of their project and restore them, if policy allows it (lifecycle section 4).

A deleted image is seen by those callers only who may restore it: for all others it does not exist (S-43).
"""

from dataclasses import replace
from uuid import uuid4

from glance_api.policy.targets import image_target, project_target
from glance_api.services.collaborators import RestoreServices
from glance_api.services.events import images as events
from glance_api.services.image_queries import ImageQuery
from glance_common.model.context import RequestContext
from glance_common.model.errors import Conflict, NotFound
from glance_common.model.status import ImageStatus

RULE = "restore_image"


def restore(services: RestoreServices, context: RequestContext, image_id: str) -> None:
    """Bring a deleted image back with data, properties, tags and members, to the status before its delete (S-74).

    Raises NotFound, PolicyDenied for an image that is there, Conflict when it is not deleted, when its time is over or
    the purge of its data has begun, TooLarge over a quota of its owner.
    """
    image = services.registry.images.get(context, image_id, deleted=True)
    if image.status not in (ImageStatus.PENDING_DELETE, ImageStatus.DELETED):
        services.policy.check_image(context, RULE, image)
        raise Conflict(f"image {image_id} is {image.status}, only a deleted image can be restored")
    if not services.policy.allows(context, RULE, image_target(image)):
        raise NotFound(f"No image found with ID {image_id}")
    restored = services.registry.images.restore(
        context, image_id, str(uuid4()), limits=services.limits.of(image.owner)
    )
    events.image_restored(services, context, restored)


def allowed_query(services: RestoreServices, context: RequestContext, query: ImageQuery) -> ImageQuery:
    """Return the query of a list of restorable images as the caller may ask it.

    A caller who may restore nothing gets what is listed otherwise: no deleted image. An administrator gets the images
    of all projects if the rule does not ask for the own one.
    """
    own = project_target(context)
    if own:
        own["owner"] = context.project_id  # rules may name either
    if not services.policy.allows(context, RULE, own):
        return replace(query, deleted="no")
    return replace(query, as_user=not services.policy.allows(context, RULE, {}))
