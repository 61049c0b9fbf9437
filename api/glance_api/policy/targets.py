"""What a policy rule can look at: the attributes of the thing that the caller wants to act on."""

from typing import Any

from glance_common.model.context import RequestContext
from glance_common.model.image import Image, Member

IMAGE_ATTRIBUTES = {
    "id": "id",
    "image_id": "id",
    "name": "name",
    "owner": "owner",
    "project_id": "owner",
    "member_id": "member",
    "visibility": "visibility",
    "status": "status",
    "protected": "protected",
    "os_hidden": "os_hidden",
    "disk_format": "disk_format",
    "container_format": "container_format",
    "size": "size",
    "min_disk": "min_disk",
    "min_ram": "min_ram",
    "checksum": "checksum",
    "created_at": "created_at",
    "updated_at": "updated_at",
}
"""Name in rules → field of the image; every other name in a rule means an additional property."""


def image_target(image: Image) -> dict[str, Any]:
    """Return what rules see of an image.

    What is unset is left out: ``project_id:%(project_id)s`` must not make an image without owner the property of all
    callers without project. A property never stands in for a field of the same name.
    """
    target: dict[str, Any] = {
        name: value
        for name, value in (*image.properties.items(), *image.unseen)
        if value is not None and name not in IMAGE_ATTRIBUTES
    }
    for name, attribute in IMAGE_ATTRIBUTES.items():
        value = getattr(image, attribute)
        if value is not None:
            target[name] = value
    return target


def member_target(image: Image, member: Member) -> dict[str, Any]:
    """Return what rules see of one member of an image: the image, with ``member_id`` of that member."""
    return {**image_target(image), "member_id": member.member, "member_status": member.status}


def project_target(context: RequestContext) -> dict[str, Any]:
    """Return the target of an action on no image in particular: the caller's own project."""
    return {} if context.project_id is None else {"project_id": context.project_id}
