"""How large an image document is: what clients put into it, counted as API and registry both count it (S-59)."""

from collections.abc import Collection, Mapping
from typing import Any

import orjson

from glance_common.model.errors import TooLarge

OPTION = "max_image_document"


def of_name(name: str | None) -> int:
    """Return the bytes of a name."""
    return 0 if name is None else len(name.encode())


def of_properties(properties: Mapping[str, Any]) -> int:
    """Return the bytes of properties, whose values are text or None, in the JSON that PostgreSQL writes of a jsonb.

    It sets a space behind each colon and each comma.
    """
    return len(orjson.dumps(dict(properties))) + max(2 * len(properties) - 1, 0)


def of_tags(tags: Collection[str]) -> int:
    """Return the bytes of tags as a JSON array."""
    return len(orjson.dumps(list(tags)))


def document_size(name: str | None, properties: Mapping[str, Any], tags: Collection[str]) -> int:
    """Return the bytes of name, properties and tags; locations come to it in the registry."""
    return of_name(name) + of_properties(properties) + of_tags(tags)


def too_large(size: int, largest: int) -> TooLarge:
    """Return the error for a document that would have ``size`` bytes."""
    return TooLarge(
        f"{OPTION} is exceeded: name, properties, tags and locations of an image take at most {largest} bytes "
        f"together, these would take {size}",
        limit=OPTION,
    )
