"""Private folders of running imports, in ``.work`` of the staging directory (stores section 13).

A process holds a lock on each of its folders, so whatever process finds an unlocked one knows that its owner died.
"""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

from glance_common.model.errors import Unavailable

WORK = ".work"
_GUARD = ".guard"
_LOCK_SUFFIX = ".lock"


@dataclass(slots=True)
class Swept:
    """How many folders and locks of dead processes were ``removed``, and why others could not be, by their name."""

    removed: int = 0
    failed: dict[str, str] = field(default_factory=dict)


@contextmanager
def work_folder(staging: Path) -> Iterator[Path]:
    """Make a folder for the block and remove it with all it holds. Raises Unavailable when the directory is missing or
    cannot be written."""
    name = uuid4().hex
    try:
        with suppress(FileExistsError):
            (staging / WORK).mkdir(mode=0o700)
        with _guard(staging) as base:
            folder = base / name
            lock = _lock(_lock_of(folder), fcntl.LOCK_EX)
            try:
                folder.mkdir(mode=0o700)
            except BaseException:
                _give_back(folder, lock)
                raise
    except OSError as error:
        raise Unavailable(f"the staging directory of this host cannot be used: {error.strerror}") from error
    try:
        yield folder
    finally:
        _give_back(folder, lock)


def sweep_work(staging: Path) -> Swept:
    """Remove the folders and locks whose process died; harmless beside running imports.

    One that cannot be removed does not stop the look for the others. Makes no directory: ``staging`` may be exchanged
    for another one after its proof. Raises OSError when it is missing or cannot be used.
    """
    swept = Swept()
    staging.stat()
    if not (staging / WORK).is_dir():
        return swept
    with _guard(staging) as base:
        for folder in sorted({_folder_of(path) for path in base.iterdir() if path.name != _GUARD}):
            try:
                if not (folder.is_dir() or _lock_of(folder).is_file()):
                    continue
                lock = _lock(_lock_of(folder), fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            except OSError as error:
                swept.failed[folder.name] = error.strerror or type(error).__name__
                continue
            _give_back(folder, lock)
            swept.removed += 1
    return swept


def _lock_of(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}{_LOCK_SUFFIX}")


def _folder_of(path: Path) -> Path:
    """Return the folder that ``path`` is or is the lock of."""
    return path.with_name(path.name.removesuffix(_LOCK_SUFFIX) or path.name)


def _give_back(folder: Path, lock: int) -> None:
    """Remove a folder as far as the disk lets it, and let go of its lock in any case: a sweep removes the rest."""
    shutil.rmtree(folder, ignore_errors=True)
    with suppress(OSError):
        _lock_of(folder).unlink()
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
