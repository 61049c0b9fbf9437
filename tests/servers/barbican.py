"""A key manager that answers as Barbican's API does: metadata, payload by type, deletion; a token sees its own only."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import uuid4


class Barbican:
    """Secrets by id, each of one token. ``broken`` makes it answer 503 to everything."""

    def __init__(self) -> None:
        self.secrets: dict[str, tuple[str, str, str, bytes]] = {}
        self.calls: list[tuple[str, str]] = []
        self.broken = False
        owner = self

        class Handler(_Handler):
            barbican = owner

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def add(
        self, payload: bytes, token: str, content_type: str = "application/octet-stream", kind: str = "certificate"
    ) -> str:
        """Store a secret and return its id."""
        secret = str(uuid4())
        self.secrets[secret] = (token, content_type, kind, payload)
        return secret

    def close(self) -> None:
        """End the server."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    barbican: Barbican

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name of the base class
        """Say nothing."""

    def do_GET(self) -> None:
        """Metadata of a secret, or its payload in the type that was asked for."""
        found = self._found()
        if found is None:
            return
        _token, content_type, kind, payload = found
        if not self.path.endswith("/payload"):
            document = {"status": "ACTIVE", "secret_type": kind, "content_types": {"default": content_type}}
            self._send(200, json.dumps(document).encode(), "application/json")
        elif self.headers["Accept"] != content_type:
            self._send(406, b'{"code": 406}', "application/json")
        else:
            self._send(200, payload, content_type)

    def do_DELETE(self) -> None:
        """Remove a secret."""
        if self._found() is not None:
            del self.barbican.secrets[self.path.split("/")[3]]
            self._send(204, b"", "application/json")

    def _found(self) -> tuple[str, str, str, bytes] | None:
        self.barbican.calls.append((self.command, self.path))
        secret = self.barbican.secrets.get(self.path.split("/")[3])
        if self.barbican.broken:
            self._send(503, b"", "text/plain")
        elif self.headers["X-Auth-Token"] is None:
            self._send(401, b'{"error": {"code": 401}}', "application/json")
        elif secret is None:
            self._send(404, b'{"code": 404, "title": "Not Found"}', "application/json")
        elif secret[0] != self.headers["X-Auth-Token"]:
            self._send(403, b'{"code": 403, "title": "Forbidden"}', "application/json")
        else:
            return secret
        return None

    def _send(self, status: int, body: bytes, content_type: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
