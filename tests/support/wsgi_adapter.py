"""An HTTP adapter of requests that calls a WSGI application instead of a server: the real client, the real application,
no socket. It also loses answers on demand."""

from __future__ import annotations

import io
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit

import requests
from requests.adapters import BaseAdapter
from urllib3 import HTTPResponse
from werkzeug.test import run_wsgi_app

LOST = "lost"
"""The application did the work, and the answer never came."""

REFUSED = "refused"
"""Nobody listened."""


class WsgiAdapter(BaseAdapter):
    """Give the session's requests to ``app``. ``faults`` are used up one a request: LOST, REFUSED, or a status code."""

    def __init__(self, app: Any) -> None:
        super().__init__()
        self.app = app
        self.faults: list[str | int] = []
        self.sent: list[requests.PreparedRequest] = []

    def send(
        self, request: requests.PreparedRequest, stream: bool = False, timeout: Any = None, verify: Any = True,
        cert: Any = None, proxies: Mapping[str, str] | None = None,
    ) -> requests.Response:
        """Run the application for one request."""
        self.sent.append(request)
        fault = self.faults.pop(0) if self.faults else None
        if fault == REFUSED:
            raise requests.ConnectTimeout("nobody listens")
        if isinstance(fault, int):
            return self._response(request, fault, b"<html>a proxy speaks</html>", {})
        chunks, status, headers = run_wsgi_app(self.app, _environ(request), buffered=True)
        if fault == LOST:
            raise requests.ReadTimeout("no answer in time")
        return self._response(request, int(status.split()[0]), b"".join(chunks), dict(headers.items()))

    def close(self) -> None:
        """Nothing is open."""

    def _response(
        self, request: requests.PreparedRequest, status: int, body: bytes, headers: dict[str, str]
    ) -> requests.Response:
        response = requests.Response()
        response.status_code = status
        response.reason = HTTPStatus(status).phrase
        response.headers.update(headers)
        response.raw = HTTPResponse(io.BytesIO(body), status=status, preload_content=False)
        response.url = str(request.url)
        response.request = request
        return response


def _environ(request: requests.PreparedRequest) -> dict[str, Any]:
    body = request.body or b""
    assert isinstance(body, bytes)
    parts = urlsplit(str(request.url))
    environ = {
        "REQUEST_METHOD": request.method, "SCRIPT_NAME": "", "QUERY_STRING": parts.query,
        "PATH_INFO": unquote_to_bytes(parts.path).decode("latin-1"), "RAW_URI": request.path_url,
        "SERVER_NAME": "registry", "SERVER_PORT": "80", "SERVER_PROTOCOL": "HTTP/1.1",
        "CONTENT_LENGTH": str(len(body)), "CONTENT_TYPE": request.headers.get("Content-Type", ""),
        "wsgi.version": (1, 0), "wsgi.url_scheme": "http", "wsgi.input": io.BytesIO(body), "wsgi.errors": io.StringIO(),
        "wsgi.multithread": True, "wsgi.multiprocess": False, "wsgi.run_once": False,
    }
    environ |= {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in request.headers.items()}
    return environ
