"""Locks in the directory of the cache, which the kernel releases when their holder dies.

One file, one byte of it for each lock: nothing is to be cleaned up. They are locks of the open file (not of the
process), so that threads of one process exclude each other too.
"""

import errno
import fcntl
import os
import struct
import time
from uuid import UUID

_FLOCK = "hhqqi0q"
"""``struct flock``: type, whence, start, length, process."""

_NODE, _ROOM, _TOOLS, _SLOTS = 0, 1, 2, 16
_FILLS = 1 << 32
_MASK = (1 << 60) - 1
_TAKEN = {errno.EAGAIN, errno.EACCES}
_PAUSE = 0.02


class CacheLock:
    """A lock that is held until ``close``."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def also(self, start: int) -> None:
        """Hold the byte ``start`` as well. Raises OSError."""
        _set(self.descriptor, fcntl.F_WRLCK, start)

    def close(self) -> None:
        """Release it; calling it again does nothing."""
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


class Locks:
    """The locks in one file, which is made when it is missing."""

    def __init__(self, path: str) -> None:
        self._path = path

    def node(self, name: str, patience: float = 5.0) -> tuple[CacheLock | None, str]:
        """Take the directory for the node ``name``, together with its other processes, and return the lock.

        None when processes of another node hold it; the second value is the name of who has it. Raises OSError.
        """
        descriptor = self._open()
        until = time.monotonic() + patience
        try:
            while True:
                if _try(descriptor, fcntl.F_WRLCK, _NODE):
                    os.ftruncate(descriptor, 0)
                    os.pwrite(descriptor, f"{name}\n".encode(), 0)
                    _set(descriptor, fcntl.F_RDLCK, _NODE)
                    return CacheLock(descriptor), name
                if _try(descriptor, fcntl.F_RDLCK, _NODE):
                    owner = os.pread(descriptor, 4096, 0).decode(errors="replace").strip()
                    if owner == name:
                        return CacheLock(descriptor), name
                    break
                if time.monotonic() > until:
                    owner = "another process, which does not answer"
                    break
                time.sleep(_PAUSE)
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
        return None, owner

    def room(self, patience: float = 2.0) -> CacheLock | None:
        """Return the lock under which sizes are added up and copies removed; None when it is not free in time.

        Raises OSError.
        """
        until = time.monotonic() + patience
        while True:
            lock = self._take(_ROOM)
            if lock is not None or time.monotonic() > until:
                return lock
            time.sleep(_PAUSE)

    def slot(self, count: int) -> CacheLock | None:
        """Return one of ``count`` locks, None when all are taken. Raises OSError."""
        for number in range(count):
            lock = self._take(_SLOTS + number)
            if lock is not None:
                return lock
        return None

    def tool(self, number: int) -> CacheLock | None:
        """Return the right to be the one process of the tool ``number`` (0 to 13), None when there is another.

        Raises OSError.
        """
        return self._take(_TOOLS + number)

    def fill(self, image_id: str) -> CacheLock | None:
        """Return the right to fill the copy of an image, None when another has it. Raises OSError."""
        return self._take(_filling(image_id))

    def is_filled(self, image_id: str) -> bool:
        """Say whether a living process fills the copy of an image. Raises OSError."""
        return self._is_taken(_filling(image_id))

    def is_verified(self, image_id: str) -> bool:
        """Say whether the filler of the image has found its data right. Raises OSError."""
        return self._is_taken(_filling(image_id) + 1)

    def verified(self, image_id: str, lock: CacheLock) -> None:
        """Let others know that the data of the fill under ``lock`` are right. Raises OSError."""
        lock.also(_filling(image_id) + 1)

    def _open(self) -> int:
        return os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o640)

    def _take(self, start: int) -> CacheLock | None:
        descriptor = self._open()
        try:
            if _try(descriptor, fcntl.F_WRLCK, start):
                return CacheLock(descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
        return None

    def _is_taken(self, start: int) -> bool:
        descriptor = self._open()
        try:
            asked = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, start, 1, 0)
            answer: bytes = fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, asked)
            return bool(struct.unpack(_FLOCK, answer)[0] != fcntl.F_UNLCK)
        finally:
            os.close(descriptor)


def _filling(image_id: str) -> int:
    return _FILLS + (UUID(image_id).int & _MASK) * 2


def _set(descriptor: int, kind: int, start: int) -> None:
    fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, struct.pack(_FLOCK, kind, os.SEEK_SET, start, 1, 0))


def _try(descriptor: int, kind: int, start: int) -> bool:
    try:
        _set(descriptor, kind, start)
    except OSError as error:
        if error.errno not in _TAKEN:
            raise
        return False
    return True
