"""The form of an error answer (API section 0): JSON, an HTML page or plain text, as the client asked for.

Clients rely on the status code only, and no form tells anything about the inside.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from http import HTTPStatus
from typing import Any
from wsgiref.types import StartResponse, WSGIEnvironment

import orjson
from werkzeug.datastructures import MIMEAccept
from werkzeug.http import parse_accept_header

from glance_common.model.errors import GlanceError, RangeNotSatisfiable

INTERNAL = "The server met an unexpected condition; its log has the details under the request id."

LONGEST_ACCEPT = 1024
"""Characters of an ``Accept`` header that is looked at, several times those of a browser.

werkzeug takes media types apart with a pattern that tries each run of spaces from all of its places: a header of 64 KB
took 12 s, and an error needs no token (S-59).
"""

_TITLES = {413: "Request Entity Too Large", 416: "Requested Range Not Satisfiable"}
"""Titles as clients know them; what Python calls these statuses depends on its version."""

_HEADERS = {"retry_after": "Retry-After", "accept_patch": "Accept-Patch", "allow": "Allow"}
"""Detail of an error → header of the answer."""


@dataclass(frozen=True, slots=True)
class ErrorAnswer:
    """One error as it is sent."""

    code: int
    headers: dict[str, str]
    body: bytes

    @property
    def status(self) -> str:
        """The status line without the protocol."""
        return f"{self.code} {title(self.code)}"


def from_error(error: GlanceError, accept: str) -> ErrorAnswer:
    """Return the answer for ``error`` in the form that the request's ``Accept`` header asks for."""
    message = INTERNAL if error.code == 500 else error.message
    return render(error.code, message, accept, _headers(error))


def send(error: GlanceError, environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
    """Answer a request with ``error``, outside of Flask."""
    answer = from_error(error, environ.get("HTTP_ACCEPT", ""))
    start_response(answer.status, list(answer.headers.items()))
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [answer.body]


def title(code: int) -> str:
    """Return the name of a status."""
    return _TITLES.get(code) or HTTPStatus(code).phrase


def render(code: int, message: str, accept: str, headers: Mapping[str, str] | None = None) -> ErrorAnswer:
    """Return an error answer with this text."""
    form, name = _form(accept), f"{code} {title(code)}"
    if form == "application/json":
        body = orjson.dumps({"code": name, "title": title(code), "message": message})
    elif form == "text/html":
        page = (
            f"<html>\n <head>\n  <title>{name}</title>\n </head>\n <body>\n  <h1>{name}</h1>\n"
            f"  {escape(message)}<br /><br />\n </body>\n</html>\n"
        )
        body = page.encode()
    else:
        body = f"{name}\n\n{message}\n".encode()
    kind = form if form == "application/json" else f"{form}; charset=UTF-8"
    return ErrorAnswer(code, {"Content-Type": kind, "Content-Length": str(len(body)), **(headers or {})}, body)


def _form(accept: str) -> str:
    """Return the media type of the error.

    ``*/*`` means HTML, as with the original: the ``openstack`` client sends it and shows the reason of HTML pages only.
    A header that names no type at all (``*``) means the same. One that is too long matches no type.
    """
    if len(accept) > LONGEST_ACCEPT:
        return "text/plain"
    if accept.strip() and "/" not in accept:
        accept = "*/*"
    return parse_accept_header(accept, MIMEAccept).best_match(["text/html", "application/json"], "text/plain")


def _headers(error: GlanceError) -> dict[str, str]:
    details: Mapping[str, Any] = error.details
    headers = {header: str(details[name]) for name, header in _HEADERS.items() if name in details}
    if isinstance(error, RangeNotSatisfiable) and "size" in details:
        headers["Content-Range"] = f"bytes */{details['size']}"
    return headers
