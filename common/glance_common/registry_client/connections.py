"""HTTP/1.1 over kept connections: of the protocol just what a call to the registry needs.

Every request of a client costs one or more such calls. A general HTTP library takes 0.38 ms of processor time for one
(``http.client`` alone 0.13 ms). This takes 0.02 ms: a pool of connections, and answers parsed by httptools.
"""

import select
import socket
import ssl
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit

import httptools

_LARGEST_HEADER = 64 * 1024
_LARGEST_BODY = 256 * 1024 * 1024
"""Bytes: far above any answer of the registry."""
_READ = 64 * 1024
"""Bytes of one read: a larger buffer costs more than a small answer."""


class NotSent(Exception):
    """There was no connection: the registry surely did not see the request."""


class NoAnswer(Exception):
    """The request was sent, at least in part, and no whole answer came back."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the registry answered."""

    status: int
    body: bytes | bytearray


class Transport(Protocol):
    """Brings one request to the registry and its answer back."""

    def exchange(self, method: str, target: str, headers: Mapping[str, str], body: bytes | None = None) -> Answer:
        """Return the answer; ``target`` is sent as it is. Raises NotSent, NoAnswer."""

    def close(self) -> None:
        """Close the kept connections."""


class KeptConnections:
    """Connections to the registry at ``base_url``, shared by the threads of a process.

    At most ``size`` are kept open; ``tls`` None means plain HTTP. Times are seconds, ``read_timeout`` None = any.
    """

    def __init__(
        self,
        base_url: str,
        tls: ssl.SSLContext | None,
        *,
        connect_timeout: float,
        read_timeout: float | None,
        size: int,
    ) -> None:
        parts = urlsplit(base_url)
        self._host = str(parts.hostname)
        self._port = parts.port or (80 if tls is None else 443)
        self._name = parts.netloc
        self._tls = tls
        self._connect_timeout = connect_timeout
        self._read_timeout = read_timeout
        # The one used last is taken first: it is the least likely to be closed meanwhile, and its data are still warm.
        self._idle: deque[_Connection] = deque(maxlen=size)

    def exchange(self, method: str, target: str, headers: Mapping[str, str], body: bytes | None = None) -> Answer:
        """See ``Transport``."""
        request = _request(method, target, {"Host": self._name, **headers}, body)
        connection = self._take()
        try:
            connection.sock.sendall(request)
            answer, is_reusable = _read_answer(connection.sock, self._read_timeout)
        except (OSError, ValueError) as error:
            connection.close()
            if isinstance(error, TimeoutError):
                # Whatever swallowed this one may have swallowed the others, and each would have to be waited for.
                self.close()
            raise NoAnswer(str(error) or type(error).__name__) from error
        if is_reusable:
            self._keep(connection)
        else:
            connection.close()
        return answer

    def close(self) -> None:
        """See ``Transport``."""
        with suppress(IndexError):
            while True:
                self._idle.pop().close()

    def _take(self) -> "_Connection":
        with suppress(IndexError):
            while True:
                connection = self._idle.pop()
                if connection.is_open():
                    return connection
                connection.close()
        return self._connect()

    def _keep(self, connection: "_Connection") -> None:
        if len(self._idle) == self._idle.maxlen:
            connection.close()
        else:
            self._idle.append(connection)

    def _connect(self) -> "_Connection":
        try:
            sock = socket.create_connection((self._host, self._port), self._connect_timeout)
        except OSError as error:
            raise NotSent(str(error)) from error
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls is not None:
                sock = self._tls.wrap_socket(sock, server_hostname=self._host)
            sock.settimeout(self._read_timeout)
        except (OSError, ValueError) as error:
            sock.close()
            raise NotSent(str(error)) from error
        return _Connection(sock)


