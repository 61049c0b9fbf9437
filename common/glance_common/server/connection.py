"""One client's connection while a thread serves it: every byte goes through here, so that no client can hold a thread.

gunicorn's sockets block without any limit of time. Ours never block: when the kernel has nothing to give or take, the
thread waits in ``_wait``, which knows ``client_socket_timeout``, ``min_transfer_rate`` and ``document_timeout``.
"""

import errno
import os
import select
import socket
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from io import BytesIO
from typing import Any

from gunicorn.http.body import ChunkedReader
from gunicorn.http.parser import RequestParser
from gunicorn.http.unreader import Unreader

from glance_common.body import MIB, ClientDisconnected, ClientTooSlow, DataFailed
from glance_common.server.arrival import CONTINUE, HEADER_READ, NOT_NOW, NOTHING, ArrivingConnection
from glance_common.server.intake import IntakeLimits
from glance_common.server.minimum_rate import MinimumRate
from glance_common.server.settings import ServerSettings

SENDFILE_STEP = 8 * MIB
DRAIN_BYTES = 64 * 1024
"""An unread rest of a body up to this size is discarded to keep the connection; a larger one closes it."""
DISCARD_READ = 256 * 1024
_ENCRYPTED_STEP = 256 * 1024
"""Bytes of a file that are read at once where the kernel cannot send it."""
TAKEN_SECONDS = 0.5
"""How long a thread waits for a client to take the rest of a document, while enough other threads are free."""

_NO_SENDFILE = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP})


class ShortFile(DataFailed):
    """A file ended before the length that the response had promised."""


class ClientUnreader(Unreader):
    """gunicorn's read-ahead buffer, filled through the connection and its limits."""

    def __init__(self, connection: "Connection") -> None:
        super().__init__()
        self._connection = connection

    def chunk(self, size_hint: int | None = None) -> bytes:
        """Return the next bytes from the client, at most 1 MiB; empty at the end."""
        return self._connection.receive(min(max(size_hint or 0, HEADER_READ), MIB))


