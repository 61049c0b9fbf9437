"""Values that stand in headers and in query strings of v1 alike. Pure."""

import re

from glance_common.model.errors import BadRequest

MAX_INTEGER = 2**31 - 1
MAX_SIZE = 2**63 - 1

_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


def whole_number(name: str, value: str, largest: int) -> int:
    """Return the number from 0 to ``largest`` that a text says. Raises BadRequest naming the field."""
    if not (value.isascii() and value.isdigit() and len(value) < 20 and int(value) <= largest):
        raise BadRequest(f"{name} must be a number from 0 to {largest}, not {value[:40]!r}")
    return int(value)


def identifier(name: str, value: str) -> str:
    """Return the UUID that a text says, in lower case. Raises BadRequest naming the field."""
    if _UUID.fullmatch(value) is None:
        raise BadRequest(f"{name} must be a UUID, not {value[:40]!r}")
    return value.lower()
