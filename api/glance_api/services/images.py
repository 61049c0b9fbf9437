"""What the service does with images: create, show, list, update, delete. No Flask here.

Every function asks the policy before it changes anything. What the caller may not see, the registry does not return.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any
from uuid import uuid4

from glance_api.clients.key_manager import Credentials
from glance_api.policy.images import VISIBILITY_RULES
from glance_api.policy.targets import image_target, project_target
from glance_api.services import access, keys, restore
from glance_api.services.collaborators import Services
from glance_api.services.events import images as events
from glance_api.services.events import tasks
from glance_api.services.image_changes import Change, ImageChanges, can_merge, merge_of
from glance_api.services.image_queries import ImageQuery
from glance_api.services.locations import edit as location_edits
from glance_api.services.locations import read as locations
from glance_api.services.retries import retry_conflicts
from glance_api.settings import Settings
from glance_common.model import document_size, property_names
from glance_common.model.context import RequestContext
from glance_common.model.errors import Forbidden, TooLarge
from glance_common.model.image import Image
from glance_common.model.limits import Limits
from glance_common.model.operation import HIDDEN_PROPERTIES, TASK_PROPERTY


@dataclass(frozen=True, slots=True)
class NewImage:
    """An image to be created: base fields that were given, additional properties, tags without doubles."""

    fields: Mapping[str, Any]
    properties: Mapping[str, str | None]
    tags: Collection[str]


@dataclass(frozen=True, slots=True)
class ListedImages:
    """One page of a list; ``next_marker`` is None on the last one."""

    images: list[Image]
    next_marker: str | None


def check_new(
    services: Services, context: RequestContext, new: NewImage, asked: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Raise PolicyDenied or Forbidden unless the caller may create this image; return what the rules saw.

    ``asked`` is what ``check_create`` returned, if it was asked already.
    """
    owner = new.fields.get("owner", context.project_id)
    target = check_create(services, context, owner) if asked is None else asked
    if owner != context.project_id and not context.is_admin:
        raise Forbidden("owner: only an administrator may create an image for another project")
    visible = VISIBILITY_RULES.get(new.fields.get("visibility", ""))
    if visible is not None:
        owned = {} if owner is None else {"project_id": owner, "owner": owner}
        services.policy.check(context, visible, {**owned, "visibility": new.fields["visibility"]})
    return target


def check_create(services: Services, context: RequestContext, owner: str | None) -> dict[str, Any]:
    """Raise PolicyDenied unless the caller may create an image for ``owner``; return what the rules saw.

    Views ask this before they check the whole document, which takes time (S-59).
    """
    target = project_target(context)
    if owner is not None:
        target["owner"] = owner
    services.policy.check(context, "add_image", target)
    return target


def create(
    services: Services, context: RequestContext, new: NewImage, asked: dict[str, Any] | None = None
) -> Image:
    """Create a queued image (API section 4). Raises PolicyDenied, Forbidden, TooLarge over a quota, Duplicate.

    ``asked`` is what ``check_create`` returned, if it was asked already.
    """
    check_new(services, context, new, asked)
    owner = new.fields.get("owner", context.project_id)
    if services.protections is not None:
        services.protections.check_new(context, new.properties)
    _check_tag_quota(services.settings, new.tags)
    _check_property_quota(services.settings, new.properties)
    size = document_size.document_size(new.fields.get("name"), new.properties, new.tags)
    check_document(services.settings, None, size)
    document = {
        "id": str(uuid4()),
        "visibility": "shared",
        **new.fields,
        "owner": owner,
        "properties": dict(new.properties),
        "tags": list(new.tags),
    }
    created = services.registry.images.create(context, str(uuid4()), document, limits=services.limits.of(owner))
    events.image_created(services, context, created)
    return as_seen(services, context, created)


def as_seen(services: Services, context: RequestContext, image: Image) -> Image:
    """Return the image as the caller may see it: without protected properties (S-47)."""
    return image if services.protections is None else services.protections.readable(context, image)


