"""A small web server on the loopback address, with the bad habits of real ones on request."""

import re
import ssl
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_LONGEST_STAND = 300.0
"""Seconds after which a request goes on although its gate was never opened."""


@dataclass
class Page:
    """One path: what it holds and how the server behaves when asked for it."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    ranges: bool = True
    head: int | None = None
    """The status of every HEAD; None: as of GET."""
    announce: bool = True
    """Send Content-Length; otherwise the end of the connection is the end of the body."""
    chunked: bool = False
    cut: int | None = None
    """Close the connection after so many bytes of the body."""
    pause: float = 0
    """Stand still for so many seconds in the middle of the body."""
    gate: threading.Event | None = None
    """The next GET stands still in the middle of the body until it is set; those after it do not."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "WebServer"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name that the base class gave it
        """Keep stderr clean."""

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, *, with_body: bool) -> None:
        self.server.answers.wait(_LONGEST_STAND)
        self.server.seen.append((self.command, self.path, dict(self.headers)))
        page = self.server.pages.get(self.path, Page(b"nothing here", 404))
        body, status, headers = page.body, page.status, dict(page.headers)
        if self.command == "HEAD" and page.head is not None:
            body, status = b"", page.head
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if wanted and page.ranges and status == 200:
            start, total = int(wanted[1]), len(body)
            body = body[start : int(wanted[2]) + 1 if wanted[2] else None]
            status = 206 if start < total else 416
            headers["Content-Range"] = f"bytes {start}-{start + len(body) - 1}/{total}" if body else f"bytes */{total}"
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if page.chunked:
            self.send_header("Transfer-Encoding", "chunked")
            body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body) if body else b"0\r\n\r\n"
        elif page.announce:
            self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        if with_body:
            body = body[: page.cut]
            gate, page.gate = page.gate, None
            if gate is not None:
                half = len(body) // 2
                self.wfile.write(body[:half])
                gate.wait(_LONGEST_STAND)
                body = body[half:]
            if page.pause:
                half = len(body) // 2
                self.wfile.write(body[:half])
                time.sleep(page.pause)
                body = body[half:]
            self.wfile.write(body)


class WebServer(ThreadingHTTPServer):
    """``pages`` is what it serves, ``seen`` the requests it got as (method, path, headers).

    While ``answers`` is not set it takes requests and answers none.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.pages: dict[str, Page] = {}
        self.seen: list[tuple[str, str, dict[str, str]]] = []
        self.answers = threading.Event()
        self.answers.set()
        self.scheme = "http"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a client that is gone: it was killed, or wants no more."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"{self.scheme}://{host}:{self.port}{path}"


@contextmanager
def web_server(context: ssl.SSLContext | None = None) -> Iterator[WebServer]:
    """Serve until the block ends, with TLS when a context is given."""
    server = WebServer()
    if context is not None:
        server.scheme = "https"
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.answers.set()
        server.shutdown()
        server.server_close()
        thread.join()


def as_source(server: WebServer) -> dict[str, dict[str, object]]:
    """Return the options with which images may lie on this server, beside those in the file store."""
    return {
        "glance_store": {"stores": "file, http"},
        "import_filtering_opts": {"allowed_hosts": "127.0.0.1", "allowed_ports": server.port},
    }
