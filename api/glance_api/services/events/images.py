"""What other services are told: one function for each thing that happened, with the payload consumers expect.

All of them are called after the commit, cost nothing while notifications are off, never wait and never raise.
Payloads hold neither locations nor credentials (configuration section 11, S-02, S-53).
"""

import logging
from datetime import UTC, datetime
from typing import Any

from glance_api.services.collaborators import EventServices
from glance_common.model.context import RequestContext
from glance_common.model.errors import GlanceError
from glance_common.model.image import Image, Member
from glance_common.model.operation import FAILED_PROPERTY, HIDDEN_PROPERTIES, IMPORTING_PROPERTY
from glance_common.model.status import ImageStatus
from glance_common.notifications.wire import Priority

LOG = logging.getLogger(__name__)

MEMBER_DELETE = "image.member.delete"
ENDS = ("image.activate", "image.update", "image.delete")
"""What the end of an import can mean for its image."""


def image_created(services: EventServices, context: RequestContext, image: Image) -> None:
    """Tell that a record was made."""
    _tell_image(services, context, "image.create", image)


def image_updated(services: EventServices, context: RequestContext, image: Image) -> None:
    """Tell that a record was saved."""
    _tell_image(services, context, "image.update", image)


def image_changed(services: EventServices, context: RequestContext, image_id: str) -> None:
    """Tell that a record was saved by a call to the registry that did not show it."""
    if services.notifications.wants("image.update"):
        try:
            image_updated(services, context, services.registry.images.get(context, image_id))
        except GlanceError as error:
            LOG.info("no notification of the change of image %s: %s", image_id, error.message)


def image_restored(services: EventServices, context: RequestContext, image: Image) -> None:
    """Tell that a deleted image is back; consumers that do not know this event hear of a change of the image."""
    _tell_image(services, context, "image.restore", image)
    image_updated(services, context, image)


def image_deleted(services: EventServices, context: RequestContext, image: Image, *, may_return: bool = True) -> None:
    """Tell that an image is gone; ``image`` is as it was before, with its locations where deletes are delayed.

    Its status is ``pending_delete`` only while its data are kept for a restore: consumers take that for a delete which
    can be undone (``may_return``). They do not see the wait for a scrubber. The registry shows the same status.
    """
    if services.notifications.wants("image.delete"):
        had_data = image.status in (ImageStatus.ACTIVE, ImageStatus.DEACTIVATED) and bool(image.locations)
        is_kept = may_return and services.settings.delayed_delete and had_data
        status = ImageStatus.PENDING_DELETE if is_kept else ImageStatus.DELETED
        gone = {"status": status, "deleted": True, "deleted_at": _now()}
        services.notifications.send(context, "image.delete", {**image_payload(image), **gone})


def upload_begun(services: EventServices, context: RequestContext, image: Image, store: str) -> None:
    """Tell that data are about to be stored; ``image`` is already ``saving``."""
    image_updated(services, context, image)
    copy_begun(services, context, image, store)


def copy_begun(services: EventServices, context: RequestContext, image: Image, store: str) -> None:
    """Tell that an import is about to store data."""
    _tell_data(services, context, "image.prepare", image, store)


def upload_finished(
    services: EventServices, context: RequestContext, image: Image, store: str, *, activated: bool = True
) -> None:
    """Tell that data were stored, and whether they made the image active."""
    _tell_data(services, context, "image.upload", image, store)
    if activated:
        image_activated(services, context, image)
    image_updated(services, context, image)


def image_activated(services: EventServices, context: RequestContext, image: Image) -> None:
    """Tell that an image can be used from now on."""
    _tell_image(services, context, "image.activate", image)


def upload_failed(services: EventServices, context: RequestContext, image_id: str, error: BaseException | str) -> None:
    """Tell that data could not be stored. Of an internal error only its kind is told."""
    if services.notifications.wants("image.upload"):
        reason = error if isinstance(error, str) else type(error).__name__
        reason = error.message if isinstance(error, GlanceError) else reason
        services.notifications.send(
            context, "image.upload", f"the data of image {image_id} could not be stored: {reason}", Priority.ERROR
        )


def image_sent(services: EventServices, context: RequestContext, image: Image, sent: int, expected: int) -> None:
    """Tell how many bytes of how many a download has really sent; with fewer it is an error."""
    if services.notifications.wants("image.send"):
        payload = {
            "bytes_sent": sent,
            "image_id": image.id,
            "owner_id": image.owner,
            "receiver_tenant_id": context.project_id,
            "receiver_user_id": context.user_id,
        }
        priority = Priority.INFO if sent == expected else Priority.ERROR
        services.notifications.send(context, "image.send", payload, priority)


def member_created(services: EventServices, context: RequestContext, member: Member) -> None:
    """Tell that an image is shared with one more project."""
    _tell_member(services, context, "image.member.create", member)


def member_updated(services: EventServices, context: RequestContext, member: Member) -> None:
    """Tell that a membership changed its status."""
    _tell_member(services, context, "image.member.update", member)


def member_deleted(services: EventServices, context: RequestContext, member: Member) -> None:
    """Tell that an image is no longer shared with a project; ``member`` is as it was before."""
    _tell_member(services, context, MEMBER_DELETE, member, deleted_at=_now())


def image_payload(image: Image) -> dict[str, Any]:
    """Return the facts about an image that its events hold."""
    return {
        "id": image.id,
        "name": image.name,
        "status": image.status,
        "created_at": image.created_at,
        "updated_at": image.updated_at,
        "min_disk": image.min_disk,
        "min_ram": image.min_ram,
        "protected": image.protected,
        "checksum": image.checksum,
        "owner": image.owner,
        "disk_format": image.disk_format,
        "container_format": image.container_format,
        "size": image.size,
        "virtual_size": image.virtual_size,
        "is_public": image.visibility == "public",
        "visibility": image.visibility,
        "properties": {k: v for k, v in image.properties.items() if k not in HIDDEN_PROPERTIES},
        "tags": list(image.tags),
        "deleted": False,
        "deleted_at": None,
    }


def _tell_image(services: EventServices, context: RequestContext, event_type: str, image: Image) -> None:
    if services.notifications.wants(event_type):
        services.notifications.send(context, event_type, image_payload(image))


def _tell_data(services: EventServices, context: RequestContext, event_type: str, image: Image, store: str) -> None:
    if services.notifications.wants(event_type):
        lists = {name: _names(image.properties.get(name)) for name in (IMPORTING_PROPERTY, FAILED_PROPERTY)}
        services.notifications.send(context, event_type, {**image_payload(image), **lists, "backend": store})


def _names(text: str | None) -> list[str]:
    return [name for name in (text or "").split(",") if name]


def _tell_member(
    services: EventServices, context: RequestContext, event_type: str, member: Member, deleted_at: str | None = None
) -> None:
    if services.notifications.wants(event_type):
        payload = {
            "image_id": member.image_id,
            "member_id": member.member,
            "status": member.status,
            "created_at": member.created_at,
            "updated_at": member.updated_at,
            "deleted": deleted_at is not None,
            "deleted_at": deleted_at,
        }
        services.notifications.send(context, event_type, payload)


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
