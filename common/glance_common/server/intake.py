"""One request while it arrives: when is enough of it here that a thread can serve it without waiting for the client?

This is no parser of HTTP. gunicorn parses the same bytes again in the thread and alone decides what they mean; what it
would refuse, or what is doubtful, is passed on at once. A wrong guess here costs time and never moves a boundary.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

HEALTH = tuple(method + b" /healthcheck" + end for method in (b"GET", b"HEAD") for end in (b" ", b"?"))
"""How the request of a health check begins."""
_HEAD_END = b"\r\n\r\n"
_HEX = b"0123456789abcdefABCDEF"
_MOST_DIGITS = 15
"""A longer number of bytes is beyond every limit."""
_FRAMING = 64 * 1024
"""Bytes beyond twice its size that a chunked document may take on the wire."""


@dataclass(frozen=True, slots=True)
class RequestHead:
    """What decides whether the body of a request is image data.

    The names of ``headers`` are in lower case; values of one name are joined by commas, as the application sees them.
    """

    method: str
    target: str
    headers: Mapping[str, str]
    version: str = "HTTP/1.1"


@dataclass(frozen=True, slots=True)
class IntakeLimits:
    """Sizes in bytes; ``is_transfer`` tells whether a body is image data, which is never collected."""

    head: int
    request_line: int
    line: int
    document: int
    is_transfer: Callable[[RequestHead], bool]
    fields: int = 250
    """Lines of a header; the parser refuses more."""


class RequestRefused(Exception):
    """The request is not served; ``status`` is the status code with its phrase."""

    def __init__(self, status: str, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class Intake:
    """Collects one request: its header, and its body when that is a document.

    ``head_end``: bytes of the header, 0 while it is incomplete. ``is_document``: a body belongs to it that is no image
    data. ``invites``: the client waits for ``100 Continue`` before it sends this document.
    """

    __slots__ = ("_body", "_limits", "_searched", "buffer", "head_end", "invites", "is_document")

    def __init__(self, limits: IntakeLimits) -> None:
        self._limits = limits
        self._body: _Counted | _Chunked | None = None
        self._searched = 0
        self.buffer = bytearray()
        self.head_end = 0
        self.is_document = False
        self.invites = False

    def add(self, data: bytes) -> bool:
        """Take what came; return whether a thread can serve the request now. Raises Refused for too many bytes."""
        self.buffer += data
        if not self.head_end:
            end = self.buffer.find(_HEAD_END, max(self._searched - len(_HEAD_END) + 1, 0))
            if end < 0:
                return self._is_doubtful()
            self.head_end = end + len(_HEAD_END)
            self._body = self._expected_body(self.head_end)
        return self._body is None or self._body.is_here(self.buffer)

    @property
    def is_urgent(self) -> bool:
        """Whether this is a health check."""
        return self.buffer.startswith(HEALTH)

    @property
    def is_collected(self) -> bool:
        """Whether the body was waited for here."""
        return self._body is not None

    def _is_doubtful(self) -> bool:
        """Tell whether the parser refuses what is here of the header. Raises Refused when it grows too large."""
        size = len(self.buffer)
        if size > self._limits.head:
            reason = f"the header is larger than {self._limits.head} bytes"
            raise RequestRefused("431 Request Header Fields Too Large", reason)
        found = self.buffer.find(b"\n", self._searched)
        while found >= 0:
            if not self.buffer.startswith(b"\r", found - 1) or found == 0:
                return True
            found = self.buffer.find(b"\n", found + 1)
        self._searched = size
        longest = self._limits.request_line + 2
        return size > longest and self.buffer.find(b"\r\n", 0, longest) < 0

    def _expected_body(self, start: int) -> "_Counted | _Chunked | None":
        """Return what knows when the document behind the header is here; None when there is none to wait for."""
        lowered = self.buffer[:start].lower()
        if b"\r\ncontent-length:" not in lowered and b"\r\ntransfer-encoding:" not in lowered:
            return None
        if lowered.count(b"\r\n") > self._limits.fields + 2:
            return None
        head = _parse(bytes(self.buffer[:start]))
        if head is None or lowered.count(b"\r\ncontent-length:") > 1 or self._limits.is_transfer(head):
            return None
        self.is_document = True
        given, coding = head.headers.get("content-length"), head.headers.get("transfer-encoding")
        length = _number(given)
        body: _Counted | _Chunked
        if coding is None and length is not None and length <= self._limits.document:
            body = _Counted(start + length)
        elif coding is not None and given is None and coding.lower().rpartition(",")[2].strip() == "chunked":
            body = _Chunked(start, self._limits)
        else:
            return None
        expects = head.headers.get("expect", "").lower() == "100-continue" and head.version == "HTTP/1.1"
        self.invites = expects and len(self.buffer) == start and not body.is_here(self.buffer)
        return body


class _Counted:
    """A body whose length the header tells; ``end`` counts from the first byte of the request."""

    __slots__ = ("_end",)

    def __init__(self, end: int) -> None:
        self._end = end

    def is_here(self, buffer: bytearray) -> bool:
        """Tell whether the body is complete."""
        return len(buffer) >= self._end


class _Chunked:
    """Finds the end of a chunked body, from chunk to chunk; never looks at the same chunk twice."""

    __slots__ = ("_at", "_in_trailer", "_limits", "_size", "_start")

    def __init__(self, start: int, limits: IntakeLimits) -> None:
        self._start = self._at = start
        self._limits = limits
        self._size = 0
        self._in_trailer = False

    def is_here(self, buffer: bytearray) -> bool:
        """Tell whether the parser need not wait: the body is complete, malformed, or larger than any document.

        Raises Refused when chunks are so small that they are most of what was sent.
        """
        while self._at <= len(buffer):
            end = buffer.find(b"\r\n", self._at)
            if end < 0:
                if len(buffer) - self._at > self._limits.line:
                    if self._in_trailer:
                        raise RequestRefused("431 Request Header Fields Too Large", "a line of the trailer is too long")
                    return True
                break
            if self._is_last(bytes(buffer[self._at : end]), end + 2):
                return True
        # What came of the chunks, not what they announce: a thread would wait for the rest of a large one.
        if self._size - max(self._at - 2 - len(buffer), 0) > self._limits.document:
            return True
        if len(buffer) - self._start > 2 * self._limits.document + _FRAMING:
            raise RequestRefused("413 Content Too Large", "the chunks of the body are too small for its size")
        return False

    def _is_last(self, line: bytes, behind: int) -> bool:
        """Go behind this line, and the data that it announces; tell whether there is nothing to wait for then."""
        self._at = behind
        if self._in_trailer:
            return not line
        digits = line.partition(b";")[0].rstrip(b" \t")
        if not digits or digits.strip(_HEX):
            return True
        digits = digits.lstrip(b"0")
        if len(digits) > _MOST_DIGITS:
            return True
        size = int(digits or b"0", 16)
        if size == 0:
            self._in_trailer = True
            return False
        self._size += size
        self._at += size + 2
        return False


def _parse(head: bytes) -> RequestHead | None:
    """Return the parts of a header; None when its first line is none."""
    first, *lines = head.decode("latin-1").split("\r\n")
    words = (first or lines[0]).split(" ")
    if len(words) != 3:
        return None
    headers: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        name, value = name.lower(), value.strip(" \t")
        headers[name] = f"{headers[name]},{value}" if name in headers else value
    return RequestHead(words[0], words[1], headers, words[2])


def _number(text: str | None) -> int | None:
    """Return the number in a Content-Length; None for what is none, or beyond every limit."""
    if text is None or not (text.isascii() and text.isdigit()):
        return None
    digits = text.lstrip("0")
    return int(digits or "0") if len(digits) <= _MOST_DIGITS else None
