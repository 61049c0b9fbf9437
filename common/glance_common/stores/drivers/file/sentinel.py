"""The file that tells a data directory from a bare mount point.

``.glance-store`` holds a uuid that the registry knows too. All functions work on an open directory, so that what was
proved and what is then done concern the same file system, whatever is mounted or unmounted meanwhile.
"""

import os
import time
import uuid
from contextlib import suppress

from glance_common.stores.drivers.file.linking import publish

NAME = ".glance-store"


_COARSEST_CLOCK = 2_000_000_000
"""Nanoseconds between two times of a file that every file system tells apart (FAT is the coarsest)."""


Mark = tuple[int, int, int]
"""What tells one generation of a sentinel from every other without reading it: device, inode, and nanoseconds of the
last change of the inode.

Device and inode alone do not: another file system can come with the same numbers. No program can set the time.
"""


def is_settled(mark: Mark) -> bool:
    """Say whether a further change of the file would get another mark than this one."""
    return time.time_ns() - mark[2] > _COARSEST_CLOCK


def read(directory: int) -> tuple[str, Mark] | None:
    """Return uuid and mark of the sentinel in the open directory, None without one. Raises OSError, ValueError."""
    try:
        fd = os.open(NAME, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    except FileNotFoundError:
        return None
    try:
        # Before the text: a change while it is read must not get the mark of the text before.
        mark = _mark(os.fstat(fd))
        text = os.read(fd, 64)
    finally:
        os.close(fd)
    return str(uuid.UUID(text.decode("ascii").strip())), mark


def mark_in(directory: int) -> Mark | None:
    """Return the mark of the sentinel in the open directory, None without one. One system call; raises OSError."""
    try:
        return _mark(os.stat(NAME, dir_fd=directory, follow_symlinks=False))
    except FileNotFoundError:
        return None


def _mark(seen: os.stat_result) -> Mark:
    return seen.st_dev, seen.st_ino, seen.st_ctime_ns


def create(directory: int) -> tuple[str, Mark]:
    """Write a new sentinel durably unless there is one, and return what ``read`` finds now. Raises OSError.

    The link makes it appear whole or not at all, and lets one of several processes win.
    """
    temporary = f"{NAME}.{uuid.uuid4().hex}"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640, dir_fd=directory)
    try:
        os.write(fd, f"{uuid.uuid4()}\n".encode("ascii"))
        os.fsync(fd)
        with suppress(FileExistsError):
            publish(temporary, directory, NAME, directory)
    finally:
        os.close(fd)
        with suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=directory)
    os.fsync(directory)
    found = read(directory)
    if found is None:
        raise FileNotFoundError(2, "the sentinel vanished", NAME)
    return found
