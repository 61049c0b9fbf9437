"""Which names imports may set as properties of an image."""

from dataclasses import fields

from glance_common.image import Image

_OWN = frozenset({field.name for field in fields(Image)} | {"self", "file", "schema", "direct_url", "stores"})
"""Members of an image document that are not properties."""


def is_property(name: str) -> bool:
    """Say whether ``name`` is a property that a user could have set: no field of the image and nothing reserved."""
    return bool(name) and name not in _OWN and not name.startswith(("os_glance_", "os_hash_"))
