"""One client's connection while no thread serves it: documents come and go without a wait.

What a client has not taken yet of the last answer is sent first, then its next request is collected.
"""

import select
import socket
import ssl
import time
from contextlib import suppress
from enum import Enum
from typing import Any

from gunicorn.workers.gthread import TConn

from glance_common.server.intake import Intake, IntakeLimits, RequestRefused
from glance_common.server.settings import ServerSettings

HEADER_READ = 8192
BODY_READ = 64 * 1024
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
NOTHING = memoryview(b"")
_EMPTY_LINE = b"\r\n"
NOT_NOW = (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
"""What a socket raises that could do nothing without a wait."""


class Arrival(Enum):
    """What ``proceed`` came to: a request that can be served, less than that, or the end of the connection."""

    REQUEST = "request"
    MORE = "more"
    END = "end"


class ArrivingConnection(TConn):
    """gunicorn's connection record that collects requests.

    ``until`` says when the request that has begun to arrive must be here, or the answer be taken, in monotonic seconds.
    ``ends`` is set when the connection ends with the answer that is being sent.
    """

    sock: socket.socket
    parser: Any

    def __init__(
        self, config: Any, accepted: tuple[socket.socket, Any], server: Any, settings: ServerSettings,
        tls: ssl.SSLContext | None, limits: IntakeLimits,
    ) -> None:
        """``accepted`` is what the listener's ``accept`` returned. Raises OSError when the client is gone already."""
        sock, client = accepted
        super().__init__(config, sock, client, server)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, settings.keepidle)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.until = float("inf")
        self._settings = settings
        self._limits = limits
        self._tls = tls
        self._is_secure = tls is None
        self._intake: Intake | None = None
        self._ahead = NOTHING
        self._unread = 0
        self._unsent = NOTHING
        self.ends = False

    def proceed(self) -> Arrival:
        """Send and take what the client lets us, without waiting. Raises Refused for a request that is too large.

        The end of the stream behind a complete header is for the application to report, like a malformed body.
        """
        try:
            if self._unsent:
                self._flush()
                if self.ends:
                    return Arrival.END
            if not self._is_secure:
                self._shake_hands()
            while True:
                arrival = self._take()
                if arrival is not Arrival.MORE or not self._pending():
                    return arrival
        except NOT_NOW:
            return Arrival.MORE
        except OSError:
            return Arrival.END

    def hand_over(self, data: memoryview) -> None:
        """Send the end of an answer, what the client takes at once; ``proceed`` sends the rest. Raises OSError."""
        sent = 0
        try:
            if not self._unsent:
                sent = self.sock.send(data)
                if sent == len(data):
                    return
            rest = data[sent:]
            self._unsent = memoryview(bytes(self._unsent) + rest) if self._unsent else rest
            self._flush()
        except NOT_NOW:
            self._unsent = self._unsent or data
            slowest = self._settings.min_transfer_rate
            seconds = len(self._unsent) / slowest if slowest else self._settings.client_timeout or float("inf")
            self.until = time.monotonic() + self._settings.rate_window + seconds

    def _flush(self) -> None:
        while self._unsent:
            self._unsent = self._unsent[self.sock.send(self._unsent):]
        self._unsent = NOTHING

    def _shake_hands(self) -> None:
        if not isinstance(self.sock, ssl.SSLSocket):
            assert self._tls is not None
            self.sock = self._tls.wrap_socket(self.sock, server_side=True, do_handshake_on_connect=False)
            self.until = time.monotonic() + self._settings.header_timeout
        self.sock.do_handshake()
        self._is_secure = True

    def _take(self) -> Arrival:
        has_head = self._intake is not None and self._intake.head_end > 0
        if self._ahead:
            data, self._ahead = bytes(self._ahead), NOTHING
        else:
            data = self.sock.recv(BODY_READ if has_head or self._unread else HEADER_READ)
        if not data:
            return Arrival.REQUEST if has_head else Arrival.END
        if self._unread:
            data, self._unread = data[self._unread:], max(self._unread - len(data), 0)
            if not data:
                return Arrival.MORE
        if self._intake is None:
            # An empty line between two requests means nothing (RFC 9112, 2.2) and begins none.
            while data.startswith(_EMPTY_LINE):
                data = data[len(_EMPTY_LINE) :]
            if not data:
                return Arrival.MORE
        return Arrival.REQUEST if self._add(data) else Arrival.MORE

    def _add(self, data: bytes) -> bool:
        if self._intake is None:
            self._intake = Intake(self._limits)
            self.until = time.monotonic() + self._settings.header_timeout
        had_head = self._intake.head_end
        is_enough = self._intake.add(data)
        if self._intake.is_document and not had_head:
            self.until = time.monotonic() + self._settings.document_timeout
            if self._intake.invites:
                # It fits into an empty buffer; a client that let the buffer fill up is not worth a wait.
                self.sock.send(CONTINUE)
        return is_enough

    @property
    def is_idle(self) -> bool:
        """Whether the answer was sent, and nothing of a next request has come."""
        return self._is_secure and self._intake is None and not self._unread and not self._unsent

    @property
    def is_sending(self) -> bool:
        """Whether the client has not taken all of the answer."""
        return bool(self._unsent)

    @property
    def is_urgent(self) -> bool:
        """Whether the request that was collected is a health check."""
        return self._intake is not None and self._intake.is_urgent

    @property
    def held(self) -> int:
        """Bytes of memory that wait for the client: of the request, and of the answer before it."""
        # What was sent of an answer stays in memory with the rest.
        answer = len(self._unsent.obj) if self._unsent else 0  # type: ignore[arg-type]  # bytes
        return answer + (len(self._intake.buffer) if self._intake is not None else 0)

    def reject(self, refusal: RequestRefused) -> None:
        """Say why the request is not served, as far as the client takes it without a wait."""
        text = f"{refusal}\n".encode()
        head = (
            f"HTTP/1.1 {refusal.status}\r\nConnection: close\r\nContent-Type: text/plain; charset=UTF-8\r\n"
            f"Content-Length: {len(text)}\r\n\r\n"
        )
        if self._is_secure and not self._unsent:
            with suppress(OSError):
                self.sock.send(head.encode() + text)

    def has_next_within(self, seconds: float) -> bool:
        """Wait for something from the client, or its end; tell whether one of them is here."""
        if self.has_input():
            return True
        poller = select.poll()
        poller.register(self.sock, select.POLLIN)
        return bool(poller.poll(seconds * 1000))

    def has_input(self) -> bool:
        """Tell whether the start of a next request is here already, where waiting for the socket would not show it."""
        return bool(self._ahead) or self._pending()

    def _pending(self) -> bool:
        return isinstance(self.sock, ssl.SSLSocket) and bool(self.sock.pending())
