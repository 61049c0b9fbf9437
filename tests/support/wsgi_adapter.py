"""A transport of the registry client that calls a WSGI application instead of a server: the real client, the real
application, no socket. It also loses answers on demand."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_to_bytes

from werkzeug.test import run_wsgi_app

from glance_common.registry_client.connections import Answer, NoAnswer, NotSent

LOST = "lost"
"""The application did the work, and the answer never came."""

REFUSED = "refused"
"""No server listened."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A request as the client sent it."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes | None


class WsgiAdapter:
    """Gives requests to ``app``. ``faults`` are used up one a request: LOST, REFUSED, or a status code."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.faults: list[str | int] = []
        self.sent: list[Sent] = []

    def exchange(self, method: str, target: str, headers: Mapping[str, str], body: bytes | None = None) -> Answer:
        """Run the application for one request."""
        request = Sent(method, target, headers, body)
        self.sent.append(request)
        fault = self.faults.pop(0) if self.faults else None
        if fault == REFUSED:
            raise NotSent("nobody listens")
        if isinstance(fault, int):
            return Answer(fault, b"<html>a proxy speaks</html>")
        chunks, status, _ = run_wsgi_app(self.app, _environ(request), buffered=True)
        if fault == LOST:
            raise NoAnswer("no answer in time")
        return Answer(int(status.split()[0]), b"".join(chunks))

    def close(self) -> None:
        """Nothing is open."""


def _environ(request: Sent) -> dict[str, Any]:
    body = request.body or b""
    path, _, query = request.target.partition("?")
    environ = {
        "REQUEST_METHOD": request.method, "SCRIPT_NAME": "", "QUERY_STRING": query,
        "PATH_INFO": unquote_to_bytes(path).decode("latin-1"), "RAW_URI": request.target,
        "SERVER_NAME": "registry", "SERVER_PORT": "80", "SERVER_PROTOCOL": "HTTP/1.1",
        "CONTENT_LENGTH": str(len(body)), "CONTENT_TYPE": "application/json",
        "wsgi.version": (1, 0), "wsgi.url_scheme": "http", "wsgi.input": io.BytesIO(body), "wsgi.errors": io.StringIO(),
        "wsgi.multithread": True, "wsgi.multiprocess": False, "wsgi.run_once": False,
    }
    environ |= {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in request.headers.items()}
    return environ
