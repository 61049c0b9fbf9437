"""Request bodies as pieces of one size, with honest ends; answers that our server sends from a file.

A WSGI server may report a body that stopped too early as a normal end, so the bytes are counted here. The reader of an
upload gets either every announced byte or an exception.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, Protocol, runtime_checkable

MIB = 1024 * 1024
_SMALL = 4096

READ_BODY = "glance.read_body"
"""Key in the environ of a ``Callable[[int], bytes]`` that our server offers for bodies.

It reads from the socket without the copies of gunicorn's own ``wsgi.input``: 2 GiB over loopback in pieces of 1 MiB
took 0.2 to 0.4 of the time and 0.1 to 0.3 of the CPU. A request is read through one of the two, never through both.
"""

BYTES_SENT = "glance.bytes_sent"
"""Key in the environ: bytes of the answer's body that were sent; our server sets it before it closes the answer."""

SENDS_FILES = "glance.sends_files"
"""Key in the environ: our server sends a ``FileBody`` without a thread of its own; others do not know the class."""

STATUS_SENT = "glance.status_sent"
"""Key in the environ: the status code that our server sent instead of the application's."""


class DataFailed(Exception):
    """The data of an answer cannot be given to their end, for a reason that its text tells and that is no defect."""


class ClientGone(Exception):
    """The client's part of a transfer failed; no client may be left to answer."""


class ClientDisconnected(ClientGone):
    """The connection ended before the body or the response did."""


class ClientTooSlow(ClientGone):
    """The client did not move a byte within ``client_socket_timeout``, or moved fewer than ``min_transfer_rate``."""


@runtime_checkable
class ContinuedFile(Protocol):
    """A file for ``wsgi.file_wrapper`` whose rest is somewhere else too. Our server asks for it."""

    def rest(self, sent: int, error: Exception) -> Iterator[bytes]:
        """Yield what comes behind the first ``sent`` bytes, as the file cannot be read any further.

        Raises ``error`` when there is nothing else.
        """


class FileBody(ABC):
    """The body of an answer in a file, which may still grow. One thread of our server sends many of them.

    That thread calls ``ready``, ``sent``, ``failed``, ``admit`` and ``close``, which never wait. When ``ready`` says
    that the file cannot give the rest, a thread of the pool calls ``resume``, and iterates over the rest where that
    does not help; a file that is whole can always give it.
    """

    @property
    @abstractmethod
    def descriptor(self) -> int:
        """The file, open for reading."""

    @abstractmethod
    def ready(self) -> tuple[int, int] | None:
        """Return the offset in the file and the number of bytes that can be sent now.

        The number is 0 while more has to come, None stands for a rest that the file cannot give.
        """

    @abstractmethod
    def sent(self, count: int) -> None:
        """Note that so many bytes of those that were ready have been sent."""

    def failed(self, error: Exception) -> bool:  # noqa: ARG002 - for those that have the rest elsewhere
        """Note that the file cannot be read; say whether a thread can give the rest, and ``ready`` returns None."""
        return False

    def on_growth(self, wake: Callable[[], None]) -> None:  # noqa: B027 - nothing to do for a file that is whole
        """Have ``wake`` called from any thread when ``ready`` may say something else."""

    def admit(self) -> bool:
        """Say whether the rest may have a thread now."""
        return True

    def resume(self) -> bool:
        """Say whether ``ready`` goes on. It may wait, and raise what iterating raises."""
        return False

    @abstractmethod
    def __iter__(self) -> Iterator[bytes]:
        """Yield the rest."""

    @abstractmethod
    def close(self) -> None:
        """End the answer."""


def announced_length(environ: dict[str, Any]) -> int | None:
    """Return the Content-Length in bytes, None when the request has none."""
    text = environ.get("CONTENT_LENGTH", "")
    return int(text) if text else None


def read_pieces(environ: dict[str, Any], piece: int = MIB) -> Iterator[bytes]:
    """Yield the body in pieces of exactly ``piece`` bytes, only the last may be shorter; an empty body yields nothing.

    Works for Content-Length and for chunked bodies with chunks of any size. Raises ClientDisconnected when the body
    ends before its announced length or before the end of its last chunk, ClientTooSlow when the client stalls.
    """
    read: Callable[[int], bytes] = environ.get(READ_BODY) or environ["wsgi.input"].read
    expected = announced_length(environ)
    received = 0
    while expected is None or received < expected:
        wanted = piece if expected is None else min(piece, expected - received)
        data = _fill(read, wanted)
        received += len(data)
        if expected is not None and len(data) < wanted:
            raise ClientDisconnected(f"the body ended after {received} of {expected} bytes")
        if data:
            yield data
        if len(data) < wanted:
            return


def _fill(read: Callable[[int], bytes], size: int) -> bytes:
    """Return ``size`` bytes, fewer only at the end of the body.

    Small parts are gathered at once: as objects of their own, a piece of 1 MiB in chunks of 2 bytes would take 70 MiB.
    """
    parts: list[bytes] = []
    small = bytearray()
    missing = size
    while missing:
        part = _read(read, missing)
        if not part:
            break
        missing -= len(part)
        if len(part) < _SMALL and missing:
            small += part
            continue
        if small:
            parts.append(bytes(small))
            small.clear()
        parts.append(part)
    if small:
        parts.append(bytes(small))
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _read(read: Callable[[int], bytes], size: int) -> bytes:
    try:
        return read(size)
    except ClientGone:
        raise
    except TimeoutError as error:
        raise ClientTooSlow(f"the client stopped sending: {error}") from error
    except Exception as error:
        # Servers raise classes of their own for a broken body (gunicorn: NoMoreData, InvalidChunkSize, …); whatever it
        # was, the rest of this body will not come.
        raise ClientDisconnected("the body broke off, or its chunks are malformed") from error
