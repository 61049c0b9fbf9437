"""Text in JSON documents that no column of the database can hold."""

from typing import Any

from glance_common.model.errors import BadRequest

_SHOWN = 80
"""Characters of a field name in a message."""


def refuse_nul(document: Any, where: str) -> None:
    """Raise BadRequest when a text in ``document``, keys included, holds a NUL character (S-54, S-58).

    The message names the place below ``where``. The place is put together when the character was found and on the way
    back: a text of the place for each value takes seconds for a document of 1 MiB (S-59). ``document`` nests no deeper
    than the parser lets it.
    """
    found = _place_of_nul(document)
    if found is not None:
        raise BadRequest(f"{where}{found} holds a NUL character")


def _place_of_nul(value: Any) -> str | None:
    """Return where below ``value`` the character is, as ``.name[0]``, None when it is nowhere."""
    if isinstance(value, str):
        return "" if "\0" in value else None
    if isinstance(value, dict):
        for key, inner in value.items():
            if "\0" in key:
                return ": a field name"
            found = _place_of_nul(inner)
            if found is not None:
                return f".{key[:_SHOWN]}{found}"
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            found = _place_of_nul(inner)
            if found is not None:
                return f"[{number}]{found}"
    return None
