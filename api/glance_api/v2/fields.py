"""The fields of an image as JSON schema: the one table from which documents are served and requests are checked."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from glance_api.settings import Settings
from glance_common.model.image import BASE_VISIBILITIES
from glance_common.model.operation import OperationKind
from glance_common.model.status import ImageStatus, OperationStatus

MAX_VALUE = 64 * 1024
"""Characters of an additional property (S-59)."""

MAX_TAG = MAX_OWNER = 255

MAX_INTEGER = 2**31 - 1
"""Largest min_disk and min_ram (S-56)."""

UUID_PATTERN = "^([0-9a-fA-F]){8}-([0-9a-fA-F]){4}-([0-9a-fA-F]){4}-([0-9a-fA-F]){4}-([0-9a-fA-F]){12}$"

WRITABLE = (
    "id", "name", "visibility", "protected", "os_hidden", "owner", "container_format", "disk_format", "tags", "min_ram",
    "min_disk",
)
"""Base fields that a client may set at create; all but ``id`` may be changed later."""

READ_ONLY = (
    "created_at", "updated_at", "status", "checksum", "size", "virtual_size", "os_hash_algo", "os_hash_value",
)
LINKS = ("direct_url", "self", "file", "schema", "stores")
NAMES = frozenset({*WRITABLE, *READ_ONLY, *LINKS, "locations"})
"""Every base field."""

Schema = dict[str, Any]


def _values(kinds: type[StrEnum]) -> list[str]:
    """Return the values as plain text: messages show members of an enum with their class."""
    return [kind.value for kind in kinds]


def _read_only(kind: str | list[str], description: str, **rules: Any) -> Schema:
    return {"type": kind, "readOnly": True, "description": description, **rules}


def _text(description: str, **rules: Any) -> Schema:
    return {"type": ["null", "string"], "description": description, **rules}


def _choice(values: tuple[str, ...], description: str) -> Schema:
    return {"type": ["null", "string"], "enum": [None, *values], "description": description}


def _count(description: str) -> Schema:
    return {"type": "integer", "minimum": 0, "maximum": MAX_INTEGER, "description": description}


def base(settings: Settings) -> dict[str, Schema]:
    """Return the schema of every base field (API section 3)."""
    return {
        # The length as well: "$" of a pattern lets a line end follow.
        "id": {"type": "string", "pattern": UUID_PATTERN, "maxLength": 36, "description": "Identifier of the image"},
        "name": _text("Descriptive name for the image", maxLength=255),
        "status": _read_only("string", "Status of the image", enum=sorted(_values(ImageStatus))),
        "visibility": {"type": "string", "enum": list(BASE_VISIBILITIES), "description": "Who may see the image"},
        "protected": {"type": "boolean", "description": "If true, image will not be deletable."},
        "os_hidden": {"type": "boolean", "description": "If true, image will not appear in a list unless asked for."},
        "checksum": _read_only(["null", "string"], "md5 hash of image contents.", maxLength=32),
        "os_hash_algo": _read_only(["null", "string"], "Algorithm to calculate the os_hash_value", maxLength=64),
        "os_hash_value": _read_only(
            ["null", "string"], "Hexdigest of the image contents using the algorithm specified by the os_hash_algo",
            maxLength=128,
        ),
        "owner": _text("Owner of the image", maxLength=MAX_OWNER),
        "size": _read_only(["null", "integer"], "Size of image file in bytes"),
        "virtual_size": _read_only(["null", "integer"], "Virtual size of image in bytes"),
        "container_format": _choice(settings.container_formats, "Format of the container"),
        "disk_format": _choice(settings.disk_formats, "Format of the disk"),
        "created_at": _read_only("string", "Date and time of image registration"),
        "updated_at": _read_only("string", "Date and time of the last image modification"),
        "tags": {
            "type": "array",
            "items": {"type": "string", "maxLength": MAX_TAG},
            "description": "List of strings related to the image",
        },
        "direct_url": _read_only("string", "URL to access the image file kept in external store"),
        "min_ram": _count("Amount of ram (in MB) required to boot image."),
        "min_disk": _count("Amount of disk space (in GB) required to boot image."),
        "self": _read_only("string", "An image self url"),
        "file": _read_only("string", "An image file url"),
        "schema": _read_only("string", "An image schema url"),
        "stores": _read_only("string", "Store in which image data resides"),
        "locations": _LOCATIONS,
    }


_LOCATIONS: Schema = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": {
            "url": {"type": "string", "maxLength": 255},
            "metadata": {"type": "object"},
            "validation_data": {
                "type": "object",
                "description": "Values to be used to populate the corresponding image properties.",
                "writeOnly": True,
                "additionalProperties": False,
                "properties": {
                    "checksum": {"type": "string", "minLength": 32, "maxLength": 32},
                    "os_hash_algo": {"type": "string", "maxLength": 64},
                    "os_hash_value": {"type": "string", "maxLength": 128},
                },
                "required": ["os_hash_algo", "os_hash_value"],
            },
        },
        "required": ["url", "metadata"],
    },
    "description": "A set of URLs to access the image file kept in external store",
}

_PATH = {"type": "string", "pattern": "^/.", "description": "Where in the image, as a JSON pointer"}

PATCH_V21: Schema = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": {"op": {"type": "string", "enum": ["add", "replace", "remove"]}, "path": _PATH, "value": {}},
        "required": ["op", "path"],
        "anyOf": [{"required": ["value"]}, {"properties": {"op": {"enum": ["remove"]}}}],
    },
}
PATCH_V20: Schema = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": {"add": _PATH, "replace": _PATH, "remove": _PATH, "value": {}},
        "anyOf": [
            {"required": ["add", "value"], "not": {"anyOf": [{"required": ["replace"]}, {"required": ["remove"]}]}},
            {"required": ["replace", "value"], "not": {"anyOf": [{"required": ["add"]}, {"required": ["remove"]}]}},
            {"required": ["remove"], "not": {"anyOf": [{"required": ["add"]}, {"required": ["replace"]}]}},
        ],
    },
}

NEW_MEMBER: Schema = {
    "type": "object",
    "properties": {"member": {"type": "string", "minLength": 1, "maxLength": 255}},
    "required": ["member"],
}
MEMBER_STATUS: Schema = {
    "type": "object",
    "properties": {"status": {"type": "string", "enum": ["pending", "accepted", "rejected"]}},
    "required": ["status"],
}


def _fact(kind: str | list[str], description: str, **rules: Any) -> Schema:
    return {"type": kind, "description": description, **rules}


TASK_STUB: Mapping[str, Schema] = {
    "id": _fact("string", "An identifier for the task", pattern=UUID_PATTERN),
    "type": _fact("string", "The type of task represented by this content", enum=_values(OperationKind)),
    "status": _fact("string", "The current status of this task", enum=_values(OperationStatus)),
    "owner": _fact(["null", "string"], "An identifier for the owner of this task"),
    "image_id": _fact(["null", "string"], "Image associated with the task"),
    "request_id": _fact(["null", "string"], "Human-readable informative request-id"),
    "user_id": _fact(["null", "string"], "User associated with the task"),
    "expires_at": _fact("string", "Datetime when this resource would be subject to removal"),
    "created_at": _fact("string", "Datetime when this resource was created"),
    "updated_at": _fact("string", "Datetime when this resource was updated"),
    "self": _fact("string", "A self url", readOnly=True),
    "schema": _fact("string", "A schema url", readOnly=True),
}
"""What a list shows of a task."""

TASK: Mapping[str, Schema] = {
    **TASK_STUB,
    "input": _fact(["null", "object"], "The parameters required by task, JSON blob"),
    "result": _fact(["null", "object"], "The result of current task, JSON blob"),
    "message": _fact("string", "Why the task failed, or how far it is"),
}

MEMBER: Mapping[str, Schema] = {
    "created_at": {"type": "string", "description": "Date and time of image member creation"},
    "image_id": {"type": "string", "pattern": UUID_PATTERN, "description": "An identifier for the image"},
    "member_id": {"type": "string", "description": "An identifier for the image member (tenantId)"},
    "status": {
        "type": "string",
        "enum": ["pending", "accepted", "rejected"],
        "description": "The status of this image member",
    },
    "updated_at": {"type": "string", "description": "Date and time of last modification of image member"},
    "schema": {"type": "string", "readOnly": True},
}
