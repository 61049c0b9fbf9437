"""An attached volume: a device, a file, an image of Ceph, or another file-like object without a descriptor."""

import errno
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any, Protocol


class Disk(Protocol):
    """Bytes at offsets. Several threads may use it; calls may hang."""

    def read(self, at: int, size: int) -> bytes:
        """Return so many bytes, fewer at the end."""

    def write(self, at: int, data: bytes | bytearray | memoryview) -> None:
        """Write all of the data."""

    def sync(self) -> None:
        """Return when all that was written survives a power cut."""

    def close(self) -> None:
        """Let go of it."""


class DeviceDisk:
    """A device or a file, by its path. It stays open until the last transfer has ended, also one that hangs."""

    def __init__(self, path: str, *, writable: bool) -> None:
        """Open it. Raises OSError."""
        self._file = os.open(path, (os.O_RDWR if writable else os.O_RDONLY) | os.O_CLOEXEC)
        self._lock = threading.Lock()
        self._users = 0
        """Transfers that are under way."""
        self._is_closed = False

    def read(self, at: int, size: int) -> bytes:
        """See the protocol."""
        parts = []
        with self._open() as file:
            while size:
                part = os.pread(file, size, at)
                if not part:
                    break
                parts.append(part)
                at, size = at + len(part), size - len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def write(self, at: int, data: bytes | bytearray | memoryview) -> None:
        """See the protocol."""
        view = memoryview(data)
        with self._open() as file:
            while view:
                written = os.pwrite(file, view, at)
                at, view = at + written, view[written:]

    def sync(self) -> None:
        """See the protocol."""
        with self._open() as file:
            os.fsync(file)

    def close(self) -> None:
        """See the protocol."""
        with self._lock:
            is_last = not self._is_closed and self._users == 0
            self._is_closed = True
        if is_last:
            os.close(self._file)

    @contextmanager
    def _open(self) -> Iterator[int]:
        """Give the descriptor to a transfer: its number must not become another file's meanwhile."""
        with self._lock:
            if self._is_closed:
                raise OSError(errno.EBADF, "closed")
            self._users += 1
        try:
            yield self._file
        finally:
            self._leave()

    def _leave(self) -> None:
        with self._lock:
            self._users -= 1
            is_last = self._is_closed and self._users == 0
        if is_last:
            os.close(self._file)


class RbdDisk:
    """An image of Ceph as os-brick opens it. Several transfers are under way at once, which its file-like form has not.
    """

    def __init__(self, file: Any) -> None:
        """``file`` has the open image as its attribute ``rbd_image``; closing both is their maker's."""
        self._file = file
        self._image = file.rbd_image

    def read(self, at: int, size: int) -> bytes:
        """See the protocol."""
        left = self._image.size() - at
        return bytes(self._image.read(at, min(size, left))) if left > 0 else b""

    def write(self, at: int, data: bytes | bytearray | memoryview) -> None:
        """See the protocol."""
        # Ceph's module takes bytes alone.
        self._image.write(bytes(data), at)

    def sync(self) -> None:
        """See the protocol."""
        self._file.flush()

    def close(self) -> None:
        """Do nothing."""


class FileLikeDisk:
    """An object with ``seek``, ``read`` and ``write``, which may know no descriptor; closing it is its maker's."""

    def __init__(self, file: IO[Any]) -> None:
        self._file = file
        self._lock = threading.Lock()

    def read(self, at: int, size: int) -> bytes:
        """See the protocol."""
        with self._lock:
            self._file.seek(at)
            return bytes(self._file.read(size))

    def write(self, at: int, data: bytes | bytearray | memoryview) -> None:
        """See the protocol."""
        with self._lock:
            self._file.seek(at)
            # Such objects take bytes alone, and some return nothing.
            self._file.write(bytes(data))

    def sync(self) -> None:
        """See the protocol."""
        with self._lock:
            self._file.flush()
            try:
                number = self._file.fileno()
            except OSError:
                return
            os.fsync(number)

    def close(self) -> None:
        """Do nothing."""
