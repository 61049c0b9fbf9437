"""Which names imports may set as properties of an image."""

from glance_common.image import Image

_INNER = frozenset({"row_version", "properties", "member", "unseen"})
"""Members of the record that no image document shows."""

_FIELDS = frozenset({*Image._fields} - _INNER | {"self", "file", "schema", "direct_url", "stores"})

_RESERVED = ("location", "deleted")


def is_field(name: str) -> bool:
    """Say whether ``name`` is a member of every image document."""
    return name in _FIELDS


def is_property(name: str) -> bool:
    """Say whether ``name`` is a property that a user could have set: no field of the image and nothing reserved."""
    is_free = bool(name) and not is_field(name) and name not in _RESERVED
    return is_free and not name.startswith(("os_glance_", "os_hash_"))
