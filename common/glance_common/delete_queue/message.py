"""What one message of the delete queue says."""

import json
import uuid
from dataclasses import dataclass

VERSION = 1


class BadMessage(Exception):
    """The body is no message of this queue; the text says why."""


@dataclass(frozen=True, slots=True)
class Nudge:
    """A location whose removal is due now, and the request that asked for it."""

    location: str
    request_id: str | None = None


def encode(nudge: Nudge) -> bytes:
    """Return the body of the message."""
    return json.dumps({"version": VERSION, "location": nudge.location, "request_id": nudge.request_id}).encode()


def decode(body: bytes | str) -> Nudge:
    """Return what the message says; unknown keys are ignored so that versions may differ. Raises BadMessage."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        raise BadMessage("the body is not JSON") from None
    if not isinstance(document, dict):
        raise BadMessage("the body is not an object")
    if document.get("version") != VERSION:
        raise BadMessage(f"version is not {VERSION}")
    location = document.get("location")
    if not isinstance(location, str) or not _is_uuid(location):
        raise BadMessage("location is not a UUID")
    request_id = document.get("request_id")
    # An odd request id spoils only the logs, so it is left out there; the bytes still have to go.
    return Nudge(location.lower(), request_id if _is_request_id(request_id) else None)


def _is_request_id(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 255 and value.isascii() and value.isprintable()


def _is_uuid(text: str) -> bool:
    try:
        return str(uuid.UUID(text)) == text.lower()
    except ValueError:
        return False
