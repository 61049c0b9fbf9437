"""Members as v1 knows them: replaced as a whole, and with the right to share an image further (v1 API section 8)."""

from collections.abc import Mapping, Sequence
from uuid import uuid4

from glance_api.policy.targets import image_target, project_target
from glance_api.services import access
from glance_api.services.collaborators import RecordServices, SharingServices
from glance_api.services.events import images
from glance_common.model.context import RequestContext
from glance_common.model.errors import Forbidden, NotAuthenticated, NotFound, TooLarge
from glance_common.model.image import Image, Member


def list_members(services: RecordServices, context: RequestContext, image_id: str) -> list[Member]:
    """Return the members that the caller sees: none of an image that is not shared. Raises NotFound, PolicyDenied."""
    image = services.registry.images.get(context, image_id)
    services.policy.check_image(context, "get_members", image)
    return services.registry.members.list(context, image_id) if image.visibility == "shared" else []


def share(
    services: SharingServices, context: RequestContext, image_id: str, members: Mapping[str, bool | None], *, only: bool
) -> None:
    """Make these projects members, with their ``can_share`` (None: as it is); with ``only`` no others stay.

    Raises NotFound also for those who may not share the image, NotAuthenticated, Forbidden for an image that takes no
    members, TooLarge.
    """
    _require_right(services, context, image_id, "add_member", *(["delete_member"] if only else []))
    quota = services.settings.image_member_quota
    if 0 <= quota < len(members):
        # Checked here too, before anything is sent: a request may name very many (S-59).
        raise TooLarge(f"The limit has been exceeded on the number of allowed image members: {len(members)} of {quota}")
    before = {member.member: member for member in services.registry.members.list(context, image_id)}
    after = services.registry.members.share(context, image_id, members, only=only, quota=quota)
    access.set_changed(services, context, image_id)
    for member in after:
        if member.member not in before:
            images.member_created(services, context, member)
        elif before.pop(member.member) != member:
            images.member_updated(services, context, member)
    if only:
        for gone in before.keys() - {member.member for member in after}:
            images.member_deleted(services, context, before[gone])


def remove(services: SharingServices, context: RequestContext, image_id: str, member: str) -> None:
    """Stop sharing an image with a project. Raises as ``share``, NotFound for a project that is no member."""
    _require_right(services, context, image_id, "delete_member")
    known = services.registry.members.get(context, image_id, member)
    services.registry.members.remove(context, image_id, member, str(uuid4()))
    access.set_changed(services, context, image_id)
    images.member_deleted(services, context, known)


def shared_with(
    services: RecordServices, context: RequestContext, member: str, *, limit: int | None, marker: str | None
) -> Sequence[Member]:
    """Return the memberships of a project as far as the caller may see them.

    With ``limit`` or ``marker``, an image, it is a page. Raises PolicyDenied, BadRequest for an unknown marker.
    """
    services.policy.check(context, "get_members", {**project_target(context), "member_id": member})
    if limit == 0:
        return []
    return services.registry.members.shared_with(context, member, limit=limit, marker=marker)


def _require_right(services: RecordServices, context: RequestContext, image_id: str, *rules: str) -> Image:
    """Return the image. Raises NotFound unless the caller may change its members: the image stays hidden.

    A member that may share acts with the owner's right. The policy is asked as if the image belonged to the member.
    """
    if context.project_id is None and not context.is_admin:
        raise NotAuthenticated("members can be changed for a project only")
    image = services.registry.images.get(context, image_id)
    target = image_target(image)
    if image.member is not None and services.registry.members.get(context, image_id, image.member).can_share:
        target |= {"project_id": context.project_id, "owner": context.project_id}
    for rule in rules:
        if not services.policy.allows(context, rule, target):
            raise NotFound(f"No image found with ID {image_id}")
    if image.visibility != "shared":
        raise Forbidden(f"Image {image_id} is {image.visibility}: only shared images have members.")
    return image
