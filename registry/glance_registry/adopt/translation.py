"""Rows of the other installation as rows of ours: images with members and locations.

What was being written there when it was read has no data that could come: such an image comes queued. What an import
notes in properties goes with it. Ids stay, also those of deleted images, so that none is ever used twice (S-25).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid5

import orjson

from glance_common.model import property_names
from glance_common.model.image import BASE_VISIBILITIES, MEMBER_STATUSES
from glance_common.model.operation import FAILED_PROPERTY, IMPORTING_PROPERTY
from glance_common.model.status import ImageStatus, LocationStatus
from glance_registry.adopt.places import NAMES_STORE, CannotCome, FoundPlace, Places
from glance_registry.adopt.reading import ImageRows, Row
from glance_registry.records import import_properties

_S, _L = ImageStatus, LocationStatus
_SPACE = UUID("5f0c6f0e-53a1-4c39-9d1c-0d1cf2d5b0a4")
"""The ids of locations are made of it, so that a later run finds them again."""

_UNFINISHED = {
    _S.SAVING: "an upload was under way: the image comes queued, its data have to be sent again",
    _S.UPLOADING: "data were staged: the image comes queued, its data have to be staged again",
    _S.IMPORTING: "an import was under way: the image comes queued, it has to be imported again",
}
_COPYING = "copies into other stores were under way: the image comes without them"
_TAKEN = "location: it was taken from the image, and its data wait there for the delete of the image"
_SHOWN = (IMPORTING_PROPERTY, FAILED_PROPERTY)
_PLAIN = ("name", "owner", "disk_format", "container_format", "checksum", "os_hash_algo", "os_hash_value")
_NUMBERS = ("size", "virtual_size")
Values = dict[str, Any]


@dataclass(slots=True)
class Translated:
    """An image as it comes: its row, members and locations as columns, and what does not come as it is, with why.

    With ``is_partial`` it has locations there that cannot be told this time; an earlier run may have brought them.
    """

    image: Values
    members: list[Values] = field(default_factory=list)
    locations: list[Values] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    is_partial: bool = False


def image(rows: ImageRows, places: Places) -> Translated:
    """Return an image with all that belongs to it as it comes. Raises CannotCome."""
    status = _status(rows.image)
    problems: list[str] = []
    deleted = status in (_S.DELETED, _S.PENDING_DELETE)
    found = Translated(_image(rows.image, status), problems=problems)
    if status in _UNFINISHED:
        problems.append(_UNFINISHED[status])
        found.image |= {"status": _S.QUEUED, "size": None, "virtual_size": None}
    found.image["visibility"] = _visibility(rows)
    found.image["properties"] = _properties(rows, problems)
    found.image["tags"] = list(dict.fromkeys(clean(tag.value) for tag in rows.tags))
    found.members = _members(rows, found.image)
    if status not in _UNFINISHED:
        _add_locations(found, rows, places)
    if deleted:
        # Without data that wait for their purge there is nothing that would end the wait.
        waits = any(row["status"] == _L.PENDING_DELETE for row in found.locations)
        found.image["status"] = _S.PENDING_DELETE if waits else _S.DELETED
    return found


def canonical(text: str) -> str:
    """Return an id as this service writes it. Raises CannotCome."""
    try:
        return str(UUID(text))
    except ValueError:
        raise CannotCome("the id is not a UUID") from None


def moment(value: datetime | None) -> str | None:
    """Return a time of the other database, which is UTC without a zone, as text with its zone."""
    return None if value is None else value.replace(tzinfo=UTC).isoformat()


def clean(value: Any) -> Any:
    """Return a text as it is. Raises CannotCome for one that this database cannot hold."""
    if isinstance(value, str) and "\0" in value:
        raise CannotCome("a text holds a NUL character")
    return value


def document(text: Any, what: str) -> Any:
    """Return a JSON column, None for null. Raises CannotCome."""
    if text is None or text == "":
        return None
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        raise CannotCome(f"{what} is not JSON") from None
    clean("\0" if "\\u0000" in text else "")
    return found


def _status(row: Row) -> ImageStatus:
    try:
        status = ImageStatus(row.status)
    except ValueError:
        raise CannotCome(f"the status {row.status[:40]} is not known") from None
    if status is _S.PENDING_DELETE or not row.deleted:
        return status
    return _S.DELETED


def _image(row: Row, status: ImageStatus) -> Values:
    values: Values = {"id": canonical(row.id), "status": status}
    values |= {name: clean(getattr(row, name)) for name in _PLAIN}
    values |= {name: getattr(row, name) for name in _NUMBERS}
    values["min_disk"], values["min_ram"] = row.min_disk or 0, row.min_ram or 0
    values["protected"], values["os_hidden"] = bool(row.protected), bool(row.os_hidden)
    if row.created_at is None:
        raise CannotCome("the image has no created_at")
    values["created_at"] = moment(row.created_at)
    values["updated_at"] = moment(row.updated_at or row.created_at)
    deleted = status in (_S.DELETED, _S.PENDING_DELETE)
    values["deleted_at"] = moment(row.deleted_at or row.updated_at or row.created_at) if deleted else None
    values["status_before_delete"] = _S.ACTIVE if deleted else None
    # A delete that did not get to its end there has no delay.
    values["delayed"] = status is _S.PENDING_DELETE
    return values


def _visibility(rows: ImageRows) -> str:
    """Return the visibility; older schemas knew public images and others, which are shared when they have members."""
    row = rows.image
    if row.visibility in BASE_VISIBILITIES:
        return str(row.visibility)
    if row.visibility is not None:
        raise CannotCome(f"the visibility {str(row.visibility)[:40]} is not known")
    return "public" if row.is_public else "shared" if rows.members else "private"


def _properties(rows: ImageRows, problems: list[str]) -> dict[str, str | None]:
    found: dict[str, str | None] = {clean(row.name): clean(row.value) for row in rows.properties}
    if found.get(IMPORTING_PROPERTY) and rows.image.status == _S.ACTIVE:
        problems.append(_COPYING)
    kept = import_properties.ended(found)
    reserved = sorted(name for name in kept if not name or property_names.is_reserved(name))
    told = [name for name in reserved if name not in property_names.OWN and not name.startswith("os_glance_")]
    if told:
        problems.append(f"properties with reserved names are left out: {', '.join(told)[:200]}")
    return {name: value for name, value in kept.items() if name in _SHOWN or name not in reserved}


def _members(rows: ImageRows, values: Values) -> list[Values]:
    found: dict[str, Values] = {}
    for row in rows.members:
        found[row.member] = {
            "image_id": values["id"],
            "member": clean(row.member),
            "status": row.status if row.status in MEMBER_STATUSES else "pending",
            "can_share": bool(row.can_share),
            "image_created_at": values["created_at"],
            "created_at": moment(row.created_at) or values["created_at"],
            "updated_at": moment(row.updated_at or row.created_at) or values["created_at"],
        }
    return list(found.values())


def _add_locations(found: Translated, rows: ImageRows, places: Places) -> None:
    for row in rows.locations:
        if row.deleted and found.image["deleted_at"] is None:
            found.problems.append(_TAKEN)
            continue
        try:
            metadata = _metadata(row)
            place = places.find(clean(row.value), metadata)
        except CannotCome as reason:
            found.problems.append(f"location: {reason}")
            found.is_partial = True
            continue
        found.locations.append(_location(row, found.image, metadata, place))


def _metadata(row: Row) -> Values:
    metadata = document(row.meta_data, "the metadata of a location")
    if metadata is None:
        return {}
    if not isinstance(metadata, dict):
        raise CannotCome("the metadata of a location are not an object")
    return metadata


def _location(row: Row, image_values: Values, metadata: Mapping[str, Any], place: FoundPlace) -> Values:
    image_id, status = image_values["id"], image_values["status"]
    waits = status in (_S.DELETED, _S.PENDING_DELETE)
    identity = str(uuid5(_SPACE, f"{image_id} {row.id} {place.store} {place.url}"))
    return {
        "id": identity,
        "image_id": image_id,
        "store": place.store,
        "key": place.key,
        "status": _L.PENDING_DELETE if waits else _L.ACTIVE,
        "size": image_values["size"],
        "metadata": {name: value for name, value in metadata.items() if name not in NAMES_STORE},
        "external": place.external,
        "created_at": moment(row.created_at) or image_values["created_at"],
        "not_before": image_values["deleted_at"],
    }
