"""Locations through PATCH (API section 7.1): what the operations of a request make of an image's locations.

The operations are applied in order to the list that the caller sees; the outcome is one edit, which the registry does
together with the rest of the request or not at all.
"""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from glance_api.services.collaborators import Services
from glance_api.services.events import images
from glance_api.services.locations import check
from glance_api.services.locations.check import Found, ValidationData
from glance_api.services.locations.read import Place, visible
from glance_common.model.context import RequestContext
from glance_common.model.errors import BadRequest, Conflict, Forbidden, TooLarge
from glance_common.model.image import Image, NewLocation
from glance_common.model.status import ImageStatus
from glance_common.registry_client.locations import LocationEdit


@dataclass(frozen=True, slots=True)
class GivenLocation:
    """A location as a request describes it."""

    url: str
    metadata: dict[str, Any]
    validation: ValidationData | None = None


@dataclass(frozen=True, slots=True)
class AddLocation:
    """Put a location before the one at ``position``, at the end when None."""

    given: GivenLocation
    position: int | None


@dataclass(frozen=True, slots=True)
class ReplaceLocations:
    """Describe all locations anew."""

    given: tuple[GivenLocation, ...]


@dataclass(frozen=True, slots=True)
class RemoveLocation:
    """Take away the location at ``position``."""

    position: int


Operation = AddLocation | ReplaceLocations | RemoveLocation


@dataclass(frozen=True, slots=True)
class _Entry:
    """A location in the list under way: one that is there already (``place``), or a new one (``found``)."""

    url: str
    metadata: dict[str, Any]
    place: Place | None = None
    found: Found | None = None


def plan(services: Services, context: RequestContext, image: Image, operations: Sequence[Operation]) -> LocationEdit:
    """Return the edit that the operations mean for the image as it is now, with its locations.

    Raises PolicyDenied, Conflict for a status that does not allow it and for contradicting digests, BadRequest for bad
    positions, doubles and URLs that cannot be registered, Forbidden for what would leave no location (S-17), TooLarge
    above ``image_location_quota``.
    """
    _check_rights(services, context, image, operations)
    # First of all: a URL that is there already is no reason to overlook that its digests differ.
    digests = check.digests(image, _validation(operations), services.settings.hashing_algorithm)
    before = [_Entry(place.url, place.metadata, place=place) for place in visible(services, context, image)]
    asks = any(not isinstance(operation, RemoveLocation) for operation in operations)
    # One permit and one deadline for all the servers that a request names.
    with services.remote_checks.permit(context.project_id) if asks else nullcontext():
        entries = _applied(services, context, image, before, operations)
    _check_quota(services, before, entries)
    return _edit(services, image, before, entries, digests)


def _validation(operations: Sequence[Operation]) -> list[ValidationData]:
    """Return what the operations say about the data."""
    given = list[GivenLocation]()
    for operation in operations:
        match operation:
            case AddLocation(location):
                given.append(location)
            case ReplaceLocations(locations):
                given += locations
    return [location.validation for location in given if location.validation is not None]


def _applied(
    services: Services, context: RequestContext, image: Image, before: Sequence[_Entry], operations: Sequence[Operation]
) -> list[_Entry]:
    """Return the list after the operations."""
    entries = list(before)
    for operation in operations:
        match operation:
            case AddLocation(location, position):
                _require_status(image, ImageStatus.ACTIVE, ImageStatus.QUEUED)
                entries.insert(_position(position, len(entries)), _new(services, context, image, location, entries))
            case ReplaceLocations(locations):
                _require_status(image, ImageStatus.ACTIVE, ImageStatus.QUEUED)
                entries = _replaced(services, context, image, locations, entries)
            case RemoveLocation(position):
                _require_status(image, ImageStatus.ACTIVE)
                if position >= len(entries):
                    raise BadRequest(f"locations: there is none at position {position}")
                if len(entries) == 1:
                    raise Forbidden("locations: the last location of an image cannot be removed")
                del entries[position]
    return entries


def _check_rights(
    services: Services, context: RequestContext, image: Image, operations: Sequence[Operation]
) -> None:
    rules = {
        "delete_image_location" if isinstance(operation, RemoveLocation) else "set_image_location"
        for operation in operations
    }
    for rule in sorted(rules):
        services.policy.check_image(context, rule, image)


def _require_status(image: Image, *allowed: ImageStatus) -> None:
    if image.status not in allowed:
        raise Conflict(f"locations cannot be changed like this while the image is {image.status}")


def _position(wanted: int | None, length: int) -> int:
    if wanted is not None and wanted > length:
        raise BadRequest(f"locations: {wanted} is no position in a list of {length}")
    return length if wanted is None else wanted


