"""The errors that travel between the daemons and to clients.

Each class knows its HTTP status and a stable title. The title is part of the registry protocol: the registry client
turns an answer back into the class that the registry raised. Texts are for users: they name the field and the rule and
never hold credentials or locations.

    GlanceError
    ├── BadRequest 400            ├── NotFound 404             ├── UnsupportedMediaType 415
    ├── NotAuthenticated 401      ├── Conflict 409             ├── RangeNotSatisfiable 416
    ├── Forbidden 403             │   ├── Duplicate            ├── RequestIdTooLong 431
    │   └── PolicyDenied          │   ├── StatusConflict       ├── InternalError 500
    ├── TooLarge 413              │   └── VersionConflict      ├── BadGateway 502
    ├── Gone 410                  ├── RequestTimeout 408       ├── GatewayTimeout 504
    │                             └── PreconditionFailed 412   └── Unavailable 503
                                                                   └── OutcomeUnknown
"""

from typing import Any, ClassVar

MAX_MESSAGE = 2000
"""Characters of a message. What a client sent must not come back whole in answers and logs (S-59)."""

ROW_HELD = "row_held"
"""The ``reason`` of an Unavailable that only says that other requests hold the same rows of the database."""


class GlanceError(Exception):
    """Base of the family: ``code`` is the HTTP status, ``title`` the stable name, ``details`` extras for programs.

    A message that is too long loses its middle.
    """

    code: ClassVar[int] = 500
    title: ClassVar[str] = "InternalError"

    def __init__(self, message: str, **details: Any) -> None:
        if len(message) > MAX_MESSAGE:
            message = f"{message[: MAX_MESSAGE // 2]}…{message[-MAX_MESSAGE // 2 + 1 :]}"
        super().__init__(message)
        self.message = message
        self.details = details

    def document(self) -> dict[str, Any]:
        """Return the error as the JSON object that the registry sends."""
        return {"error": {"code": self.code, "title": self.title, "message": self.message, "details": self.details}}


class BadRequest(GlanceError):
    """The request breaks a rule; the message names the field and the rule."""

    code, title = 400, "BadRequest"


class NotAuthenticated(GlanceError):
    """No confirmed identity came with the request."""

    code, title = 401, "NotAuthenticated"


class Forbidden(GlanceError):
    """The caller is known and may not do this."""

    code, title = 403, "Forbidden"


class PolicyDenied(Forbidden):
    """A policy rule said no."""

    title = "PolicyDenied"


class NotFound(GlanceError):
    """Absent, deleted or not visible to the caller: the three are never told apart (S-43)."""

    code, title = 404, "NotFound"


class RequestTimeout(GlanceError):
    """The client did not send its request in time."""

    code, title = 408, "RequestTimeout"


class Conflict(GlanceError):
    """The request is right but the state does not allow it."""

    code, title = 409, "Conflict"


class Duplicate(Conflict):
    """The id or the member exists already."""

    title = "Duplicate"


class StatusConflict(Conflict):
    """The image's status does not allow the transition; ``details`` hold ``status`` and ``wanted``."""

    title = "StatusConflict"


class VersionConflict(Conflict):
    """Another caller wrote the row between our read and our write."""

    title = "VersionConflict"


class Gone(GlanceError):
    """The image disappeared while the request was under way, or its store takes no data."""

    code, title = 410, "Gone"


class PreconditionFailed(GlanceError):
    """What the request needs ended while it was under way: v1 calls so what is ``Gone`` in v2."""

    code, title = 412, "PreconditionFailed"


class TooLarge(GlanceError):
    """A size cap, a quota or the space of a store is exceeded."""

    code, title = 413, "TooLarge"


class UnsupportedMediaType(GlanceError):
    """The media type, or the content of an image, is not what it has to be."""

    code, title = 415, "UnsupportedMediaType"


class RangeNotSatisfiable(GlanceError):
    """The asked range is outside of the image; ``details["size"]`` is its size."""

    code, title = 416, "RangeNotSatisfiable"


class RequestIdTooLong(GlanceError):
    """The client's request id is longer than ``max_request_id_length``."""

    code, title = 431, "RequestIdTooLong"


class InternalError(GlanceError):
    """A defect of ours; the message says nothing about the inside."""

    code, title = 500, "InternalError"


class Unavailable(GlanceError):
    """Something behind us is down; the message says what. Nothing was done and a retry may help."""

    code, title = 503, "Unavailable"


def is_row_held(error: GlanceError) -> bool:
    """Return whether ``error`` says nothing about other rows: the database works and other requests hold these."""
    return isinstance(error, Unavailable) and error.details.get("reason") == ROW_HELD


class UnsupportedCoding(GlanceError):
    """The body comes in a form that the server cannot decode."""

    code, title = 501, "UnsupportedCoding"


class BadGateway(GlanceError):
    """Another node of ours, which has to do the work, cannot be asked."""

    code, title = 502, "BadGateway"


class GatewayTimeout(GlanceError):
    """Another node of ours, which has to do the work, does not answer."""

    code, title = 504, "GatewayTimeout"


class OutcomeUnknown(Unavailable):
    """The registry did not answer a write: it may or may not have happened, so nothing may be undone on its account."""

    title = "OutcomeUnknown"


def _family(base: type[GlanceError]) -> dict[str, type[GlanceError]]:
    known = {base.title: base} if base is not GlanceError else {}
    for child in base.__subclasses__():
        known.update(_family(child))
    return known


BY_TITLE: dict[str, type[GlanceError]] = _family(GlanceError)


def from_document(code: int, document: Any) -> GlanceError:
    """Return the error that a registry answer stands for; an unknown shape becomes ``InternalError``."""
    error = document.get("error") if isinstance(document, dict) else None
    if not isinstance(error, dict):
        return InternalError(f"the registry answered {code} with a body that is not an error document")
    cls = BY_TITLE.get(str(error.get("title")), InternalError)
    details = error.get("details")
    return cls(str(error.get("message", "")), **(details if isinstance(details, dict) else {}))