def show(services: Services, context: RequestContext, image_id: str) -> Image:
    """Return one image (API section 5); NotFound when it is absent, deleted or not visible, or policy hides it."""
    image = services.registry.images.get(context, image_id, locations=locations.are_shown(services.settings))
    services.policy.check_image(context, "get_image", image)
    return as_seen(services, context, image)


def list_images(services: Services, context: RequestContext, query: ImageQuery) -> ListedImages:
    """Return a page of images (API section 6).

    Raises PolicyDenied when listing as such is denied; single images that ``get_image`` denies are left out, and of
    deleted ones those that ``restore_image`` denies.
    """
    services.policy.check(context, "get_images", project_target(context))
    if query.deleted == "restorable":
        query = restore.allowed_query(services, context, query)
    if query.limit == 0:
        return ListedImages([], None)
    if _asks_hidden(services, context, query):
        # The caller sees no image with such a property; the registry only has to check the marker.
        query = replace(query, limit=0, properties={})
    asking = replace(context, is_admin=False) if query.as_user else context
    found = services.registry.images.list(asking, query.document(locations.are_shown(services.settings)))
    shown = services.policy.allowed_images(context, "get_image", found.images)
    if query.deleted == "restorable":
        shown = services.policy.allowed_images(context, restore.RULE, shown)
    readable = shown if services.protections is None else [as_seen(services, context, image) for image in shown]
    return ListedImages(readable, shown[-1].id if found.has_more and shown else None)


def _asks_hidden(services: Services, context: RequestContext, query: ImageQuery) -> bool:
    if not HIDDEN_PROPERTIES.isdisjoint(query.properties):
        return True
    protections = services.protections
    return protections is not None and not all(protections.allows(context, "read", name) for name in query.properties)


def update(services: Services, context: RequestContext, image_id: str, change: Change) -> Image:
    """Apply ``change`` to the image as it is now and save the result at once (API section 7).

    ``change`` says what differs, or raises. When another request wrote in between, both changes stay if they can be
    merged; otherwise all is repeated for some seconds.
    Raises NotFound, PolicyDenied, Forbidden, BadRequest for formats that do not fit each other, TooLarge over a quota,
    Conflict when every try meets another write.
    """
    return retry_conflicts(image_id, lambda: _update(services, context, image_id, change))


def _update(services: Services, context: RequestContext, image_id: str, change: Change) -> Image:
    image = services.registry.images.get(context, image_id, locations=locations.are_shown(services.settings))
    services.policy.check_image(context, "modify_image", image)
    changes = _protected(services, context, image, change(as_seen(services, context, image)))
    _check_rights(services, context, image, changes)
    _check_quotas(services, image, changes)
    changed = _write(services, context, image, changes)
    if (changed.visibility, changed.owner) != (image.visibility, image.owner) or changes.locations:
        access.set_changed(services, context, image_id)
    return as_seen(services, context, changed)


def _write(services: Services, context: RequestContext, image: Image, changes: ImageChanges) -> Image:
    """Save the changes of ``image`` and return it as it is then. Raises VersionConflict."""
    attempt, document = str(uuid4()), changes.document()
    if changes.locations:
        # Their data are inspected by the formats that the image gets.
        formats = {name: changes.fields[name] for name in ("disk_format", "container_format") if name in changes.fields}
        edit = location_edits.plan(services, context, image._replace(**formats), changes.locations)
        return location_edits.write(services, context, image, attempt, replace(edit, changes=document))
    if not document:
        return image
    if can_merge(services.policy, changes):
        merge = merge_of(image, changes, services.settings.image_property_quota)
        changed = services.registry.images.merge(context, image.id, attempt, merge)
    else:
        changed = services.registry.images.update(
            context, image.id, attempt, image.row_version, document, limits=_limits(services, image, changes)
        )
    events.image_updated(services, context, changed)
    return changed._replace(locations=image.locations)


