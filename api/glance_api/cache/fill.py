"""One fill: from a store into an unfinished file, verified, then under its final name."""

import fcntl
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import suppress
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

from glance_api.cache.growing import FillEnd, GrowingFile
from glance_api.cache.layout import CacheLayout
from glance_api.cache.locks import CacheLock, Locks
from glance_api.cache.records import CacheRecords
from glance_api.cache.wanted import WantedData
from glance_common.body import MIB
from glance_common.digests import Digests
from glance_common.failpoints import failpoint
from glance_common.model.stored_copy import Damage
from glance_common.observability.metrics.catalog import CACHE_BYTES, CACHE_FILLS, CACHE_FILLS_RUNNING
from glance_common.stores.contract import Blob, StoreError
from glance_common.stores.decorators.read_ahead import ReadAhead
from glance_common.stores.drivers.file.writeback import WriteBehind

LOG = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

_STEP = 0.1
"""Longest pause of a slow fill between two looks whether a reader has come."""


class _FreeThreads(Executor):
    """Runs each call in a thread of its own that keeps no process alive: a store may hang when the service stops.

    There are as many calls as there are fills, which are bounded.
    """

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Start the call. The future is never done: its caller learns by other means."""
        threading.Thread(target=fn, args=args, kwargs=kwargs, name="cache-read", daemon=True).start()
        return Future()


_READERS = _FreeThreads()


class _NotTheImage(Exception):
    """What the store gave is shorter, longer or other than the image."""

    def __init__(self, damage: Damage, detail: str) -> None:
        super().__init__(detail)
        self.damage = damage


class _NoDisk(Exception):
    """The file cannot be written."""


class _Stopped(Exception):
    """The process ends."""


@dataclass(frozen=True, slots=True)
class FillTools:
    """What all fills of a process work with; ``stopping`` says that the process ends."""

    layout: CacheLayout
    locks: Locks
    records: CacheRecords
    stopping: threading.Event


@dataclass(frozen=True, slots=True)
class FillFile:
    """The file that a fill writes: its lock, its descriptor, and how it is read; ``begun`` bytes are there already."""

    lock: CacheLock
    descriptor: int
    growing: GrowingFile
    begun: int = 0


class Fill:
    """Call ``open`` in the thread of the first reader if that may wait, then ``run`` in another one, or ``abandon``."""

    def __init__(
        self, tools: FillTools, wanted: WantedData, file: FillFile, rate: int, over: Callable[[], None]
    ) -> None:
        """``rate`` bounds the bytes per second while there are no readers, 0 = not; ``over`` is called at the end."""
        self._tools = tools
        self._wanted = wanted
        self._file = file
        self._rate = rate
        self._over = over
        self._blob: Blob | None = None
        self._ahead: ReadAhead | None = None
        CACHE_FILLS_RUNNING.labels("running").inc()

    def open(self) -> None:
        """Open the store, or raise what it raises, as a read without the cache does."""
        self._blob = self._wanted.open(self._file.begun, None)

    def abandon(self) -> None:
        """End the fill that cannot begin; readers that wait for it read the store themselves."""
        self._give_up("abandoned")
        self._close()

    def run(self) -> None:
        """Fill the file and commit it; the readers learn how it ended."""
        image_id = self._wanted.image_id
        started = time.monotonic()
        if self._blob is None and not self._opened():
            return
        try:
            self._receive()
            self._tools.locks.verified(image_id, self._file.lock)
            self._file.growing.ended(FillEnd.VERIFIED)
            self._commit()
            CACHE_FILLS.labels("stored").inc()
            LOG.info("image %s is in the cache: %d bytes in %.1f s", image_id, self._wanted.size,
                     time.monotonic() - started)
        except _Stopped:
            self.leave_to_others()
            CACHE_FILLS.labels("abandoned").inc()
        except (_NotTheImage, StoreError) as error:
            LOG.error("image %s is not kept in the cache, its store failed: %s", image_id, error)
            self._set_aside()
            if isinstance(error, _NotTheImage) and not self._file.begun:
                # What another process has begun may have come from another copy.
                self._wanted.damaged(error.damage, str(error))
        except (_NoDisk, OSError) as error:
            LOG.error("image %s cannot be kept in the cache: %s", image_id, error)
            self._give_up("disk")
        except Exception:
            LOG.exception("image %s cannot be kept in the cache", image_id)
            self._give_up("defect")
        finally:
            self._close()

    def _opened(self) -> bool:
        """Open the store; the readers read it themselves when that fails, and are told why."""
        try:
            self.open()
        except Exception as error:
            LOG.warning("image %s is not kept in the cache: %s", self._wanted.image_id, error)
            self.abandon()
            return False
        return True

    def _receive(self) -> None:
        """Write what the store gives, and find it right. Raises _NotTheImage, _NoDisk, and what the store raises."""
        wanted, file = self._wanted, self._file
        digests = Digests([wanted.algorithm])
        write, count = self._writer(), file.begun
        try:
            for piece in pieces_of(file.descriptor, file.begun):
                digests.update(piece)
            os.lseek(file.descriptor, file.begun, os.SEEK_SET)
            for piece in self._pieces():
                count += len(piece)
                if count > wanted.size:
                    break
                digests.update(piece)
                write(piece)
            found = digests.finish()[wanted.algorithm]
        finally:
            digests.close()
        if count != wanted.size:
            raise _NotTheImage(Damage.SIZE, f"{count} bytes or more came instead of {wanted.size}")
        if found != wanted.digest:
            raise _NotTheImage(Damage.DIGEST, f"{wanted.algorithm} is {found} instead of {wanted.digest}")

    def _pieces(self) -> Iterator[bytes]:
        assert self._blob is not None
        # Store and disk work at the same time, and each piece reaches the readers as soon as it is there.
        self._ahead = ReadAhead(self._blob, _READERS)
        counter = CACHE_BYTES.labels("filled")
        begun, count = time.monotonic(), 0
        for piece in self._ahead:
            if self._tools.stopping.is_set():
                raise _Stopped
            failpoint("cache.fill.piece")
            count += len(piece)
            counter.inc(len(piece))
            yield piece
            if self._rate:
                self._pace(begun + count / self._rate)

    def _pace(self, until: float) -> None:
        """Wait until the moment, or until a reader comes."""
        while (left := until - time.monotonic()) > 0 and not is_read(self._file.descriptor):
            if self._tools.stopping.wait(min(left, _STEP)):
                raise _Stopped

    def _writer(self) -> Callable[[bytes], None]:
        file = self._file
        behind = WriteBehind(file.descriptor)
        behind.size = file.begun

        def write(piece: bytes) -> None:
            view = memoryview(piece)
            try:
                while view:
                    view = view[os.write(file.descriptor, view):]
                behind.grown(len(piece))
            except OSError as error:
                raise _NoDisk(error.strerror) from error
            file.growing.grown(behind.size)

        return write

    def _commit(self) -> None:
        layout, image_id, file = self._tools.layout, self._wanted.image_id, self._file
        failpoint("cache.fill.before-sync")
        os.fdatasync(file.descriptor)
        failpoint("cache.fill.before-link")
        layout.used_now(file.descriptor)
        if not layout.commit(image_id, file.growing.inode):
            raise _NoDisk("the unfinished file was removed")
        failpoint("cache.fill.after-link")
        self._tools.records.verified(image_id, os.fstat(file.descriptor), self._wanted.checksum)

    def leave_to_others(self) -> None:
        """Remove the file because this process ends, unless readers of other processes go on with it."""
        with suppress(OSError):
            if not is_read(self._file.descriptor):
                self._tools.layout.drop_incomplete(self._wanted.image_id, self._file.growing.inode)
        self._file.growing.ended(FillEnd.GONE)

    def _give_up(self, outcome: str) -> None:
        with suppress(OSError):
            self._tools.layout.drop_incomplete(self._wanted.image_id, self._file.growing.inode)
        self._file.growing.ended(FillEnd.GONE)
        CACHE_FILLS.labels(outcome).inc()

    def _set_aside(self) -> None:
        layout = self._tools.layout
        try:
            layout.set_aside(f"{layout.incomplete}/{self._wanted.image_id}", self._file.growing.inode)
        except OSError as error:
            LOG.warning("image %s: its unfinished copy stays: %s", self._wanted.image_id, error.strerror)
        self._file.growing.ended(FillEnd.FAILED)
        CACHE_FILLS.labels("failed").inc()

    def _close(self) -> None:
        CACHE_FILLS_RUNNING.labels("running").dec()
        if self._ahead is not None:
            self._ahead.close()
        if self._blob is not None:
            self._blob.close()
        os.close(self._file.descriptor)
        self._over()
        # Last: a process that finds the image without this lock finds its file in its final place.
        self._file.lock.close()
        self._file.growing.leave()


def is_read(descriptor: int) -> bool:
    """Say whether a reader in any process has the file open, seen from a descriptor that is not a reader's."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.flock(descriptor, fcntl.LOCK_UN)
    except BlockingIOError:
        return True
    return False


def pieces_of(descriptor: int, end: int, start: int = 0) -> Iterator[bytes]:
    """Yield the bytes of an open file from ``start`` up to ``end``. Raises OSError, also when it has fewer."""
    at = start
    while at < end:
        piece = os.pread(descriptor, min(MIB, end - at), at)
        if not piece:
            raise OSError(f"{end - at} bytes are missing")
        at += len(piece)
        yield piece
