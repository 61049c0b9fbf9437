"""The file with the process id of a server, which the server keeps locked for as long as it lives.

The lock is what makes the id certain: an id that was left behind, and that another process has by now, is never
signalled. The server inherits the locked descriptor from glance-control; the kernel frees the lock with the last
process of the server.
"""

import fcntl
import os
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from glance_common.control.servers import ControlError

DIRECTORY = Path("/var/run/glance")
LOCK_SECONDS = 2.0
"""How long a start waits for the lock: a status that looks at the file holds it for a moment."""


def default_path(program: str) -> Path:
    """Return where the pid file of a server is: below ``DIRECTORY``, or in a temporary one when that is not writable.

    The temporary directory belongs to this user alone, so that no other user can put a file there.
    """
    usual = DIRECTORY / f"{program}.pid"
    if usual.exists() or os.access(DIRECTORY, os.W_OK):
        return usual
    return _temporary_directory() / f"{program}.pid"


def _temporary_directory() -> Path:
    return Path(tempfile.gettempdir()) / f"glance-control-{os.geteuid()}"


class PidFile:
    """The pid file of one program."""

    def __init__(self, path: Path, program: str) -> None:
        self.path = path
        self._program = program

    def running(self) -> int | None:
        """Return the id of the running server, None when it is stopped.

        Raises ControlError when the file cannot be read, or when its process is such a server that did not come from
        glance-control with this file: whether it is the right one is not known.
        """
        until = time.monotonic() + LOCK_SECONDS
        while True:
            is_locked, pid = self._look()
            is_program = pid is not None and self._is_program(pid)
            if is_program or not is_locked:
                break
            # A start that is under way has locked the file and not written it yet.
            if time.monotonic() >= until:
                raise ControlError(
                    f"{self.path} is locked, and no {self._program} has its id: processes of it may still be ending."
                )
            time.sleep(0.05)
        if is_locked:
            return pid
        if is_program:
            raise ControlError(
                f"{self.path}: process {pid} is a {self._program} that was not started with this file; end it yourself."
            )
        return None

    @contextmanager
    def taken(self) -> Iterator[int]:
        """Give the locked file to the block, as a descriptor that a server may inherit; what is stale is overwritten.

        Raises ControlError when the server runs.
        """
        if (pid := self.running()) is not None:
            raise ControlError(f"{self._program} (pid {pid}) is running already.")
        try:
            self._make_directory()
            lock = self._locked()
        except OSError as error:
            raise self._trouble(error) from None
        try:
            yield lock
        finally:
            os.close(lock)

    def remove(self) -> None:
        """Remove the file of a server that has ended, unless another one has it by now."""
        with suppress(OSError):
            lock = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                if _is_free(lock):
                    self.path.unlink()
            finally:
                os.close(lock)

    def _look(self) -> tuple[bool, int | None]:
        """Return whether the file is locked, and the id in it. Raises ControlError."""
        try:
            self._check_directory()
            lock = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            return False, None
        except OSError as error:
            raise self._trouble(error) from None
        try:
            # Shared, so that two that look do not take each other for the server.
            return not _is_free(lock, fcntl.LOCK_SH), _content(lock)
        finally:
            os.close(lock)

    def _make_directory(self) -> None:
        """Make the temporary directory where the file is in it. Raises OSError, ControlError."""
        if self._is_temporary():
            self.path.parent.mkdir(mode=0o700, exist_ok=True)
            self._check_directory()

    def _check_directory(self) -> None:
        """Raise ControlError when another user can write to the temporary directory, OSError without it."""
        if not self._is_temporary():
            return
        directory = self.path.parent
        seen = directory.lstat()
        if seen.st_uid != os.geteuid() or seen.st_mode & 0o022 or not stat.S_ISDIR(seen.st_mode):
            raise ControlError(f"{directory} belongs to another user: name a file with --pid-file.")

    def _is_temporary(self) -> bool:
        return self.path.parent == _temporary_directory()

    def _locked(self) -> int:
        """Return the file, opened and locked. Raises OSError, ControlError."""
        until = time.monotonic() + LOCK_SECONDS
        while True:
            lock = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
            # A file that was removed between the two calls locks nothing.
            if _is_free(lock) and _is_same(lock, self.path):
                return lock
            os.close(lock)
            if time.monotonic() >= until:
                raise ControlError(f"{self._program} is being started by another glance-control: {self.path}.")
            time.sleep(0.05)

    def _is_program(self, pid: int) -> bool:
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            return False
        # The interpreter comes first, then the script. Where the title can be set, gunicorn puts the name in brackets.
        name = self._program.encode()
        return any(os.path.basename(word) == name for word in words[:2]) or words[0].endswith(b"[" + name + b"]")

    def _trouble(self, error: OSError) -> ControlError:
        return ControlError(f"the pid file {self.path} cannot be used: {error.strerror}.")


def write(lock: int, pid: int) -> None:
    """Write the id of the process that has the server's place now."""
    text = f"{pid}\n".encode()
    # In this order no reader finds the file empty; the rest of a longer id is behind the first line, which counts.
    os.pwrite(lock, text, 0)
    os.ftruncate(lock, len(text))


def _content(lock: int) -> int | None:
    text = os.pread(lock, 32, 0).partition(b"\n")[0].strip()
    return int(text) if text.isdigit() and 0 < int(text) < 2**31 else None


def _is_free(lock: int, how: int = fcntl.LOCK_EX) -> bool:
    """Try to lock the file."""
    try:
        fcntl.flock(lock, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_same(lock: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(lock), path.lstat())
    except FileNotFoundError:
        return False
