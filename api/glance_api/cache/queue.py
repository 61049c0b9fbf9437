"""Images that are to be fetched ahead of their first reader: empty files, the oldest first, as in the original."""

import os
import time
from contextlib import suppress

from glance_api.cache.layout import CacheLayout, touch, unlinked
from glance_api.cache.wanted import is_cacheable


class PrefetchQueue:
    """The folder ``queue/``. Its methods raise OSError."""

    def __init__(self, layout: CacheLayout) -> None:
        self._folder = layout.queue

    def add(self, image_id: str) -> bool:
        """Queue an image; False when it is queued already."""
        return touch(f"{self._folder}/{image_id}")

    def ids(self) -> list[str]:
        """Return the queued images in their order."""
        found = []
        with os.scandir(self._folder) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):
                    if is_cacheable(entry.name):
                        found.append((entry.stat(follow_symlinks=False).st_mtime_ns, entry.name))
        return [image_id for _, image_id in sorted(found)]

    def remove(self, image_id: str) -> bool:
        """Take an image out; False when it was not queued."""
        return unlinked(f"{self._folder}/{image_id}")

    def postpone(self, image_id: str) -> None:
        """Put an image at the end."""
        with suppress(FileNotFoundError):
            now = time.time_ns()
            os.utime(f"{self._folder}/{image_id}", ns=(now, now))
