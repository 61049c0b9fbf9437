"""What is known of the copies: hits, counted in memory and recorded in batches, and which of them were found right.

No trouble of the index reaches a reader: an index that is broken is made anew from the directory.
"""

import logging
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import TypeVar

from glance_api.cache.index.contract import CacheIndex, IndexBroken, IndexBusy, IndexEntry, Use
from glance_api.cache.layout import CacheLayout
from glance_api.cache.wanted import CachedImage

LOG = logging.getLogger(__name__)

T = TypeVar("T")
_Mark = tuple[int, int, int]
"""Inode, bytes and time of the last change: another file, or a changed one, has another."""


class CacheRecords:
    """Counts uses and remembers verified copies, in this process and in ``index``."""

    def __init__(self, layout: CacheLayout, index: CacheIndex) -> None:
        self._layout = layout
        self._index = index
        self._lock = threading.Lock()
        self._uses: dict[str, Use] = {}
        self._marks: dict[str, _Mark] = {}
        self._is_told = False
        self._is_lost = False

    def is_verified(self, image_id: str, seen: os.stat_result) -> bool:
        """Say whether the data of the copy that has these facts were found right."""
        mark = _mark(seen)
        if self._marks.get(image_id) == mark:
            return True
        entry = self._asked(lambda: self._index.get(image_id), None)
        if entry is None or not entry.verified or entry.verified != seen.st_mtime_ns or entry.size != seen.st_size:
            return False
        self._marks[image_id] = mark
        return True

    def verified(self, image_id: str, seen: os.stat_result, checksum: str | None) -> None:
        """Record a copy whose data were found right."""
        self._marks[image_id] = _mark(seen)
        known = self._asked(lambda: self._index.get(image_id), None)
        entry = IndexEntry(image_id, seen.st_size, seen.st_mtime, seen.st_mtime_ns, checksum=checksum)
        if known is not None:
            entry = replace(entry, hits=known.hits, accessed=known.accessed)
        self._asked(lambda: self._index.put(entry), None)

    def used(self, image_id: str) -> None:
        """Count a hit."""
        now = time.time()
        with self._lock:
            known = self._uses.get(image_id)
            self._uses[image_id] = Use(1 + (known.hits if known else 0), now)

    def forget(self, image_id: str) -> None:
        """Drop what is known of a copy that is gone."""
        with self._lock:
            self._uses.pop(image_id, None)
        self._marks.pop(image_id, None)
        self._asked(lambda: self._index.remove(image_id), None)

    def flush(self) -> None:
        """Record what was counted, and what this process knows of copies that the index has lost."""
        with self._lock:
            uses, self._uses = self._uses, {}
        unknown: list[str] | None = self._asked(lambda: self._index.count(uses), None) if uses else []
        if unknown is None:
            self._keep(uses)
        elif unknown or self._is_lost:
            self._is_lost = False
            with suppress(OSError):
                self._keep({
                    image_id: uses[image_id] for image_id in unknown
                    if self._layout.inode_of(f"{self._layout.directory}/{image_id}") is not None
                })
                self.unverified()

    def _keep(self, uses: dict[str, Use]) -> None:
        """Keep uses that could not be recorded for the next time."""
        with self._lock:
            for image_id, use in uses.items():
                later = self._uses.get(image_id, Use(0, 0.0))
                self._uses[image_id] = Use(later.hits + use.hits, max(later.accessed, use.accessed))

    def entries(self) -> list[CachedImage]:
        """Return the copies in the directory with what is recorded of them, by image id. Raises OSError."""
        self.flush()
        known: dict[str, IndexEntry] = self._asked(self._index.all, {})
        found = []
        for file in sorted(self._layout.copies(), key=lambda each: each.image_id):
            entry = known.get(file.image_id) or IndexEntry(file.image_id, file.size, file.modified, 0)
            found.append(CachedImage(
                file.image_id, file.size, entry.hits, entry.accessed, entry.modified or file.modified, entry.checksum,
            ))
        return found

    def unverified(self) -> list[str]:
        """Return the images of the copies that nothing says of that they are right. Raises OSError."""
        known: dict[str, IndexEntry] | None = self._asked(self._index.all, None)
        if known is None:
            return []
        found = []
        for file in self._layout.copies():
            with suppress(FileNotFoundError):
                seen = os.stat(f"{self._layout.directory}/{file.image_id}", follow_symlinks=False)
                entry = known.get(file.image_id)
                is_recorded = entry is not None and entry.verified == seen.st_mtime_ns and entry.size == seen.st_size
                if not is_recorded and self._marks.get(file.image_id) == _mark(seen):
                    # The index was lost, but not what this process has seen itself.
                    self.verified(file.image_id, seen, entry.checksum if entry else None)
                elif not is_recorded:
                    found.append(file.image_id)
        return found

    def match(self) -> None:
        """Forget the entries whose copies are gone. Raises OSError."""
        there = {file.image_id for file in self._layout.copies()}
        known: dict[str, IndexEntry] = self._asked(self._index.all, {})
        for image_id in {*known, *list(self._marks)} - there:
            self.forget(image_id)

    def _asked(self, ask: Callable[[], T], otherwise: T) -> T:
        """Return what the index says, ``otherwise`` when it cannot be asked. A broken one is made anew."""
        for _ in range(2):
            try:
                answer = ask()
            except IndexBusy as error:
                self._tell(error)
                return otherwise
            except IndexBroken as error:
                LOG.warning("the index of the image cache is broken and made anew from the directory: %s", error)
                self._is_lost = True
                try:
                    self._index.renew()
                except OSError as problem:
                    self._tell(problem)
                    return otherwise
            else:
                self._is_told = False
                return answer
        return otherwise

    def _tell(self, error: Exception) -> None:
        """Log the trouble once until it is over."""
        level = logging.DEBUG if self._is_told else logging.WARNING
        self._is_told = True
        LOG.log(level, "the index of the image cache cannot be used now: %s", error)


def _mark(seen: os.stat_result) -> _Mark:
    return seen.st_ino, seen.st_size, seen.st_mtime_ns
