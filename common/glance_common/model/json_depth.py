"""How deep JSON may nest that the service keeps, and how much it holds.

What is deeper could be taken in and never be written out again.
"""

from typing import Any

from glance_common.model.errors import BadRequest

MAX_DEPTH = 16
"""Objects and arrays within each other; the deepest document of the API has four."""


_NESTS = (dict, list)


def check_depth(document: Any) -> None:
    """Raise BadRequest when ``document`` nests deeper than ``MAX_DEPTH``; each value is looked at once."""
    level = [document] if isinstance(document, _NESTS) else []
    for _ in range(MAX_DEPTH):
        level = [inner for value in level for inner in _entries(value) if isinstance(inner, _NESTS)]
    if level:
        raise BadRequest(f"more than {MAX_DEPTH} objects and arrays within each other")


def has_at_most(document: Any, most: int) -> bool:
    """Say whether ``document``, which nests no deeper than ``MAX_DEPTH``, holds at most ``most`` values."""
    count, rest = 0, [document]
    while rest and count <= most:
        value = rest.pop()
        if isinstance(value, _NESTS):
            count += len(value)
            if count <= most:
                rest.extend(_entries(value))
    return count <= most


def _entries(value: Any) -> Any:
    return value.values() if isinstance(value, dict) else value
