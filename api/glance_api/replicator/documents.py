"""Images as both APIs and the files of a dump describe them, in one form: the fields have the names of v2."""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Self
from uuid import UUID

from glance_api.replicator.peer import ReplicationError

WRITABLE = (
    "name", "disk_format", "container_format", "min_disk", "min_ram", "visibility", "protected", "owner", "os_hidden",
    "tags",
)
"""Fields that a client may set; the server makes the others from the data, or by its clock."""

_ONLY_V2 = frozenset({"os_hidden", "tags", "os_hash_algo", "os_hash_value"})
_FACTS = ("status", "size", "checksum", "os_hash_algo", "os_hash_value", "virtual_size")
_TIMES = ("created_at", "updated_at", "deleted_at", "deleted")
_NUMBERS = frozenset({"size", "min_disk", "min_ram", "virtual_size"})
_KNOWN = frozenset({*WRITABLE, *_FACTS, *_TIMES})
_OF_THE_SERVER = frozenset({
    "id", "self", "file", "schema", "locations", "direct_url", "stores", "is_public", "location",
})
_WRITTEN = re.compile(r"[a-z0-9]{8}-[a-z0-9]{4}-[a-z0-9]{4}-[a-z0-9]{4}-[a-z0-9]{12}")


@dataclass(frozen=True, slots=True)
class ReplicaImage:
    """One image. ``fields`` has what is known of it: v1 knows no tags, for example."""

    id: str
    fields: Mapping[str, Any]
    properties: Mapping[str, str]

    @classmethod
    def of(cls, document: object) -> Self:
        """Return the image that a document of either API describes. Raises ReplicationError."""
        if not isinstance(document, dict):
            raise ReplicationError("the description of an image is not a JSON object.")
        image_id = document.get("id")
        if not isinstance(image_id, str) or not is_id(image_id):
            raise ReplicationError(f"{str(image_id)[:80]!r} is not the id of an image.")
        fields = {name: value for name, value in document.items() if name in _KNOWN}
        if "tags" in document:
            fields["tags"] = sorted(map(str, document["tags"] or ()))
        properties = document.get("properties")
        if not isinstance(properties, dict):
            # v2 has them beside the fields.
            properties = {
                name: value for name, value in document.items()
                if name not in _KNOWN | _OF_THE_SERVER and not name.startswith("os_glance_")
            }
        elif "visibility" not in document:
            fields["visibility"] = "public" if document.get("is_public") else "shared"
        for name in _NUMBERS & fields.keys():
            if fields[name] is not None and (not isinstance(fields[name], int) or fields[name] < 0):
                raise ReplicationError(f"image {image_id}: {name} is not a number.")
        return cls(image_id, fields, {str(name): str(value) for name, value in properties.items() if value is not None})

    @property
    def is_active(self) -> bool:
        """Whether the data of the image are there."""
        return self.fields.get("status") == "active"

    @property
    def size(self) -> int:
        """Bytes of the data; 0 when they are not known."""
        return self.fields.get("size") or 0

    def without(self, names: Collection[str]) -> Self:
        """Return the image without the fields and properties that are not to be replicated."""
        dropped = {"visibility" if name == "is_public" else name for name in names}
        return replace(
            self, fields={name: value for name, value in self.fields.items() if name not in dropped},
            properties={name: value for name, value in self.properties.items() if name not in dropped},
        )

    def as_v1(self) -> Self:
        """Return the image as v1 shows it: headers have one spelling of names, and a public image or not."""
        fields = {name: value for name, value in self.fields.items() if name not in _ONLY_V2}
        if "visibility" in fields and fields["visibility"] != "public":
            fields["visibility"] = "shared"
        properties = {name.lower().replace("-", "_"): value for name, value in self.properties.items()}
        return replace(self, fields=fields, properties=properties)

    def writable(self) -> dict[str, Any]:
        """Return the fields that a client may set."""
        return {name: self.fields[name] for name in WRITABLE if name in self.fields}


def is_id(text: str) -> bool:
    """Tell whether a text is the id of an image in its usual spelling: only such an id becomes the name of a file."""
    try:
        return _WRITTEN.fullmatch(text) is not None and str(UUID(text)) == text
    except ValueError:
        return False


def differing(one: ReplicaImage, other: ReplicaImage, names: Iterable[str] | None = None) -> list[str]:
    """Return the names in which two images differ, of the fields that are known of both, and the properties."""
    fields = one.fields.keys() & other.fields.keys()
    found = [name for name in fields if _value(one.fields[name]) != _value(other.fields[name])]
    properties = one.properties.keys() | other.properties.keys()
    found += [name for name in properties if one.properties.get(name) != other.properties.get(name)]
    return sorted(set(found) if names is None else set(found) & set(names))


def _value(value: Any) -> Any:
    return None if value == "" else value
