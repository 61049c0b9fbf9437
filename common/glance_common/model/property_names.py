"""Names of additional properties of images: which there can be, and which no caller may write (S-47, S-60, S-68).

One rule for every version of the API, for imports and for the registry, which is asked last.
"""

from glance_common.model.errors import BadRequest, Forbidden
from glance_common.model.image import Image
from glance_common.model.operation import (
    FAILED_PROPERTY,
    HIDDEN_PROPERTIES,
    IMPORTING_PROPERTY,
    REFUSED_PROPERTY,
    TASK_PROPERTY,
)

MAX_NAME = 255
"""Characters of a name (S-59)."""

OWN = HIDDEN_PROPERTIES | {TASK_PROPERTY, IMPORTING_PROPERTY, FAILED_PROPERTY, REFUSED_PROPERTY}
"""Properties that the service itself writes: to show an import, to find its data, to say why it closed an image."""

_INNER = frozenset({"row_version", "properties", "member", "unseen", "restorable_until"})
"""Members of the record that no document of an image shows under this name."""

FIELDS = frozenset({*Image._fields} - _INNER | {"self", "file", "schema", "direct_url", "stores"})
"""Members of every document of an image."""

_RECORD = frozenset({"location", "deleted"})
_PREFIXES = ("os_glance", "os_hash_")


def is_reserved(name: str) -> bool:
    """Say whether no caller may write a property of this name.

    The prefixes count in any case and with ``-`` for ``_``: in a header of v1 these are all the same name.
    """
    return name in FIELDS or name in _RECORD or name.lower().replace("-", "_").startswith(_PREFIXES)


def is_allowed(name: str) -> bool:
    """Say whether a caller could write a property of this name."""
    return 0 < len(name) <= MAX_NAME and not is_reserved(name)


def check(name: str) -> None:
    """Raise BadRequest for a name that no property can have (S-60), Forbidden for one that is reserved (S-47)."""
    if not name:
        raise BadRequest("properties: the name of a property must not be empty")
    if len(name) > MAX_NAME:
        raise BadRequest(f"properties: the name of a property has at most {MAX_NAME} characters: {name[:40]}…")
    if is_reserved(name):
        raise Forbidden(f"{name} is reserved")
