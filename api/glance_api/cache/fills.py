"""Single flight: at most one fill of an image on this node, and every further reader follows its file."""

import logging
import os
import threading
import time
from dataclasses import dataclass

from glance_api.cache.fill import Fill, FillFile, FillTools, is_read
from glance_api.cache.growing import FillEnd, GrowingFile
from glance_api.cache.layout import CacheFile
from glance_api.cache.locks import CacheLock
from glance_api.cache.room import CacheRoom
from glance_api.cache.wanted import WantedData, is_cacheable
from glance_common.failpoints import failpoint

LOG = logging.getLogger(__name__)

_TRIES, _PAUSE = 50, 0.02
"""Looks for the file of another process that has the lock and not the file yet, and the seconds between two of them."""

_LOOK = 1.0
"""Seconds for which the file of another process must stand still to be given up."""

_STOP_WITHIN = 2.0
"""Seconds that fills have to end when the process does; each ends with the next piece that its store gives."""


@dataclass(frozen=True, slots=True)
class Joined:
    """A file that grows, and whether this very call began to fill it."""

    growing: GrowingFile
    is_new: bool


class Fills:
    """The fills of one process, and those of other processes that readers of this one follow."""

    def __init__(self, tools: FillTools, room: CacheRoom, most: int) -> None:
        self._tools = tools
        self._room = room
        self._permits = threading.BoundedSemaphore(most)
        self._lock = threading.Lock()
        self._known: dict[str, GrowingFile] = {}
        self._threads: dict[threading.Thread, Fill] = {}
        self._is_told = False

    def join(self, wanted: WantedData, *, may_start: bool, rate: int = 0, waits: bool = True) -> Joined | None:
        """Return the file of the image that grows, to be left by the caller; None when none does, or none can.

        With ``may_start`` a fill begins when there is none. If the caller ``waits``, its thread opens the store for
        that, and raises what the store raises.
        """
        for _ in range(_TRIES):
            with self._lock:
                known = self._known.get(wanted.image_id)
                if known is not None and known.enter():
                    return Joined(known, is_new=False)
                fill, growing = self._begin(wanted, rate) if may_start else (None, None)
                if growing is None:
                    growing = self._watched(wanted.image_id)
            if growing is not None:
                return Joined(growing, is_new=False) if fill is None else self._started(fill, growing, waits)
            if not self._is_filled(wanted.image_id):
                return None
            time.sleep(_PAUSE)
        return None

    def rejoin(self, wanted: WantedData, left: GrowingFile) -> GrowingFile | None:
        """Return the file that a reader follows in place of ``left``, whose process died; None when there is none.

        The same file goes on: what the reader has sent of it is verified with the rest.
        """
        found = self.join(wanted, may_start=True)
        if found is None or found.growing.inode == left.inode:
            return found.growing if found else None
        found.growing.leave()
        return None

    def sweep(self, stall_time: float, *, of_others: bool = False) -> int:
        """Remove the unfinished files of dead processes, and those that did not grow for ``stall_time`` seconds.

        Each process knows that of its own fills, whatever the clock says; ``of_others``: look at the files of others
        too. Return how many went. Raises OSError.
        """
        count = 0
        for file in self._tools.layout.unfinished():
            known = self._known.get(file.image_id)
            is_stalled = known.is_stalled(stall_time) if known else of_others and self._stands_still(file, stall_time)
            lock = self._tools.locks.fill(file.image_id)
            try:
                descriptor = self._tools.layout.open_incomplete(file.image_id) if lock or is_stalled else None
                if descriptor is None:
                    continue
                try:
                    if is_stalled or not is_read(descriptor):
                        self._tools.layout.drop_incomplete(file.image_id, os.fstat(descriptor).st_ino)
                        count += 1
                finally:
                    os.close(descriptor)
            finally:
                if lock is not None:
                    lock.close()
        return count

    def _stands_still(self, file: CacheFile, stall_time: float) -> bool:
        """Say whether the file was not changed for a long time, and is not while this looks: the clock may be wrong."""
        if abs(time.time() - file.modified) <= stall_time:
            return False
        until = time.monotonic() + _LOOK
        while time.monotonic() < until:
            if self._tools.stopping.wait(_PAUSE):
                return False
            now = next((each for each in self._tools.layout.unfinished() if each.image_id == file.image_id), None)
            if now is None or (now.size, now.modified) != (file.size, file.modified):
                return False
        return True

    def stop(self) -> None:
        """End the fills of this process; readers in other processes go on with them. A store may hang meanwhile."""
        self._tools.stopping.set()
        until = time.monotonic() + _STOP_WITHIN
        for thread, fill in list(self._threads.items()):
            thread.join(max(until - time.monotonic(), 0))
            if thread.is_alive():
                fill.leave_to_others()

    def _is_filled(self, image_id: str) -> bool:
        try:
            return self._tools.locks.is_filled(image_id)
        except OSError:
            return False

    def _begin(self, wanted: WantedData, rate: int) -> tuple[Fill | None, GrowingFile | None]:
        """Return a fill and the file that it will fill, used by the caller and by the fill; None when there is none."""
        if self._tools.stopping.is_set() or not is_cacheable(wanted.image_id):
            return None, None
        if not self._permits.acquire(blocking=False):
            return None, None
        try:
            file = self._file(wanted)
            self._is_told = False
        except OSError as error:
            self._tell(error)
            file = None
        if file is None:
            self._permits.release()
            return None, None
        growing = file.growing
        growing.enter()
        self._known[wanted.image_id] = growing
        return Fill(self._tools, wanted, file, rate, lambda: self._forget(wanted.image_id, growing)), growing

    def _tell(self, error: OSError) -> None:
        """Log the trouble once until it is over."""
        level = logging.DEBUG if self._is_told else logging.ERROR
        self._is_told = True
        LOG.log(level, "the image cache takes no new images now: %s", error.strerror or error)

    def _file(self, wanted: WantedData) -> FillFile | None:
        """Return the unfinished file under its lock, None when another has the lock or there is no room."""
        lock = self._tools.locks.fill(wanted.image_id)
        if lock is None:
            return None
        try:
            file = None if self._is_there(wanted) else self._adopted(wanted, lock) or self._created(wanted, lock)
        except BaseException:
            lock.close()
            raise
        if file is None:
            lock.close()
        return file

    def _is_there(self, wanted: WantedData) -> bool:
        """Say whether a copy came between the look for it and the lock."""
        try:
            seen = os.stat(f"{self._tools.layout.directory}/{wanted.image_id}", follow_symlinks=False)
        except FileNotFoundError:
            return False
        return seen.st_size == wanted.size and self._tools.records.is_verified(wanted.image_id, seen)

    def _adopted(self, wanted: WantedData, lock: CacheLock) -> FillFile | None:
        """Return the file that a dead process left, if readers of the living still follow it."""
        reading = self._tools.layout.open_incomplete(wanted.image_id)
        if reading is None:
            return None
        growing = GrowingFile(reading)
        descriptor = self._tools.layout.reopen_incomplete(wanted.image_id, growing.inode)
        if descriptor is not None and growing.size <= wanted.size and is_read(descriptor):
            return FillFile(lock, descriptor, growing, growing.size)
        growing.leave()
        if descriptor is not None:
            os.close(descriptor)
        return None

    def _created(self, wanted: WantedData, lock: CacheLock) -> FillFile | None:
        room = self._tools.locks.room()
        if room is None:
            return None
        try:
            if not self._room.make(wanted.size, wanted.image_id):
                return None
            descriptor = self._tools.layout.create_incomplete(wanted.image_id, wanted.size)
        finally:
            room.close()
        reading = None
        try:
            reading = self._tools.layout.open_incomplete(wanted.image_id)
        finally:
            if reading is None:
                os.close(descriptor)
        return None if reading is None else FillFile(lock, descriptor, GrowingFile(reading))

    def _started(self, fill: Fill, growing: GrowingFile, waits: bool) -> Joined | None:
        """Start the fill's thread, which opens the store unless this one ``waits`` for it.

        Raises what the store raises.
        """
        try:
            if waits:
                fill.open()
            thread = threading.Thread(target=self._run, args=(fill,), name="cache-fill", daemon=True)
            self._threads[thread] = fill
            thread.start()
        except BaseException as error:
            fill.abandon()
            growing.leave()
            if isinstance(error, RuntimeError):
                # The system gives no more threads.
                return None
            raise
        return Joined(growing, is_new=True)

    def _run(self, fill: Fill) -> None:
        try:
            fill.run()
        finally:
            self._threads.pop(threading.current_thread(), None)

    def _forget(self, image_id: str, growing: GrowingFile) -> None:
        self._permits.release()
        with self._lock:
            if self._known.get(image_id) is growing:
                del self._known[image_id]

    # --- files that other processes fill ---

    def _watched(self, image_id: str) -> GrowingFile | None:
        """Return the file that another process fills, used by the caller and by a thread that watches it."""
        try:
            if not self._tools.locks.is_filled(image_id):
                return None
            descriptor = self._tools.layout.open_incomplete(image_id)
        except OSError:
            return None
        if descriptor is None:
            return None
        growing = GrowingFile(descriptor)
        growing.enter()
        thread = threading.Thread(target=self._watch, args=(image_id, growing), name="cache-watch", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            growing.leave()
            growing.leave()
            return None
        self._known[image_id] = growing
        return growing

    def _watch(self, image_id: str, growing: GrowingFile) -> None:
        """Tell the readers of this process what another one does, until it ends or no reader is left."""
        while not self._is_over(image_id, growing):
            try:
                self._look(image_id, growing)
            except OSError as error:
                LOG.warning("the image cache cannot be watched: %s", error.strerror)
                growing.ended(FillEnd.GONE)
            if growing.end is None:
                growing.pause()
        growing.leave()

    def _is_over(self, image_id: str, growing: GrowingFile) -> bool:
        """Say whether nothing is left to watch; the file is not offered to further readers then."""
        with self._lock:
            if growing.end is None and growing.users > 1:
                return False
            if self._known.get(image_id) is growing:
                del self._known[image_id]
            return True

    def _look(self, image_id: str, growing: GrowingFile) -> None:
        if self._tools.locks.is_verified(image_id) and self._is_incomplete(image_id, growing):
            growing.ended(FillEnd.VERIFIED)
            return
        is_filled = self._tools.locks.is_filled(image_id)
        size = os.fstat(growing.descriptor).st_size
        if size > growing.size:
            growing.grown(size)
        if not is_filled:
            end = self._ended(image_id, growing)
            if end is not None:
                growing.ended(end)

    def _is_incomplete(self, image_id: str, growing: GrowingFile) -> bool:
        layout = self._tools.layout
        return layout.inode_of(f"{layout.incomplete}/{image_id}") == growing.inode

    def _ended(self, image_id: str, growing: GrowingFile) -> FillEnd | None:
        """Return what became of a file whose filler has let it go; None when another has taken it over already."""
        layout = self._tools.layout
        if layout.inode_of(f"{layout.directory}/{image_id}") == growing.inode:
            return FillEnd.VERIFIED
        if self._is_incomplete(image_id, growing):
            failpoint("cache.watch.dead")
            return None if self._tools.locks.is_filled(image_id) else FillEnd.DEAD
        if layout.inode_of(f"{layout.invalid}/{image_id}") == growing.inode:
            return FillEnd.FAILED
        return FillEnd.GONE
