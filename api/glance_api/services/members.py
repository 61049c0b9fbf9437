"""Projects with which an image is shared (API section 13, lifecycle section 8)."""

from uuid import uuid4

from glance_api.policy.targets import member_target
from glance_api.services import access
from glance_api.services.collaborators import RecordServices, SharingServices
from glance_api.services.events import images
from glance_common.model.context import RequestContext
from glance_common.model.errors import BadRequest, Forbidden, NotFound
from glance_common.model.image import MEMBER_STATUSES, Image, Member

MAX_MEMBER = 255


def list_members(services: RecordServices, context: RequestContext, image_id: str) -> list[Member]:
    """Return the members that the caller sees: owner and admin all of them, a member itself (S-44)."""
    image = services.registry.images.get(context, image_id)
    services.policy.check_image(context, "get_members", image)
    _require_shared(image)
    return services.registry.members.list(context, image_id)


def add(services: SharingServices, context: RequestContext, image_id: str, member: str) -> Member:
    """Share an image with a project; the membership is pending. Raises Duplicate, TooLarge, Forbidden, NotFound."""
    if not member:
        raise BadRequest("member must be the id of a project, not empty")
    if len(member) > MAX_MEMBER:
        raise BadRequest(f"member has at most {MAX_MEMBER} characters, this one has {len(member)}")
    image = services.registry.images.get(context, image_id)
    services.policy.check_image(context, "add_member", image)
    _require_shared(image)
    quota = services.settings.image_member_quota
    added = services.registry.members.add(context, image_id, member, str(uuid4()), quota=quota)
    access.set_changed(services, context, image_id)
    images.member_created(services, context, added)
    return added


def show(services: RecordServices, context: RequestContext, image_id: str, member_id: str) -> Member:
    """Return one member; raise NotFound whenever the caller may not see it."""
    image = _visible(services, context, image_id)
    member = services.registry.members.get(context, image_id, member_id)
    allowed = services.policy.allows(context, "get_member", member_target(image, member))
    if not allowed or image.visibility != "shared":
        raise NotFound(f"{member_id} is not a member of image {image_id}")
    return member


def set_status(services: RecordServices, context: RequestContext, image_id: str, member_id: str, status: str) -> Member:
    """Accept, reject or suspend a shared image: the member itself or an admin may, the owner may not."""
    if status not in MEMBER_STATUSES:
        raise BadRequest(f"status must be one of {', '.join(MEMBER_STATUSES)}")
    image = _visible(services, context, image_id)
    member = services.registry.members.get(context, image_id, member_id)
    services.policy.check_about(context, "modify_member", member_target(image, member), image)
    _require_shared(image)
    changed = services.registry.members.set_status(context, image_id, member_id, str(uuid4()), status)
    images.member_updated(services, context, changed)
    return changed


def remove(services: SharingServices, context: RequestContext, image_id: str, member_id: str) -> None:
    """Stop sharing an image with a project. Raises NotFound, PolicyDenied, Forbidden."""
    image = services.registry.images.get(context, image_id)
    services.policy.check_image(context, "delete_member", image)
    _require_shared(image)
    told = services.notifications.wants(images.MEMBER_DELETE)
    member = services.registry.members.get(context, image_id, member_id) if told else None
    services.registry.members.remove(context, image_id, member_id, str(uuid4()))
    access.set_changed(services, context, image_id)
    if member is not None:
        images.member_deleted(services, context, member)


def _visible(services: RecordServices, context: RequestContext, image_id: str) -> Image:
    """Return an image that policy shows to the caller too; the names of its members would reveal it (S-43)."""
    image = services.registry.images.get(context, image_id)
    services.policy.check_image(context, "get_image", image)
    return image


def _require_shared(image: Image) -> None:
    if image.visibility != "shared":
        raise Forbidden(f"Image {image.id} is {image.visibility}: only shared images have members.")
