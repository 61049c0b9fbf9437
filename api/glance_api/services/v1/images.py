"""What v1 does in one call and v2 in several: create or change an image and give it its data (v1 API sections 3 and 5).

The steps are those of v2, but they fail differently: an image whose data did not come is killed (lifecycle section 3).
"""

import logging
from collections.abc import Collection
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, replace
from uuid import uuid4

from glance_api.clients.key_manager import Credentials
from glance_api.services import data, images
from glance_api.services.collaborators import Services
from glance_api.services.data import Source
from glance_api.services.events import images as events
from glance_api.services.image_changes import Change, ImageChanges
from glance_api.services.images import NewImage
from glance_api.services.locations import check as registration
from glance_api.services.locations.edit import AddLocation, GivenLocation
from glance_api.services.v1 import imports
from glance_common.model.context import RequestContext
from glance_common.model.errors import (
    BadRequest,
    Conflict,
    Forbidden,
    GlanceError,
    Gone,
    NotFound,
    PolicyDenied,
    PreconditionFailed,
)
from glance_common.model.image import Image
from glance_common.model.status import ImageStatus
from glance_common.stores.contract import BadLocation, UnknownStore

LOG = logging.getLogger(__name__)

GONE = (ImageStatus.DELETED, ImageStatus.PENDING_DELETE)


@dataclass(frozen=True, slots=True)
class Body:
    """The data are the body of the request; ``refusal`` says what is wrong with its form, None when nothing is."""

    source: Source
    refusal: str | None = None


@dataclass(frozen=True, slots=True)
class CopyFrom:
    """The data are fetched from ``url`` later, into ``store`` (None = default)."""

    url: str
    store: str | None
    credentials: Credentials


@dataclass(frozen=True, slots=True)
class Register:
    """The data stay at ``url``; ``size`` is what the client says of them, None or 0 for nothing."""

    url: str
    size: int | None


@dataclass(frozen=True, slots=True)
class Empty:
    """The image has no data and never gets any."""


Filling = Body | CopyFrom | Register | Empty

_RULES: dict[type[object], tuple[str, ...]] = {
    Body: ("upload_image",),
    CopyFrom: ("copy_from", "upload_image"),
    Register: ("set_image_location",),
}
"""Rights that the call needs besides creating or changing an image; checked before anything is written."""

_NOT_OURS = (Conflict, NotFound, PolicyDenied)
"""Errors that say that the caller may not fill this image: the image stays as it is."""


def find(services: Services, context: RequestContext, image_id: str) -> Image:
    """Return an image; administrators also get one that was deleted. Raises NotFound."""
    try:
        return images.show(services, context, image_id)
    except NotFound:
        if not context.is_admin:
            raise
    image = services.registry.images.get(context, image_id, deleted=True)
    services.policy.check_image(context, "get_image", image)
    return images.as_seen(services, context, image)


def readable(services: Services, context: RequestContext, image_id: str) -> Image:
    """Return an active image with its locations, whose data the caller may read.

    Raises NotFound for one that is not active, Forbidden for a deactivated one, to administrators too
    (v1 API section 4).
    """
    image = data.readable(services, context, image_id)
    if image is None:
        raise NotFound(f"Image {image_id} has no data")
    # The answer shows the metadata as well.
    services.policy.check_image(context, "get_image", image)
    if image.status is not ImageStatus.ACTIVE:
        raise Forbidden("the image is deactivated")
    return images.as_seen(services, context, image)


def check_spelling(services: Services, context: RequestContext, names: Collection[str]) -> None:
    """Raise Forbidden for properties that would be protected if their headers' names were spelled otherwise.

    A header has no case, and one sign for ``-`` and ``_``: ``x_guard`` may mean the ``X-Guard`` of a rule (S-47).
    """
    if services.protections is not None:
        for name in names:
            services.protections.check_spelling(context, name)


def create(services: Services, context: RequestContext, new: NewImage, filling: Filling | None) -> Image:
    """Create an image and give it its data. Raises as the services of v2; what can be refused at once leaves no image.
    """
    target = images.check_new(services, context, new)
    for rule in _RULES.get(type(filling), ()):
        services.policy.check(context, rule, target)
    if filling is not None:
        check(services, context, filling)
        if not isinstance(filling, Empty):
            _require_formats(new.fields.get("disk_format"), new.fields.get("container_format"))
    with _permit(services, context, filling):
        return _create(services, context, new, filling)


def _permit(
    services: Services, context: RequestContext, filling: Filling | None
) -> AbstractContextManager[None]:
    """Return one permit for all questions to the server that the location names."""
    if not isinstance(filling, Register):
        return nullcontext()
    return services.remote_checks.permit(context.project_id)


def _create(services: Services, context: RequestContext, new: NewImage, filling: Filling | None) -> Image:
    image = images.create(services, context, new)
    if filling is None:
        return image
    try:
        _check_size(services, context, image, filling)
        return fill(services, context, image, filling)
    except GlanceError as error:
        if isinstance(filling, Register):
            _take_back(services, context, image)
        elif isinstance(error, _NOT_OURS):
            # No other caller works on an image that was just made.
            _kill(services, context, image.id)
        raise