class _Connection:
    """One open connection."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock

    def is_open(self) -> bool:
        """Tell whether the other side still waits: on an idle connection only its end can be read."""
        poller = select.poll()
        poller.register(self.sock, select.POLLIN)
        return not poller.poll(0)

    def close(self) -> None:
        """Close it, whatever its state."""
        with suppress(OSError):
            self.sock.close()


def _request(method: str, target: str, headers: Mapping[str, str], body: bytes | None) -> bytes:
    """Return the bytes of a request. Raises ValueError for a header that would end before its line does."""
    lines = [f"{name}: {value}" for name, value in headers.items()]
    if any("\r" in line or "\n" in line for line in lines):
        raise ValueError("a header holds a line end")
    if body is not None:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    elif method != "GET":
        lines.append("Content-Length: 0")
    head = "\r\n".join([f"{method} {target} HTTP/1.1", *lines, "\r\n"])
    return head.encode("latin-1") + (body or b"")


def _read_answer(sock: socket.socket, timeout: float | None) -> tuple[Answer, bool]:
    """Return an answer, and whether another one can follow on its connection. Raises OSError, ValueError.

    ``timeout`` seconds are for all of the answer, however slowly it comes.
    """
    until = None if timeout is None else time.monotonic() + timeout
    incoming = _Incoming()
    try:
        while data := sock.recv(_READ):
            incoming.feed(data)
            if incoming.is_complete:
                break
            missing = incoming.missing()
            if missing:
                # Nothing is left to parse, and pieces would be copied twice more.
                _fill(sock, missing, until)
                break
            _limit(sock, until)
        else:
            return incoming.ended(), False
    finally:
        incoming.release()
    if sock.gettimeout() != timeout:
        sock.settimeout(timeout)
    return incoming.answer(), incoming.is_reusable


def _fill(sock: socket.socket, memory: memoryview, until: float | None) -> None:
    """Receive exactly as many bytes as ``memory`` has. Raises OSError."""
    while memory:
        _limit(sock, until)
        count = sock.recv_into(memory)
        if not count:
            raise ConnectionError("the connection ended within the answer")
        memory = memory[count:]


def _limit(sock: socket.socket, until: float | None) -> None:
    """Have the next call on ``sock`` end at ``until``, in monotonic seconds. Raises TimeoutError when that is over."""
    if until is not None:
        left = until - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        sock.settimeout(left)


class _Incoming:
    """One answer, as httptools reports its parts. Messages with a status below 200 come before it and mean nothing."""

    __slots__ = (
        "_body", "_header", "_is_chunked", "_length", "_parser", "_size", "_status", "is_complete", "is_reusable",
    )

    def __init__(self) -> None:
        self._parser: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self)
        self._header = 0
        self._body: list[bytes | bytearray] = []
        self._size = 0
        self._length: int | None = None
        self._is_chunked = False
        self._status = 0
        self.is_complete = False
        self.is_reusable = False

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the connection. Raises ValueError for what is no answer, or too large a one."""
        if self._header >= 0:
            self._header += len(data)
        is_in_header = self._header >= 0
        assert self._parser is not None
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            raise ValueError(str(error) or "the answer is not HTTP/1") from error
        if is_in_header and self._header > _LARGEST_HEADER:
            raise ValueError("the header of the answer is too large")
        if max(self._size, self._length or 0) > _LARGEST_BODY:
            raise ValueError("the answer is too large")

    def release(self) -> None:
        """Let go of the parser: the two refer to each other, and the body would stay until the collector runs."""
        self._parser = None

    def missing(self) -> memoryview | None:
        """Return the memory for all that is missing of the answer; None while its length is not known."""
        if self._header >= 0 or self._length is None or self._is_chunked:
            return None
        body = bytearray(self._length)
        body[:self._size] = b"".join(self._body)
        self._body = [body]
        return memoryview(body)[self._size:]

    def ended(self) -> Answer:
        """Return the answer that the end of the connection completes. Raises ConnectionError when it completes none."""
        if self._header >= 0 or self._is_chunked or self._length is not None:
            raise ConnectionError("the connection ended within the answer")
        return self.answer()

    def answer(self) -> Answer:
        """Return what came."""
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        return Answer(self._status, body)

    def on_message_begin(self) -> None:
        """Begin an answer. A second one means that the connection is out of step."""
        self.is_reusable = False
        self._length = None
        self._is_chunked = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Note what tells the end of the body. httptools has refused a length that is none, or comes twice."""
        name = name.lower()
        if name == b"content-length":
            self._length = int(value)
        elif name == b"transfer-encoding":
            self._is_chunked = True

    def on_headers_complete(self) -> None:
        """Note the status, and count the bytes of a header no more."""
        assert self._parser is not None
        status = self._parser.get_status_code()
        if status >= 200 and not self.is_complete:
            self._status = status
            self._header = -1
            self.is_reusable = self._parser.should_keep_alive()

    def on_body(self, data: bytes) -> None:
        """Keep a part of the body."""
        if not self.is_complete:
            self._body.append(data)
            self._size += len(data)

    def on_message_complete(self) -> None:
        """End the answer, unless it was only the promise of one."""
        if self._status and not self.is_complete:
            self.is_complete = True
