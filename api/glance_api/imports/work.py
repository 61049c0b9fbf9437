"""Private folders of running imports, in ``.work`` of the staging directory (stores section 13).

A process holds a lock on each of its folders, so whatever process finds an unlocked one knows that its owner died.
"""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from glance_common.model.errors import Unavailable

WORK = ".work"
_GUARD = ".guard"
_LOCK_SUFFIX = ".lock"


@contextmanager
def work_folder(staging: Path) -> Iterator[Path]:
    """Make a folder for the block and remove it with all it holds. Raises Unavailable when the directory is missing or
    cannot be written."""
    name = uuid4().hex
    try:
        with suppress(FileExistsError):
            (staging / WORK).mkdir(mode=0o700)
        with _guard(staging) as base:
            lock = _lock(base / f"{name}{_LOCK_SUFFIX}", fcntl.LOCK_EX)
            folder = base / name
            folder.mkdir(mode=0o700)
    except OSError as error:
        raise Unavailable(f"the staging directory of this host cannot be used: {error.strerror}") from error
    try:
        yield folder
    finally:
        _give_back(folder, lock)


def sweep_work(staging: Path) -> int:
    """Remove the folders whose process died and return how many they were; harmless beside running imports.

    Make nothing: the directory may be exchanged for another one after its proof. Raises OSError when it is missing.
    """
    staging.stat()
    if not (staging / WORK).is_dir():
        return 0
    removed = 0
    with _guard(staging) as base:
        for folder in [path for path in base.iterdir() if path.is_dir()]:
            try:
                lock = _lock(folder.with_suffix(_LOCK_SUFFIX), fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            _give_back(folder, lock)
            removed += 1
    return removed


def _give_back(folder: Path, lock: int) -> None:
    """Remove a folder as far as the disk lets it, and let go of its lock in any case: a sweep removes the rest."""
    shutil.rmtree(folder, ignore_errors=True)
    with suppress(OSError):
        folder.with_suffix(_LOCK_SUFFIX).unlink()
    os.close(lock)


@contextmanager
def _guard(staging: Path) -> Iterator[Path]:
    """Hold the lock under which folders are made and swept, so that none is swept between its making and its lock."""
    base = staging / WORK
    guard = _lock(base / _GUARD, fcntl.LOCK_EX)
    try:
        yield base
    finally:
        os.close(guard)


def _lock(path: Path, operation: int) -> int:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(fd, operation)
    except BaseException:
        os.close(fd)
        raise
    return fd