def _take_back(services: Services, context: RequestContext, image: Image) -> None:
    """Remove an image that was just made, whose location cannot be registered."""
    with suppress(GlanceError):
        if image.protected:
            images.update(services, context, image.id, lambda _: ImageChanges({"protected": False}))
        services.registry.images.delete(context, image.id, str(uuid4()), delayed=False, scrub_time=0)


def update(
    services: Services, context: RequestContext, image_id: str, change: Change, filling: Filling | None
) -> Image:
    """Change an image and give it its data when they come with the request (v1 API section 5)."""
    image = find(services, context, image_id)
    if image.status in GONE:
        raise Forbidden("the image is deleted")
    for rule in ("modify_image", *_RULES.get(type(filling), ())):
        services.policy.check_image(context, rule, image)
    if filling is not None:
        if image.status is not ImageStatus.QUEUED:
            refusal = BadRequest if isinstance(filling, Register) else Conflict
            raise refusal(f"the image is {image.status}, only a queued one can be given its data")
        check(services, context, filling)
    with _permit(services, context, filling):
        if filling is not None:
            _check_size(services, context, image, filling)
        if isinstance(filling, Register):
            # In one step with the rest: data that are refused change nothing.
            added = _added(filling)
            return images.update(services, context, image_id, lambda found: replace(change(found), locations=added))
        image = images.update(services, context, image_id, change)
        if filling is None:
            return image
        if not isinstance(filling, Empty):
            _require_formats(image.disk_format, image.container_format)
        return fill(services, context, image, filling)


def delete(services: Services, context: RequestContext, image_id: str, credentials: Credentials) -> None:
    """Delete an image as v2 does (v1 API section 6). Raises Forbidden for one that waits for the scrubber."""
    try:
        images.delete(services, context, image_id, credentials)
    except NotFound:
        if context.is_admin and find(services, context, image_id).status is ImageStatus.PENDING_DELETE:
            raise Forbidden("the image is pending_delete") from None
        raise


def check(services: Services, context: RequestContext, filling: Filling) -> None:
    """Raise BadRequest for data that can be refused before anything is written down."""
    cap = services.settings.image_size_cap
    match filling:
        case Body(source=Source(announced=announced, size=size)):
            if max(announced or 0, size or 0) > cap:
                raise BadRequest(f"the image is larger than image_size_cap, {cap} bytes")
        case CopyFrom(url=url, store=store):
            registration.check_source(services, context, "x-glance-api-copy-from", url)
            target = services.stores.default if store is None else services.stores.get(store)
            if not target.capabilities.add:
                raise BadRequest(f"x-image-meta-store: the store {target.id} takes no data")
        case Register(url=url, size=size):
            if (size or 0) > cap:
                raise BadRequest(f"the image is larger than image_size_cap, {cap} bytes")
            try:
                services.stores.user_location(url)
            except (BadLocation, UnknownStore) as error:
                raise BadRequest(f"x-image-meta-location: {error}") from None


def fill(services: Services, context: RequestContext, image: Image, filling: Filling) -> Image:
    """Give a queued image its data and return the changed image; a copy has only begun then. Raises as v2 does."""
    match filling:
        case Register():
            return images.update(services, context, image.id, lambda _: ImageChanges(locations=_added(filling)))
        case Empty():
            done = services.registry.images.set_status(
                context, image.id, str(uuid4()), [ImageStatus.QUEUED], ImageStatus.ACTIVE
            )
            events.image_activated(services, context, done)
            return images.show(services, context, image.id)
    try:
        if isinstance(filling, CopyFrom):
            imports.copy_from(services, context, image, filling.url, filling.store, filling.credentials)
            return image
        _receive(services, context, image, filling)
    except _NOT_OURS:
        raise
    except GlanceError as error:
        _kill(services, context, image.id)
        if isinstance(error, Gone) and error.details.get("reason") == "deleted":
            raise PreconditionFailed(error.message) from error
        raise
    return images.show(services, context, image.id)


def _added(filling: Register) -> tuple[AddLocation, ...]:
    return (AddLocation(GivenLocation(filling.url, {}), None),)


def _receive(services: Services, context: RequestContext, image: Image, body: Body) -> None:
    if body.refusal is not None:
        raise BadRequest(body.refusal)
    data.upload(services, context, image.id, body.source, ImageStatus.KILLED)


def _kill(services: Services, context: RequestContext, image_id: str) -> None:
    """Kill an image whose data did not come; a failed transfer has killed its image already."""
    try:
        services.registry.images.set_status(
            context, image_id, str(uuid4()), [ImageStatus.QUEUED], ImageStatus.KILLED
        )
    except GlanceError as error:
        LOG.info("image %s is not killed now: %s", image_id, error.message)


def _check_size(services: Services, context: RequestContext, image: Image, filling: Filling) -> None:
    """Raise Conflict when the data at a location do not have the size that the client says."""
    if isinstance(filling, Register) and filling.size:
        found = registration.locate(services, context, image._replace(size=None), filling.url)
        if found.size != filling.size:
            raise Conflict(f"x-image-meta-size: {filling.size} bytes were announced, the store has {found.size}")


def _require_formats(disk_format: str | None, container_format: str | None) -> None:
    for name, value in (("disk_format", disk_format), ("container_format", container_format)):
        if value is None:
            raise BadRequest(f"{name} must be set before the image can have data")
