"""A log file that many threads and processes append to at the same time."""

import logging
import os
import threading
import time
from contextlib import suppress
from pathlib import Path

LOOK_AGAIN = 1.0
"""Seconds after which the file is looked for again under its name."""


class LogFile(logging.Handler):
    """Appends each line by one write, which the kernel keeps whole, and follows the name when logrotate moved the file.

    Threads do not wait for each other: ``logging.FileHandler`` holds a lock while the kernel works.
    Raises OSError when the file cannot be opened at first; later the old file is kept as long as there is no new one.
    """

    def __init__(self, path: Path) -> None:
        # First what may fail: from then on the library closes the handler at the end.
        self._file = _open(path)
        super().__init__()
        self._path = path
        self._following = threading.Lock()
        self._looked = time.monotonic()

    def createLock(self) -> None:  # noqa: N802 - the name is that of logging
        """Have no lock around formatting and writing."""
        self.lock = None

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        try:
            line = memoryview(f"{self.format(record)}\n".encode(errors="backslashreplace"))
            if time.monotonic() - self._looked >= LOOK_AGAIN:
                with suppress(OSError):
                    self._follow()
            while line:
                line = line[os.write(self._file, line) :]
        except Exception:  # logging answers for its own errors
            self.handleError(record)

    def close(self) -> None:
        """Close the file; nothing may be logged any more."""
        with self._following:
            if self._file >= 0:
                os.close(self._file)
                self._file = -1
        super().close()

    def _follow(self) -> None:
        # A thread that comes while another one looks writes on, and so may a signal handler that logs meanwhile.
        if not self._following.acquire(blocking=False):
            return
        try:
            self._looked = time.monotonic()
            if not _is_at(self._path, self._file):
                new = _open(self._path)
                # In place: threads that are about to write have the number already.
                os.dup2(new, self._file, inheritable=False)
                os.close(new)
        finally:
            self._following.release()


def _open(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)


def _is_at(path: Path, file: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(file))
    except FileNotFoundError:
        return False