def _new(
    services: Services, context: RequestContext, image: Image, given: GivenLocation, others: Sequence[_Entry]
) -> _Entry:
    metadata = _metadata(services, given)
    if any(other.url == given.url and _stored(services, other.metadata) == metadata for other in others):
        raise BadRequest("locations: this URL with this metadata is there already")
    _require_digest(context, image, given)
    found = check.find(services, context, image, given.url)
    url = found.store.url(found.key)
    # Compared again in the form that is shown, which has no credentials.
    same = [other for other in others if other.url == url]
    if any(not found.is_external or _stored(services, other.metadata) == metadata for other in same):
        raise BadRequest("locations: this URL is there already")
    return _Entry(url, metadata, found=found)


def _require_digest(context: RequestContext, image: Image, given: GivenLocation) -> None:
    """Raise Conflict when a caller adds data without digests that say that they are the image's (S-24)."""
    if image.os_hash_value is not None and given.validation is None and not context.is_admin:
        raise Conflict("locations: the image has digests, so a new location needs validation_data with the same ones")


def _replaced(
    services: Services,
    context: RequestContext,
    image: Image,
    locations: Sequence[GivenLocation],
    entries: Sequence[_Entry],
) -> list[_Entry]:
    if not locations:
        raise Forbidden("locations: the list cannot become empty")
    if not entries:
        made: list[_Entry] = []
        for location in locations:
            made.append(_new(services, context, image, location, made))
        return made
    left, kept = list(entries), list[_Entry]()
    for location in locations:
        same = [entry for entry in left if entry.url == location.url]
        if not same:
            break
        metadata = _metadata(services, location)
        entry = next((entry for entry in same if _stored(services, entry.metadata) == metadata), same[0])
        left.remove(entry)
        kept.append(_Entry(entry.url, metadata, entry.place, entry.found))
    if left or len(kept) != len(locations):
        raise BadRequest("locations: the new list must hold the same URLs; only metadata and order can change")
    return kept


def _metadata(services: Services, given: GivenLocation) -> dict[str, Any]:
    return _stored(services, given.metadata)


def _stored(services: Services, metadata: dict[str, Any]) -> dict[str, Any]:
    """Return the metadata to keep: with several stores the location itself names its store."""
    if not services.settings.multi_store:
        return metadata
    return {name: value for name, value in metadata.items() if name != "store"}


def _check_quota(services: Services, before: Sequence[_Entry], after: Sequence[_Entry]) -> None:
    quota = services.settings.image_location_quota
    if len(after) > len(before) and 0 <= quota < len(after):
        raise TooLarge(f"The limit has been exceeded on the number of allowed image locations: {len(after)} of {quota}")


def _edit(
    services: Services,
    image: Image,
    before: Sequence[_Entry],
    after: Sequence[_Entry],
    digests: Mapping[str, Any],
) -> LocationEdit:
    added: list[NewLocation] = []
    order: list[str] = []
    for entry in after:
        if entry.place is not None:
            order.append(entry.place.location.id)
        elif entry.found is not None:
            added.append(as_new(entry.found, entry.metadata))
            order.append(added[-1].id)
    if any(location.size != added[0].size for location in added):
        raise BadRequest("locations: the data at the URLs are not equally long")
    stay = {entry.place.location.id: entry for entry in after if entry.place is not None}
    seen = {entry.place.location.id for entry in before if entry.place is not None}
    unseen = [location.id for location in image.locations if location.id not in seen]
    is_first = image.status is ImageStatus.QUEUED and bool(added)
    return LocationEdit(
        order=[*order, *unseen],
        add=added,
        metadata={
            identifier: _stored(services, entry.metadata)
            for identifier, entry in stay.items()
            if entry.place is not None and _stored(services, entry.metadata) != entry.place.location.metadata
        },
        remove=sorted(seen - stay.keys()),
        data={"size": added[0].size, **digests} if is_first else {},
    )


def as_new(found: Found, metadata: dict[str, Any]) -> NewLocation:
    """Return the location to register for data that were found."""
    return NewLocation(str(uuid4()), found.store.id, found.key, found.size, metadata, found.is_external)


def write(services: Services, context: RequestContext, image: Image, attempt: str, edit: LocationEdit) -> Image:
    """Save an edit, and tell the scrubbers what it took away.

    Raises VersionConflict when another request wrote since the image was read, Duplicate when another location owns
    the data, TooLarge when the owner may not have that much.
    """
    owner = edit.changes.get("owner", image.owner)
    limits = services.limits.of(owner) if edit.add or owner != image.owner else None
    edited = services.registry.locations.edit(context, image.id, attempt, image.row_version, edit, limits=limits)
    if edit.remove:
        services.deletes.publish(edit.remove, context.request_id)
    if edited.status is not image.status and edited.status is ImageStatus.ACTIVE:
        images.image_activated(services, context, edited)
    images.image_updated(services, context, edited)
    return edited