class Connection(ArrivingConnection):
    """gunicorn's connection record with limited reads and writes."""

    def __init__(
        self, config: Any, accepted: tuple[socket.socket, Any], server: Any, settings: ServerSettings,
        tls: ssl.SSLContext | None, limits: IntakeLimits,
    ) -> None:
        """``accepted`` is what the listener's ``accept`` returned. Raises OSError when the client is gone already."""
        super().__init__(config, accepted, server, settings, tls, limits)
        self.may_wait: Callable[[], bool] = lambda: True
        """Tells whether enough threads are free for one to wait for the client a little."""
        self._timeout = settings.client_timeout
        self._deadline: float | None = None
        self._document_until: float | None = None
        self._minimum_rate = MinimumRate(settings.min_transfer_rate, settings.rate_window)
        self._continue_due = False
        self._is_collected = False
        self._has_sendfile = True

    def begin(self) -> None:
        """Hand the collected request to the parser, in the thread that serves it."""
        intake = self._intake
        assert intake is not None
        self._intake = None
        if self.parser is None:
            self.parser = RequestParser(self.cfg, self.sock, self.client)
            self.parser.unreader = ClientUnreader(self)
        received = bytes(intake.buffer)
        head_end = intake.head_end or len(received)
        self.parser.unreader.buf = BytesIO(received[:head_end])
        # The body in small pieces: for each chunk, gunicorn's parser copies all that it was given at once.
        if head_end < len(received):
            self._ahead = memoryview(received)[head_end:]
        self._minimum_rate.restart()
        self._document_until = self.until if intake.is_document or not intake.head_end else None
        self._is_collected = intake.is_collected

    # --- reading ---

    def expect_continue(self) -> None:
        """Send ``100 Continue`` when the body is first read, and only then. A client that sends a document got it
        before."""
        self._continue_due = not self._is_collected

    def receive(self, size: int) -> bytes:
        """Return at least one and at most ``size`` bytes, empty at the end of the stream. Raises ClientGone."""
        if self._ahead:
            self._continue_due = False
            # An empty slice would keep all of the request in memory for as long as the connection is idle.
            ahead, self._ahead = bytes(self._ahead[:size]), self._ahead[size:] or NOTHING
            return ahead
        if self._continue_due:
            self._continue_due = False
            self.send(CONTINUE)
        self._deadline = self._document_until
        try:
            data: bytes = self._patiently(select.POLLIN, self.sock.recv, size)
        except OSError as error:
            raise ClientDisconnected(str(error)) from error
        finally:
            self._deadline = None
        self._minimum_rate.moved(len(data))
        return data

    def read_body(self, size: int) -> bytes:
        """Return at least one and at most ``size`` bytes of the body, empty at its end or when it breaks.

        gunicorn's own account of the body is kept in step: it finds the next request by it. Raises ClientGone, and
        whatever gunicorn raises for malformed chunks.
        """
        body = self.parser.mesg.body
        try:
            if isinstance(body.reader, ChunkedReader):
                return self._read_chunks(body.reader, size)
            data = self._read_counted(min(size, body.reader.length))
        except Exception:
            body.failed = True
            raise
        body.failed = not data and body.reader.length > 0
        body.reader.length -= len(data)
        return data

    def _read_counted(self, size: int) -> bytes:
        if not size:
            return b""
        data: bytes = self.parser.unreader.take_buffered()
        if len(data) > size:
            self.parser.unreader.unread(data[size:])
            data = data[:size]
        return data or self.receive(size)

    def _read_chunks(self, reader: Any, size: int) -> bytes:
        """Take the pieces from gunicorn's parser of chunks itself: its reader would copy every byte six times."""
        data: bytes = reader.buf.getvalue()
        reader.buf = BytesIO()
        while not data and reader.parser is not None:
            piece = next(reader.parser, None)
            if piece is None:
                reader.parser = None
            data = piece or b""
        reader.buf.write(data[size:])
        return data[:size]

    def reusable(self) -> bool:
        """Tell whether the next request can follow on this connection, as far as the body of this one decides it."""
        body = self.parser.mesg.body
        # How much is left of a chunked body shows only when it is read, and by then the client has been told.
        left_in_chunks = isinstance(body.reader, ChunkedReader) and body.reader.parser is not None
        small = not left_in_chunks and getattr(body.reader, "length", 0) <= DRAIN_BYTES
        return not self._continue_due and not body.failed and small

    def drain(self) -> bool:
        """Have what the application left unread of the body thrown away; False when its end is unknown."""
        reader = self.parser.mesg.body.reader
        ahead = self.parser.unreader.take_buffered()
        if ahead:
            self._ahead = memoryview(ahead + self._ahead)
        if isinstance(reader, ChunkedReader):
            return reader.parser is None
        if reader.length:
            self._unread = max(reader.length - len(self._ahead), 0)
            self._ahead = self._ahead[reader.length:] or NOTHING
            reader.length = 0
            if not self.is_sending:
                self.until = time.monotonic() + self._settings.document_timeout
        return True

    # --- writing ---

    def send(self, data: bytes | memoryview) -> None:
        """Send everything. Raises ClientGone."""
        view = memoryview(data)
        while view:
            try:
                sent = self._patiently(select.POLLOUT, self.sock.send, view)
            except OSError as error:
                raise ClientDisconnected(str(error)) from error
            self._minimum_rate.moved(sent)
            view = view[sent:]

    def send_end(self, data: bytes) -> None:
        """Send the end of an answer; the main thread sends what the client does not take soon. Raises ClientGone."""
        try:
            rest = memoryview(data)
            if not self.is_sending:
                rest = self._send_soon(rest)
            if rest:
                self.hand_over(rest)
        except OSError as error:
            raise ClientDisconnected(str(error)) from error

    def _send_soon(self, data: memoryview) -> memoryview:
        """Send what the client takes within ``TAKEN_SECONDS``; return the rest.

        A usual client takes a large document in pieces of its receive buffer. To hand each over to the main thread
        would cost more than to wait for it.
        """
        until = time.monotonic() + (TAKEN_SECONDS if self.may_wait() else 0.0)
        poller: Any = None
        while data:
            try:
                data = data[self.sock.send(data):]
            except NOT_NOW:
                if poller is None:
                    poller = select.poll()
                    poller.register(self.sock, select.POLLOUT)
                left = until - time.monotonic()
                if left <= 0 or not poller.poll(left * 1000):
                    break
        return data

    def send_file(self, fd: int, offset: int, count: int, progress: Callable[[int], None]) -> None:
        """Send ``count`` bytes of a file from ``offset``, in the kernel where TLS or the file system do not prevent it.

        ``progress`` is told the bytes of each step. Raises ShortFile when the file ends earlier, OSError when it
        cannot be read, ClientGone.
        """
        is_full = False
        while count and self._tls is None:
            step = min(count, SENDFILE_STEP)
            try:
                # A try at a full socket is not free: sendfile takes pages of the file before it sees that.
                sent = self._patiently(
                    select.POLLOUT, os.sendfile, self.sock.fileno(), fd, offset, step, wait_first=is_full
                )
            except OSError:
                # Of the file or of the socket? The number does not tell; reading and sending apart do.
                break
            if not sent:
                raise ShortFile(f"{count} bytes are missing at the end of the file")
            self._minimum_rate.moved(sent)
            progress(sent)
            offset, count, is_full = offset + sent, count - sent, sent < step
        self._copy_file(fd, offset, count, progress)

    def send_some(self, data: memoryview) -> int:
        """Send what the client takes at once and return its length. Raises ClientDisconnected."""
        try:
            return self._at_once(self.sock.send, data)
        except OSError as error:
            raise ClientDisconnected(str(error)) from error

    def send_some_of_file(self, fd: int, offset: int, count: int) -> int:
        """Send what the client takes at once of a file and return its length.

        Raises ShortFile when there is nothing at the offset, OSError when it cannot be read, ClientDisconnected.
        """
        if self._tls is None and self._has_sendfile:
            try:
                sent = self._at_once(os.sendfile, self.sock.fileno(), fd, offset, count, otherwise=-1)
                if not sent:
                    raise ShortFile(f"{count} bytes are missing at the end of the file")
                return max(sent, 0)
            except OSError as error:
                # As in ``send_file``: what follows tells whose error it is.
                self._has_sendfile = error.errno not in _NO_SENDFILE
        data = os.pread(fd, min(count, _ENCRYPTED_STEP), offset)
        if not data:
            raise ShortFile(f"{count} bytes are missing at the end of the file")
        return self.send_some(memoryview(data))

    def _at_once(self, operation: Callable[..., int], *args: Any, otherwise: int = 0) -> int:
        """Return what ``operation(*args)`` has sent, ``otherwise`` when the client takes nothing now.

        Raises OSError.
        """
        try:
            sent = operation(*args)
        except NOT_NOW:
            return otherwise
        self._minimum_rate.moved(sent)
        return sent

    def note_wait(self, seconds: float, idle: float) -> None:
        """Note that the client took nothing for so many more seconds, ``idle`` in all. Raises ClientTooSlow."""
        self._minimum_rate.waited(seconds)
        if self._timeout is not None and idle >= self._timeout:
            raise ClientTooSlow(f"no byte moved for {idle:.0f} s")

    def _copy_file(self, fd: int, offset: int, count: int, progress: Callable[[int], None]) -> None:
        """Read and send. Only the file raises OSError: what the client has of a piece is not known after an error."""
        buffer = memoryview(bytearray(min(count, MIB)))
        while count:
            got = os.preadv(fd, [buffer[:min(count, MIB)]], offset)
            if not got:
                raise ShortFile(f"{count} bytes are missing at the end of the file")
            self.send(buffer[:got])
            progress(got)
            offset, count = offset + got, count - got

    # --- waiting and ending ---

    def _patiently(self, event: int, operation: Callable[..., Any], *args: Any, wait_first: bool = False) -> Any:
        """Return ``operation(*args)``, repeated until the socket lets it make progress.

        Raises ClientTooSlow, OSError.
        """
        idle = self._wait(event, 0.0) if wait_first else 0.0
        while True:
            wanted = event
            try:
                return operation(*args)
            except (BlockingIOError, InterruptedError):
                pass
            except ssl.SSLWantReadError:
                wanted = select.POLLIN
            except ssl.SSLWantWriteError:
                wanted = select.POLLOUT
            idle += self._wait(wanted, idle)

    def _wait(self, event: int, idle: float) -> float:
        """Wait for the client, which has done nothing for ``idle`` seconds already; return the seconds of the wait."""
        started = time.monotonic()
        limits = [
            None if self._timeout is None else self._timeout - idle,
            None if self._deadline is None else self._deadline - started,
            self._minimum_rate.patience(),
        ]
        patience = min((max(limit, 0.0) for limit in limits if limit is not None), default=None)
        poller = select.poll()
        poller.register(self.sock, event)
        ready = poller.poll(None if patience is None else patience * 1000 + 1)
        waited = time.monotonic() - started
        self._minimum_rate.waited(waited)
        if not ready and self._timeout is not None and idle + waited >= self._timeout:
            raise ClientTooSlow(f"no byte moved for {idle + waited:.0f} s")
        if not ready and self._deadline is not None and started + waited >= self._deadline:
            raise ClientTooSlow(f"the request did not come within {self._settings.document_timeout:g} s")
        return waited

    def cut(self) -> None:
        """End the transfer under way from another thread: its next read or write fails."""
        # The plain socket's shutdown: SSLSocket's would remove the TLS layer while another thread uses it.
        with suppress(OSError):
            socket.socket.shutdown(self.sock, socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the connection, and let go at once of what came over it: the parser refers back to it."""
        self._forget()
        super().close()

    def _forget(self) -> None:
        self.parser = self._intake = None
        self._ahead = self._unsent = NOTHING

    def half_close(self) -> bool:
        """Send the end of the stream; False when the client is gone already."""
        self._forget()
        try:
            socket.socket.shutdown(self.sock, socket.SHUT_WR)
        except OSError:
            return False
        return True

    def discard(self) -> bool:
        """Throw away what the client still sends after the end; False when it has ended too.

        Closing with unread bytes would reset the connection, and the client might lose the answer (RFC 9112, 9.6).
        """
        try:
            return bool(socket.socket.recv(self.sock, DISCARD_READ))
        except BlockingIOError:
            return True
        except OSError:
            return False
