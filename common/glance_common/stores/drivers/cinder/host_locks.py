"""Locks between the processes of a host: a device that several of them use is connected and disconnected by one."""

import fcntl
import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from glance_common.fetch import deadlines
from glance_common.stores.drivers.cinder.errors import CinderFailed

_FILES = 64
"""Volumes share so many files, which stay for ever."""

_PAUSE = 0.05


@contextmanager
def host_lock(folder: str, volume: str, seconds: float) -> Iterator[None]:
    """Hold the lock of a volume in the block. Raises CinderFailed after these seconds, and without the folder."""
    number = int.from_bytes(hashlib.sha256(volume.encode()).digest()[:4], "big") % _FILES
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        file = os.open(f"{folder}/glance-cinder-{number}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise CinderFailed(f"{folder}: locks cannot be kept here ({error.strerror}): see lock_path") from None
    try:
        until = time.monotonic() + seconds
        while not _taken(file):
            if time.monotonic() > until:
                raise CinderFailed(f"{folder}: another process holds the lock of the volume {volume} for too long")
            deadlines.pause(_PAUSE)
        yield
    finally:
        os.close(file)


def _taken(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
