"""Responses that cannot end as complete with fewer bytes than they promised."""

import os
import time
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from gunicorn.http.wsgi import FileWrapper, Response
from gunicorn.util import http_date

from glance_common.body import ContinuedFile
from glance_common.server.connection import Connection, ShortFile

JOIN_LIMIT = 64 * 1024
"""Up to this size a body travels in one piece with the header: one system call and one packet less."""


class ShortBody(Exception):
    """The application gave fewer bytes than its Content-Length."""


class TransferResponse(Response):
    """gunicorn's response, written through the connection's limits."""

    headers_sent: bool

    def __init__(
        self, request: Any, sock: Any, config: Any, connection: Connection, keeps_connections: Callable[[], bool]
    ) -> None:
        super().__init__(request, sock, config)
        self._connection = connection
        self._keeps_connections = keeps_connections
        self._head = b""

    def should_close(self) -> bool:
        """Tell whether the connection ends with this response."""
        return bool(super().should_close()) or not self._keeps_connections() or not self._connection.reusable()

    def send_headers(self) -> None:
        """Fix the header; it leaves with the first bytes of the body or at the end."""
        if self.headers_sent:
            return
        major, minor = self.req.version
        lines = [
            f"HTTP/{major}.{minor} {self.status}",
            f"Server: {self.version}",
            f"Date: {_date(int(time.time()))}",
            f"Connection: {'close' if self.should_close() else 'keep-alive'}",
            *(["Transfer-Encoding: chunked"] if self.chunked else []),
            *(f"{name}: {value}" for name, value in self.headers),
            "\r\n",
        ]
        self._head = "\r\n".join(lines).encode("latin-1")
        self.headers_sent = True

    def _emit_body(self, data: bytes) -> None:
        # A document is one piece, which needs no thread to be sent; image data are many, and come as they are taken.
        send = self._connection.send_end if len(data) == self.response_length else self._connection.send
        if self.chunked:
            data = b"%X\r\n%b\r\n" % (len(data), data)
        if len(data) <= JOIN_LIMIT:
            data = self._head + data
        else:
            send(self._head)
        self._head = b""
        send(data)

    def write_file(self, wrapper: FileWrapper) -> None:
        """Send a file from its current position, as many bytes as the Content-Length says.

        What cannot be read comes from elsewhere where the file knows a place. Raises ShortFile when the file has
        fewer bytes, OSError when it cannot be read.
        """
        try:
            fd = wrapper.filelike.fileno()
            offset = os.lseek(fd, 0, os.SEEK_CUR)
        except (AttributeError, OSError):
            fd = -1
        if fd < 0 or self.response_length is None:
            for piece in wrapper:
                self.write(piece)
            return
        if self._omits_body or not self.response_length:
            self.send_headers()
            return
        try:
            # Until the header has left, an error can have a status of its own.
            if not os.pread(fd, 1, offset):
                raise ShortFile(f"{self.response_length} bytes are missing at the end of the file")
            self.send_headers()
            self._connection.send(self._head)
            self._head = b""
            self._connection.send_file(fd, offset, self.response_length, self._count)
        except (OSError, ShortFile) as error:
            if not isinstance(wrapper.filelike, ContinuedFile):
                raise
            for piece in wrapper.filelike.rest(self.sent, error):
                self.write(piece)

    @property
    def has_known_body(self) -> bool:
        """Whether a body follows, of a length that is known."""
        return bool(self.response_length) and not self._omits_body

    def take_head(self) -> bytes:
        """Return the header, which the caller sends with the first bytes of the body; empty when it has left."""
        self.send_headers()
        head, self._head = self._head, b""
        return head

    def give_head(self, head: bytes) -> None:
        """Take back what ``take_head`` returned."""
        self._head = head

    def _count(self, sent: int) -> None:
        self.sent += sent

    def close(self) -> None:
        """Send what is left. Raises ShortBody when the body is shorter than promised."""
        self.send_headers()
        tail = b"0\r\n\r\n" if self.chunked else b""
        if self._head or tail:
            self._connection.send_end(self._head + tail)
            self._head = b""
        if self.response_length is not None and self.sent < self.response_length and not self._omits_body:
            raise ShortBody(f"{self.sent} of {self.response_length} bytes")


@lru_cache(maxsize=1)
def _date(second: int) -> str:
    """Return the Date of all responses of one second."""
    return str(http_date(second))