def _protected(services: Services, context: RequestContext, image: Image, changes: ImageChanges) -> ImageChanges:
    """Return the changes of what the caller sees as changes of the image; Forbidden for a protected property (S-47)."""
    if services.protections is None or (changes.properties is None and not changes.named):
        return changes
    readable = as_seen(services, context, image).properties
    wanted = readable if changes.properties is None else changes.properties
    whole = services.protections.checked(context, image.properties, wanted, changes.named)
    return replace(changes, properties=whole if whole != image.properties else None)


def _limits(services: Services, image: Image, changes: ImageChanges) -> Limits | None:
    """Return the limits of the owner who gets the image, None when it stays with its owner."""
    owner = changes.fields.get("owner", image.owner)
    return services.limits.of(owner) if owner != image.owner else None


def _check_rights(services: Services, context: RequestContext, image: Image, changes: ImageChanges) -> None:
    if "owner" in changes.fields and not context.is_admin:
        raise Forbidden("owner: only an administrator may change it")
    visibility = changes.fields.get("visibility", image.visibility)
    if visibility != image.visibility and visibility in VISIBILITY_RULES:
        target = {**image_target(image), "visibility": visibility}
        services.policy.check_about(context, VISIBILITY_RULES[visibility], target, image)


def _check_quotas(services: Services, image: Image, changes: ImageChanges) -> None:
    """Raise TooLarge over a quota; a change that adds nothing may stay above a quota that was lowered."""
    if changes.properties is not None and changes.properties.keys() - image.properties.keys():
        _check_property_quota(services.settings, changes.properties)
    if changes.tags is not None:
        _check_tag_quota(services.settings, changes.tags)
    if changes.properties is None and changes.tags is None and "name" not in changes.fields:
        return
    check_document(
        services.settings,
        document_size.document_size(image.name, image.properties, image.tags),
        document_size.document_size(
            changes.fields.get("name", image.name),
            image.properties if changes.properties is None else changes.properties,
            image.tags if changes.tags is None else changes.tags,
        ),
    )


def check_document(settings: Settings, before: int | None, size: int) -> None:
    """Raise TooLarge for an image document that grew beyond its bound from ``before`` bytes, None for a new image.

    The registry checks the same where the row is written, so that what is written at the same time counts too (S-59).
    """
    largest = settings.max_image_document
    if size > max(largest, before or 0):
        raise document_size.too_large(size, largest)


def _check_property_quota(settings: Settings, properties: Mapping[str, Any]) -> None:
    quota = settings.image_property_quota
    count = len(properties.keys() - property_names.OWN)
    if 0 <= quota < count:
        raise TooLarge(f"The limit has been exceeded on the number of allowed image properties: {count} of {quota}")


def _check_tag_quota(settings: Settings, tags: Collection[str]) -> None:
    quota = settings.image_tag_quota
    if 0 <= quota < len(tags):
        raise TooLarge(f"The limit has been exceeded on the number of allowed image tags: {len(tags)} of {quota}")


def delete(services: Services, context: RequestContext, image_id: str, credentials: Credentials) -> None:
    """Delete an image and hand its data to the scrubbers (API section 8).

    The caller's right is settled before record, locations or data change (S-01). Its encryption key goes with it when
    the image says so, with the caller's ``credentials`` for the key manager (S-77). Raises NotFound, PolicyDenied,
    Forbidden for a protected image.
    """
    settings = services.settings
    # Its locations say what is kept for a restore.
    image = services.registry.images.get(context, image_id, locations=settings.delayed_delete)
    services.policy.check_image(context, "delete_image", image)
    if image.protected:
        raise Forbidden(f"Image {image_id} is protected and cannot be deleted.")
    due = services.registry.images.delete(
        context, image_id, str(uuid4()), delayed=settings.delayed_delete, scrub_time=settings.scrub_time
    )
    if due:
        services.deletes.publish(due, context.request_id)
    if services.cache is not None:
        services.cache.forget(image_id)
    events.image_deleted(services, context, image)
    if task := image.properties.get(TASK_PROPERTY):
        tasks.look_up(services, context, task, tasks.ended)
    keys.delete_with_image(services.keys, context, credentials, image)
