"""Metadata in request headers (v1 API section 2): which there are, how their values are read, and what is refused.

Pure. A server hands names on with ``_`` for ``-`` and in one case, so each name has one spelling here (S-48).
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import unquote_to_bytes

from glance_api.v1.values import MAX_INTEGER, MAX_SIZE, identifier, whole_number
from glance_common.model import property_names
from glance_common.model.errors import BadRequest, Forbidden
from glance_common.model.property_names import MAX_NAME

PREFIX = "HTTP_X_IMAGE_META_"
PROPERTY = "property_"
MAX_VALUE = 64 * 1024
"""Characters of a property (S-59)."""
TRUE = frozenset({"true", "1", "t", "y", "yes", "on"})

_QUOTED = re.compile(r"(?:[A-Za-z0-9_.\-~/:]|%[0-9A-Fa-f]{2})*")
"""What clients leave of a value that they percent-encode: others than these are taken as they are."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Metadata:
    """What the headers of a request say: fields that are named, by their names in v1, and custom properties."""

    fields: Mapping[str, Any]
    properties: Mapping[str, str | None]


def parse(environ: Mapping[str, Any]) -> Metadata:
    """Return the metadata in a request's headers. Raises BadRequest, Forbidden for reserved properties (S-47)."""
    fields: dict[str, Any] = {}
    properties: dict[str, str | None] = {}
    for key, raw in environ.items():
        if not key.startswith(PREFIX):
            continue
        name = key.removeprefix(PREFIX).lower()
        if name.startswith(PROPERTY):
            name = name.removeprefix(PROPERTY)
            _check_property(name)
            properties[name] = _checked(name, text(raw, f"x-image-meta-property-{name}"), MAX_VALUE)
        elif name in READERS:
            value = text(raw, f"x-image-meta-{name}")
            fields[name] = None if value is None else READERS[name](name, value)
        else:
            raise BadRequest(f"Bad header: there is no x-image-meta-{name[:80]}")
    return Metadata(fields, properties)


def text(raw: str, name: str) -> str | None:
    """Return the value of a header as the server handed it on; None for an empty one.

    The command line client percent-encodes every value, others send UTF-8. Raises BadRequest for what is not UTF-8 and
    for control characters, which would not get back into a header (S-58).
    """
    data = raw.encode("latin-1")
    try:
        value = (unquote_to_bytes(data) if _QUOTED.fullmatch(raw) else data).decode()
    except UnicodeDecodeError:
        raise BadRequest(f"{name} is not UTF-8") from None
    if _CONTROL.search(value):
        raise BadRequest(f"{name} holds a control character")
    return value or None


def boolean(text: str | None) -> bool:
    """Return the truth value of a text: every text but a word for yes is false."""
    return text is not None and text.strip().lower() in TRUE


def _check_property(name: str) -> None:
    if not (name.isascii() and name.isprintable()):
        raise BadRequest("the name of a property in a header is ASCII text")
    property_names.check(name)
    if name in READERS:
        raise Forbidden(f"{name} is reserved")


def _checked(name: str, value: str | None, longest: int) -> str | None:
    if value is not None and len(value) > longest:
        raise BadRequest(f"{name} has at most {longest} characters, these are {len(value)}")
    return value


def _limited(longest: int) -> Callable[[str, str], str | None]:
    return lambda name, value: _checked(name, value, longest)


def _flag(_name: str, value: str) -> bool:
    return boolean(value)


def _number(largest: int) -> Callable[[str, str], int]:
    return lambda name, value: whole_number(name, value, largest)


def _virtual_size(name: str, value: str) -> int | None:
    return None if value == "None" else whole_number(name, value, MAX_SIZE)


def _time(name: str, value: str) -> str:
    try:
        is_time = datetime.fromisoformat(value).year >= 1900
    except ValueError:
        is_time = False
    if not is_time:
        raise BadRequest(f"{name} must be an ISO 8601 time since 1900, not {value[:40]!r}")
    return value


READERS: dict[str, Callable[[str, str], Any]] = {
    "id": identifier,
    "name": _limited(MAX_NAME),
    "store": _limited(MAX_NAME),
    "disk_format": _limited(MAX_NAME),
    "container_format": _limited(MAX_NAME),
    "size": _number(MAX_SIZE),
    "virtual_size": _virtual_size,
    "checksum": _limited(32),
    "is_public": _flag,
    "protected": _flag,
    "deleted": _flag,
    "min_ram": _number(MAX_INTEGER),
    "min_disk": _number(MAX_INTEGER),
    "owner": _limited(MAX_NAME),
    "location": _limited(MAX_VALUE),
    "copy_from": _limited(MAX_VALUE),
    "uri": _limited(MAX_VALUE),
    "status": _limited(MAX_NAME),
    "created_at": _time,
    "updated_at": _time,
    "deleted_at": _time,
}
"""What ``x-image-meta-<name>`` there is, and how its value is read."""
