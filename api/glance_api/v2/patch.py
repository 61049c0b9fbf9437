"""PATCH of an image: both JSON-patch dialects, turned into the changes that the service writes (API section 7).

Pure: what a request says is checked once; applying it to the image as it is now may be repeated.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from glance_api.services.image_changes import ImageChanges
from glance_api.v2 import fields, location_patch, wire
from glance_api.v2.schemas import ImageSchema
from glance_common.model import property_names
from glance_common.model.errors import BadRequest, Conflict, Forbidden, UnsupportedMediaType
from glance_common.model.image import Image
from glance_common.model.property_names import MAX_NAME
from glance_common.model.status import ImageStatus

V20 = "application/openstack-images-v2.0-json-patch"
V21 = "application/openstack-images-v2.1-json-patch"
MAX_OPERATIONS = 1000
"""Operations of one request (S-59); all quotas together allow fewer."""

MAX_PATH = 2 * MAX_NAME + 1
"""Characters of a path: a name of which each character is escaped."""

Op = Literal["add", "replace", "remove"]
LOCATIONS = "locations"
_OPS: tuple[Op, ...] = ("add", "replace", "remove")
_UNCHANGEABLE = frozenset({*fields.READ_ONLY, *fields.LINKS, "id"})
_WHILE_QUEUED = ("disk_format", "container_format")


@dataclass(frozen=True, slots=True)
class PatchOperation:
    """One change: ``name`` is the field or property, ``value`` what it becomes, for ``locations`` what is done to them;
    ``strict`` makes "add" refuse what exists (the v2.0 dialect)."""

    op: Op
    name: str
    value: Any = None
    strict: bool = False


def dialect_of(kind: str) -> str:
    """Return the dialect that the media type names; raise UnsupportedMediaType, which lists both."""
    if kind not in (V20, V21):
        accepted = ", ".join(sorted((V20, V21)))
        raise UnsupportedMediaType(f"Content-Type must be one of: {accepted}", accept_patch=accepted)
    return kind


def parse(document: Sequence[Any], dialect: str, schema: ImageSchema, *, locations: bool) -> list[PatchOperation]:
    """Return the operations of a request body; ``locations`` says whether they may be edited at all.

    Raises BadRequest for what is malformed or not allowed by the schema, Forbidden for fields that are never changed
    by clients. Whether the properties exist is checked later.
    """
    if len(document) > MAX_OPERATIONS:
        raise BadRequest(f"a request has at most {MAX_OPERATIONS} operations, this one has {len(document)}")
    return [
        _operation(element, f"operation {number}", dialect, schema, locations)
        for number, element in enumerate(document)
    ]


def _operation(element: Any, where: str, dialect: str, schema: ImageSchema, locations: bool) -> PatchOperation:
    if not isinstance(element, dict):
        raise BadRequest(f"{where}: must be a JSON object")
    op, path = _read_v20(element, where) if dialect == V20 else _read_v21(element, where)
    parts = _parts(path, where)
    if parts[0] == LOCATIONS:
        if not locations:
            raise Forbidden("It's not allowed to update locations if they are invisible.")
        return PatchOperation(op, LOCATIONS, location_patch.read(op, parts[1:], element, where, schema))
    name = _only(parts, path, where)
    _check_changeable(name, schema)
    if op == "remove":
        if schema.is_base(name):
            raise Forbidden(f"{name} cannot be removed")
        return PatchOperation("remove", name)
    if "value" not in element:
        raise BadRequest(f"{where}: {op} needs a value")
    value = element["value"]
    schema.check_value(name, value)
    return PatchOperation("add" if op == "add" else "replace", name, value, strict=dialect == V20)


def _read_v21(element: dict[str, Any], where: str) -> tuple[Op, str]:
    for key in ("op", "path"):
        if not isinstance(element.get(key), str):
            raise BadRequest(f"{where}: {key} must be given as a string")
    if element["op"] not in ("add", "replace", "remove"):
        raise BadRequest(f"{where}: op must be add, replace or remove, not {element['op'][:40]!r}")
    op: Op = element["op"]
    return op, element["path"]


def _read_v20(element: dict[str, Any], where: str) -> tuple[Op, str]:
    given = [op for op in _OPS if op in element]
    if len(given) != 1:
        raise BadRequest(f"{where}: needs exactly one of add, replace and remove")
    path = element[given[0]]
    if not isinstance(path, str):
        raise BadRequest(f"{where}: the path of {given[0]} must be a string")
    return given[0], path


def _parts(path: str, where: str) -> list[str]:
    """Return the parts of a JSON pointer."""
    if len(path) > MAX_PATH:
        raise BadRequest(f"{where}: path {path[:80]!r}… is longer than {MAX_PATH} characters")
    if not path.startswith("/"):
        raise BadRequest(f"{where}: path {path[:80]!r} must begin with /")
    parts = path[1:].split("/")
    if "" in parts:
        raise BadRequest(f"{where}: path {path[:80]!r} has an empty part")
    return [_unescape(part, where) for part in parts]


def _only(parts: list[str], path: str, where: str) -> str:
    """Return the only part of a path that may have one."""
    if len(parts) != 1:
        raise BadRequest(f"{where}: path {path[:80]!r} must name a field of the image, as /name does")
    return parts[0]


def _unescape(part: str, where: str) -> str:
    plain = part.replace("~1", "").replace("~0", "")
    if "~" in plain:
        raise BadRequest(f"{where}: in a path ~ must be written ~0 and / must be written ~1")
    return part.replace("~1", "/").replace("~0", "~")


def _check_changeable(name: str, schema: ImageSchema) -> None:
    if name in _UNCHANGEABLE:
        raise Forbidden(f"{name} is read-only")
    if not schema.is_base(name):
        property_names.check(name)


def apply(image: Image, operations: Sequence[PatchOperation], schema: ImageSchema) -> ImageChanges:
    """Return what the operations, one after the other, change in ``image``.

    Raises Conflict for a property that does not exist, or exists already in the v2.0 dialect; Forbidden for formats of
    an image that has data (lifecycle section 10).
    """
    base: dict[str, Any] = {}
    properties = dict(image.properties)
    edits = tuple(operation.value for operation in operations if operation.name == LOCATIONS)
    for operation in operations:
        name, value = operation.name, operation.value
        if name == LOCATIONS:
            continue
        if schema.is_base(name):
            if operation.op == "add" and operation.strict:
                raise Conflict(f"Property {name} already exists.")
            _check_format(image, name, value)
            base[name] = value
        else:
            _check_presence(operation, properties)
            if operation.op == "remove":
                del properties[name]
            else:
                properties[name] = value
    tags = wire.unique(base.pop("tags")) if "tags" in base else None
    named = {operation.name for operation in operations if not schema.is_base(operation.name)}
    changed = properties if properties != image.properties else None
    return ImageChanges(base, changed, tags, named, edits, names_all=True)


def _check_presence(operation: PatchOperation, properties: dict[str, str | None]) -> None:
    exists = operation.name in properties
    if operation.op == "add":
        if exists and operation.strict:
            raise Conflict(f"Property {operation.name} already exists.")
    elif not exists:
        raise Conflict(f"Property {operation.name} does not exist.")


def _check_format(image: Image, name: str, value: Any) -> None:
    if name in _WHILE_QUEUED and image.status is not ImageStatus.QUEUED and value != getattr(image, name):
        raise Forbidden(f"Attribute {name} can be only replaced for a queued image.")
