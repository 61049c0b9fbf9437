"""How deep JSON may nest that the service keeps: what is deeper could be taken in and never be written out again."""

from typing import Any

from glance_common.errors import BadRequest

MAX_DEPTH = 16
"""Objects and arrays within each other; the deepest document of the API has four."""


def check_depth(document: Any) -> None:
    """Raise BadRequest when ``document`` nests deeper than ``MAX_DEPTH``."""
    level = [document]
    for _ in range(MAX_DEPTH + 1):
        level = [inner for value in level if isinstance(value, dict | list) for inner in _entries(value)]
    if level:
        raise BadRequest(f"more than {MAX_DEPTH} objects and arrays within each other")


def _entries(value: Any) -> Any:
    return value.values() if isinstance(value, dict) else value
