"""One directory in which the worker processes of a daemon add up their numbers: prometheus-client's multiprocess mode.

Each process has files of its own, mapped into its memory: what it counted is there after kill -9. The files of ended
processes are folded into one, so that neither their number nor the time of a scrape grows with the reloads.
"""

import fcntl
import logging
import os
import shutil
import tempfile
from pathlib import Path

from prometheus_client import CollectorRegistry, values
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector

from glance_common.observability.metrics import catalog

log = logging.getLogger(__name__)

_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
_PREFIX = "glance-metrics-"
_ENDED = "ended"
_FILES = {"counter": 1 << 18, "histogram": 1 << 20, "gauge_livesum": 1 << 16, "gauge_livemax": 1 << 16}
"""Kinds of files and the bytes that are set aside for each: some thousand series."""


class SharedNumbers:
    """The directory of one daemon: made by its master before the first fork, removed when the master ends."""

    def __init__(self, parent: Path | None = None) -> None:
        """Make the directory and remove those of masters that were killed. Raises OSError."""
        shm = Path("/dev/shm")  # noqa: S108 - only as the parent of a private directory with a random name
        self._parent = parent or (shm if os.access(shm, os.W_OK | os.X_OK) else Path(tempfile.gettempdir()))
        self._remove_abandoned()
        self.path, self._lock = self._make()
        try:
            self._set_aside(_ENDED)
        except OSError:
            self.close()
            raise
        # A master may have counted while it checked its configuration.
        os.environ.pop(_VARIABLE, None)
        catalog.forget()
        os.environ[_VARIABLE] = str(self.path)
        values.ValueClass = values.MultiProcessValue()

    def _make(self) -> tuple[Path, int]:
        """Return a new directory with the lock that keeps others from removing it, until all our processes ended."""
        while True:
            path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=self._parent))
            lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
            fcntl.flock(lock, fcntl.LOCK_EX)
            if path.exists():
                return path, lock
            # Another daemon started at the same moment and removed it as abandoned before it was locked.
            os.close(lock)

    def _remove_abandoned(self) -> None:
        for path in self._parent.glob(f"{_PREFIX}*"):
            try:
                descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            except OSError:
                continue
            try:
                if os.fstat(descriptor).st_uid == os.geteuid():
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(path, ignore_errors=True)
            except BlockingIOError:
                log.debug("%s belongs to a running service", path)
            finally:
                os.close(descriptor)

    def enter(self) -> None:
        """Begin to count in this process, which was just forked.

        The room is set aside now: a process that found the disk full only when it counts would be killed (SIGBUS).
        Without room this process counts for itself and its numbers are missing from the sums.
        """
        try:
            self._set_aside(str(os.getpid()))
        except OSError as error:
            values.ValueClass = values.MutexValue
            for kind in _FILES:
                (self.path / f"{kind}_{os.getpid()}.db").unlink(missing_ok=True)
            log.warning("the metrics of this process are not counted: %s: %s", self.path, error.strerror)

    def _set_aside(self, owner: str) -> None:
        for kind, size in _FILES.items():
            with (self.path / f"{kind}_{owner}.db").open("a+b") as file:
                os.posix_fallocate(file.fileno(), 0, size)

    def collector_registry(self) -> CollectorRegistry:
        """Return a registry with the sums over all processes."""
        registry = CollectorRegistry()
        MultiProcessCollector(registry, path=str(self.path))
        return registry

    def fold_ended(self) -> None:
        """Add the counts of ended processes to those of earlier ones and remove their files.

        Called by one process only, never at the same time as a collection.
        """
        for path in sorted(self.path.glob("*_*.db")):
            kind, _, owner = path.stem.rpartition("_")
            if owner == _ENDED or _is_running(int(owner)):
                continue
            if not kind.startswith("gauge"):
                self._fold(path, self.path / f"{kind}_{_ENDED}.db")
            path.unlink(missing_ok=True)

    @staticmethod
    def _fold(source: Path, target: Path) -> None:
        sums = MmapedDict(str(target))
        for key, value, _timestamp, _position in MmapedDict.read_all_values_from_file(str(source)):
            sums.write_value(key, sums.read_value(key)[0] + value, 0.0)
        sums.close()

    def close(self) -> None:
        """Remove everything; the last of our processes to use it."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        # It belongs to another user by now.
        return False
    return True
