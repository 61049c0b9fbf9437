"""The fields of an image and the values that each of them takes (API section 3)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

VISIBILITIES = ("public", "private", "shared", "community")
DISK_FORMATS = ("ami", "ari", "aki", "vhd", "vhdx", "vmdk", "raw", "qcow2", "vdi", "iso", "ploop")
CONTAINER_FORMATS = ("ami", "ari", "aki", "bare", "ovf", "ova", "docker", "compressed")
WITHOUT_HEADER = ("raw", "ami", "ari", "aki")
"""Disk formats of data that have no header which the service knows (API section 10.2)."""

BASE = (
    "id", "name", "visibility", "protected", "os_hidden", "owner", "disk_format", "container_format", "min_ram",
    "min_disk", "tags",
)  # fmt: skip
"""Fields that a client writes; ``id`` only when it creates the image."""

_READ_ONLY = {
    "created_at", "updated_at", "status", "checksum", "size", "virtual_size", "direct_url", "self", "file", "schema",
    "stores", "locations", "location", "deleted", "deleted_at",
}  # fmt: skip
_UUID = re.compile(r"[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}")
_LONGEST_VALUE = 65536
"""Bytes of the value of a property (S-59)."""


def fault(name: str, value: Any) -> int | None:
    """Return the status of the refusal when a client gives ``value`` to the field ``name``, None when it may."""
    if name in _READ_ONLY or re.match("os_(glance|hash_)", name):
        return 403  # S-47, S-60, S-64
    if name in BASE:
        return None if _fits(name, value) else 400
    is_good = is_text(name, 1) and isinstance(value, str) and "\0" not in value and len(value) <= _LONGEST_VALUE
    return None if is_good else 400


def unreadable(document: Any) -> set[int]:
    """Return 400 for a document with a text that no column holds (S-58): that shows before anything is asked."""
    if isinstance(document, Mapping):
        document = [*document, *document.values()]
    if isinstance(document, (list, tuple)):
        return set().union(*map(unreadable, document))
    return {400} if isinstance(document, str) and "\0" in document else set()


def is_text(value: Any, least: int = 0) -> bool:
    """Say whether a value is a text that a short column holds (S-58)."""
    return isinstance(value, str) and least <= len(value) <= 255 and "\0" not in value


def _fits(name: str, value: Any) -> bool:
    match name:
        case "id":
            return isinstance(value, str) and bool(_UUID.fullmatch(value))
        case "name" | "owner":
            return value is None or is_text(value)
        case "visibility":
            return value in VISIBILITIES
        case "protected" | "os_hidden":
            return isinstance(value, bool)
        case "disk_format":
            return value is None or value in DISK_FORMATS
        case "container_format":
            return value is None or value in CONTAINER_FORMATS
        case "min_ram" | "min_disk":
            return type(value) is int and 0 <= value < 2**31  # S-56
        case "tags":
            return isinstance(value, list) and all(map(is_text, value))
    raise AssertionError(name)
