"""The file that tells a data directory from a bare mount point.

``.glance-store`` holds a uuid that the registry knows too. All functions work on an open directory, so that what was
proved and what is then done concern the same file system, whatever is mounted or unmounted meanwhile.
"""

import os
import uuid
from contextlib import suppress

from glance_common.stores.file.linking import publish

NAME = ".glance-store"


def read(directory: int) -> str | None:
    """Return the uuid in the open directory, None when there is no sentinel. Raises OSError, ValueError."""
    try:
        fd = os.open(NAME, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    except FileNotFoundError:
        return None
    try:
        text = os.read(fd, 64)
    finally:
        os.close(fd)
    return str(uuid.UUID(text.decode("ascii").strip()))


def create(directory: int) -> str:
    """Write a new sentinel durably unless there is one, and return the uuid that is there now. Raises OSError.

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
