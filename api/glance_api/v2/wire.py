"""The only translator between v2 documents and the values of the services."""

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlencode

from glance_api.services.images import NewImage
from glance_api.services.locations.read import Place
from glance_api.v2 import fields
from glance_api.v2.schemas import ImageSchema
from glance_common.model import property_names
from glance_common.model.errors import Forbidden
from glance_common.model.image import Image, Member
from glance_common.model.operation import HIDDEN_PROPERTIES, Operation
from glance_common.model.status import ImageStatus

RESTORABLE_UNTIL = "os_glance_restorable_until"
"""Shown of a deleted image; no property can have this name."""


def image_document(image: Image, nullable: frozenset[str]) -> dict[str, Any]:
    """Return an image as clients see it (API section 3).

    A property without value shows as ``""``, unless the schema names it (``nullable``), as clients check against it.
    """
    path = f"/v2/images/{image.id}"
    document: dict[str, Any] = {
        "id": image.id,
        "name": image.name,
        "status": image.status,
        "visibility": image.visibility,
        "protected": image.protected,
        "os_hidden": image.os_hidden,
        "checksum": image.checksum,
        "os_hash_algo": image.os_hash_algo,
        "os_hash_value": image.os_hash_value,
        "owner": image.owner,
        "size": image.size,
        "virtual_size": image.virtual_size,
        "container_format": image.container_format,
        "disk_format": image.disk_format,
        "created_at": image.created_at,
        "updated_at": image.updated_at,
        "min_ram": image.min_ram,
        "min_disk": image.min_disk,
        "tags": image.tags,
        "self": path,
        "file": f"{path}/file",
        "schema": "/v2/schemas/image",
    }
    if image.status is ImageStatus.PENDING_DELETE:
        document |= _deleted(image)
    for name, value in image.properties.items():
        # A property never stands in for a field of the same name.
        if name not in document and name not in HIDDEN_PROPERTIES:
            document[name] = "" if value is None and name not in nullable else value
    return document


def _deleted(image: Image) -> dict[str, Any]:
    """Return when a deleted image was deleted, and until when it can be restored if it still can."""
    until = {} if image.restorable_until is None else {RESTORABLE_UNTIL: image.restorable_until}
    return {"deleted_at": image.deleted_at, **until}


def add_places(
    document: dict[str, Any], places: list[Place], *, direct_url: bool, locations: bool, may_list: bool, stores: bool
) -> None:
    """Add the members about locations that the options turn on and that are not empty."""
    if locations:
        shown = places if may_list else []
        document["locations"] = [{"url": place.url, "metadata": place.metadata} for place in shown]
    if direct_url and places:
        document["direct_url"] = places[0].url
    if stores and places:
        document["stores"] = ",".join(dict.fromkeys(place.store for place in places))


def member_document(member: Member) -> dict[str, Any]:
    """Return a member as clients see it (API section 13)."""
    return {
        "member_id": member.member,
        "image_id": member.image_id,
        "status": member.status,
        "created_at": member.created_at,
        "updated_at": member.updated_at,
        "schema": "/v2/schemas/member",
    }


def task_document(task: Operation) -> dict[str, Any]:
    """Return a task as the tasks API shows it (API section 15)."""
    return {**task_stub(task), "input": task.input, "result": task.result, "message": task.message}


def task_stub(task: Operation) -> dict[str, Any]:
    """Return a task as a list of tasks shows it."""
    document: dict[str, Any] = {
        "id": task.id,
        "type": task.kind,
        "status": task.status,
        "owner": task.owner,
        "created_at": _seconds(task.created_at),
        "updated_at": _seconds(task.updated_at),
        "self": f"/v2/tasks/{task.id}",
        "schema": "/v2/schemas/task",
    }
    optional = {
        "image_id": task.image_id,
        "request_id": task.request_id,
        "user_id": task.user_id,
        "expires_at": task.expires_at and _seconds(task.expires_at),
    }
    return document | {name: value for name, value in optional.items() if value is not None}


def image_task_document(task: Operation) -> dict[str, Any]:
    """Return a task as the list of an image's tasks shows it, with times of its own form (API section 9)."""
    return {
        "id": task.id,
        "type": task.kind,
        "status": task.status,
        "owner": task.owner,
        "expires_at": task.expires_at,
        "created_at": task.created_at,
        "updated_at": task.updated_at,
        "deleted_at": None,
        "deleted": False,
        "image_id": task.image_id,
        "request_id": task.request_id,
        "user_id": task.user_id,
        "input": task.input,
        "result": task.result,
        "message": task.message,
    }


def _seconds(time: str) -> str:
    """Return a time of an operation in the form that all other documents have."""
    return f"{time[:19]}Z"


def new_image(document: Mapping[str, Any], schema: ImageSchema) -> NewImage:
    """Return the image that a create request describes (API section 4).

    Raises Forbidden for fields that are not the client's, BadRequest for what the schema does not allow.
    """
    for name in (*fields.LINKS, *fields.READ_ONLY, "locations"):
        if name in document:
            raise Forbidden(f"{name} is read-only")
    schema.check_image(document)
    for name in document:
        if not schema.is_base(name):
            property_names.check(name)
    base = {name: document[name] for name in fields.WRITABLE if name in document and name != "tags"}
    if "id" in base:
        base["id"] = base["id"].lower()
    properties = {name: value for name, value in document.items() if not schema.is_base(name)}
    return NewImage(base, properties, unique(document.get("tags", ())))


def unique(tags: Iterable[str]) -> tuple[str, ...]:
    """Return the tags without doubles, in the order in which they were given."""
    return tuple(dict.fromkeys(tags))


def link(path: str, pairs: Iterable[tuple[str, str]]) -> str:
    """Return ``path`` with a query that keeps every pair, repeated names too."""
    query = urlencode(list(pairs))
    return f"{path}?{query}" if query else path
