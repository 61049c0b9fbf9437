"""The directory of the cache, as in the original: ``<id>`` (whole copies), ``incomplete/``, ``invalid/``, ``queue/``.

``.glance-cache`` holds the locks and the name of the node. Only image ids name files of images (S-66), and other users
of the host see nothing of it.
"""

import ctypes
import errno
import os
import stat
import time
from contextlib import suppress
from dataclasses import dataclass

from glance_api.cache.wanted import is_cacheable
from glance_common.stores.drivers.file import linking, sentinel

INCOMPLETE, INVALID, QUEUE = "incomplete", "invalid", "queue"
LOCKS = ".glance-cache"
_KEEP_SIZE = 1
"""FALLOC_FL_KEEP_SIZE"""
_UNKNOWN = {errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}
_STEP = 1000
"""Nanoseconds between two uses, when the clock does not go on: a float of seconds tells them apart."""
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class CacheFile:
    """A file in one of the folders; ``taken`` is the room that it has on the disk or will have."""

    image_id: str
    size: int
    taken: int
    modified: float
    accessed: float


class CacheLayout:
    """Where things are in the directory of the cache. Every method raises OSError when the disk does."""

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self.locks = f"{directory}/{LOCKS}"
        self.incomplete, self.invalid, self.queue = (f"{directory}/{name}" for name in (INCOMPLETE, INVALID, QUEUE))
        self._latest = 0

    def prepare(self) -> None:
        """Make what is missing of the directory, close it to other users, and prove that it can be written.

        The parent of the directory must exist: a missing mount is not replaced by a folder. A directory that is marked
        as that of a store is refused, by whatever name it is reached.
        """
        if self.inode_of(f"{self.directory}/{sentinel.NAME}") is not None:
            raise OSError(errno.EEXIST, "it is the directory of a store", self.directory)
        for path in (self.directory, self.incomplete, self.invalid, self.queue):
            with suppress(FileExistsError):
                os.mkdir(path, 0o750)
            mode = stat.S_IMODE(os.stat(path).st_mode)
            if mode & 0o007:
                os.chmod(path, mode & ~0o007)
        # One name for all processes: what one that is killed here leaves goes with the next look.
        probe = f"{self.incomplete}/.probe"
        os.close(os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
        with suppress(FileNotFoundError):
            os.unlink(probe)

    def open(self, image_id: str) -> int | None:
        """Return a descriptor of the whole copy, None when there is none."""
        return self._open(f"{self.directory}/{image_id}")

    def open_incomplete(self, image_id: str) -> int | None:
        """Return a descriptor of the unfinished copy, None when there is none."""
        return self._open(f"{self.incomplete}/{image_id}")

    @staticmethod
    def _open(path: str) -> int | None:
        try:
            descriptor = os.open(path, _READ)
        except FileNotFoundError:
            return None
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            return None
        return descriptor

    def create_incomplete(self, image_id: str, size: int) -> int:
        """Return a descriptor of a new unfinished copy with room for ``size`` bytes; one that is there goes.

        Raises OSError, with ENOSPC when there is not as much room, and leaves nothing then.
        """
        path = f"{self.incomplete}/{image_id}"
        with suppress(FileNotFoundError):
            os.unlink(path)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o640)
        try:
            reserve(descriptor, size)
        except BaseException:
            os.close(descriptor)
            with suppress(OSError):
                os.unlink(path)
            raise
        return descriptor

    def reopen_incomplete(self, image_id: str, inode: int) -> int | None:
        """Return a writing descriptor of the unfinished copy when it is still the file ``inode``, else None."""
        try:
            descriptor = os.open(f"{self.incomplete}/{image_id}", os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        if os.fstat(descriptor).st_ino != inode:
            os.close(descriptor)
            return None
        return descriptor

    def commit(self, image_id: str, inode: int) -> bool:
        """Give the unfinished copy its final name; False when it is not the file ``inode`` any more."""
        source = f"{self.incomplete}/{image_id}"
        if self.inode_of(source) != inode:
            return False
        final = f"{self.directory}/{image_id}"
        # What has the name is no good: the fill would not have begun otherwise.
        with suppress(FileNotFoundError):
            os.unlink(final)
        folder = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            linking.publish(source, folder, image_id, folder)
            with suppress(FileNotFoundError):
                os.unlink(source)
            os.fsync(folder)
        finally:
            os.close(folder)
        return True

    def set_aside(self, path: str, inode: int) -> None:
        """Move a file that is no good to ``invalid/``, unless its name belongs to another file by now."""
        if self.inode_of(path) == inode:
            os.replace(path, f"{self.invalid}/{os.path.basename(path)}")

    def drop_incomplete(self, image_id: str, inode: int) -> None:
        """Remove the unfinished copy, unless its name belongs to another file by now."""
        path = f"{self.incomplete}/{image_id}"
        if self.inode_of(path) == inode:
            with suppress(FileNotFoundError):
                os.unlink(path)

    def remove(self, image_id: str) -> bool:
        """Remove the whole copy; return whether there was one. Who reads it reads on."""
        return unlinked(f"{self.directory}/{image_id}")

    @staticmethod
    def inode_of(path: str) -> int | None:
        """Return the inode that has this name, None when there is none."""
        try:
            return os.stat(path, follow_symlinks=False).st_ino
        except FileNotFoundError:
            return None

    def copies(self) -> list[CacheFile]:
        """Return the whole copies."""
        found = _files(self.directory)
        self._latest = max(self._latest, *(int(file.accessed * 1e9) for file in found), 0)
        return found

    def used_now(self, descriptor: int) -> None:
        """Note in the open file itself that it is used now, later than all uses before: a clock may be set back.

        ``noatime`` of the file system does not matter.
        """
        self._latest = max(time.time_ns(), self._latest + _STEP)
        os.utime(descriptor, ns=(self._latest, os.fstat(descriptor).st_mtime_ns))

    def unfinished(self) -> list[CacheFile]:
        """Return the unfinished copies."""
        return _files(self.incomplete)

    def damaged(self) -> list[CacheFile]:
        """Return what was set aside."""
        return _files(self.invalid)


def _files(folder: str) -> list[CacheFile]:
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if is_cacheable(entry.name) and entry.is_file(follow_symlinks=False):
                with suppress(FileNotFoundError):
                    seen = entry.stat(follow_symlinks=False)
                    taken = max(seen.st_size, seen.st_blocks * 512)
                    found.append(CacheFile(entry.name, seen.st_size, taken, seen.st_mtime, seen.st_atime))
    return found


def unlinked(path: str) -> bool:
    """Remove a file; return whether it was there."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        return False
    return True


def touch(path: str) -> bool:
    """Make an empty file; return False when it is there already."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
    except FileExistsError:
        return False
    os.close(descriptor)
    return True


def reserve(descriptor: int, size: int) -> None:
    """Have the disk set room aside for ``size`` bytes without changing the length of the file.

    Others see by it how large the file will be. Nothing where the file system cannot. Raises OSError (ENOSPC).
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.fallocate(descriptor, _KEEP_SIZE, ctypes.c_int64(0), ctypes.c_int64(size)) == 0:
        return
    number = ctypes.get_errno()
    if number not in _UNKNOWN:
        raise OSError(number, os.strerror(number))
