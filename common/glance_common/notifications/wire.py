"""One notification as oslo.messaging writes it: format 2.0, or format 1.0 for consumers from before the envelope."""

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any
from uuid import uuid4

import orjson

from glance_common.model.context import RequestContext

ENVELOPE_VERSION = "2.0"


class Priority(StrEnum):
    """Priorities in use; the lower-case name ends the routing key."""

    INFO = "INFO"
    ERROR = "ERROR"


@dataclass(frozen=True, slots=True)
class Notification:
    """Something that happened (configuration section 11). ``payload`` is an object, or a text when it failed."""

    event_type: str
    priority: Priority
    payload: dict[str, Any] | str


def encode(notification: Notification, publisher_id: str, context: RequestContext, *, envelope: bool) -> bytes:
    """Return the body of the message. Of the caller it holds ids only, never a token or a catalog (S-53)."""
    message = {
        "message_id": str(uuid4()),
        "publisher_id": publisher_id,
        "event_type": notification.event_type,
        "priority": notification.priority,
        "payload": notification.payload,
        # Consumers read this format, UTC without a zone.
        "timestamp": datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S.%f"),
        "_unique_id": uuid4().hex,
        "_context_request_id": context.request_id,
        "_context_user_id": context.user_id,
        "_context_project_id": context.project_id,
    }
    if not envelope:
        return orjson.dumps(message)
    return orjson.dumps({"oslo.version": ENVELOPE_VERSION, "oslo.message": orjson.dumps(message).decode()})
