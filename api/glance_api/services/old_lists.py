"""The images of which a store has an older list of readers than our records; each process keeps its own."""

import logging
import threading
import time
from collections.abc import Callable

LOG = logging.getLogger(__name__)

MOST = 10_000
"""Images that are kept; more fail only while a store is down for long."""

PAUSE = 20.0
"""Seconds until stores are told again."""


class OldLists:
    """A set of image ids, oldest first, bounded."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._changed = threading.Lock()
        self._images: dict[str, None] = {}
        self._not_before = 0.0

    def note(self, image_id: str, *, is_old: bool) -> None:
        """Note that a store could not be told about an image, or that all know."""
        with self._changed:
            if not is_old:
                self._images.pop(image_id, None)
                return
            self._not_before = self._clock() + PAUSE
            if image_id not in self._images and len(self._images) >= MOST:
                lost = next(iter(self._images))
                del self._images[lost]
                LOG.error("image %s: its stores are not told any more who may read it: change its members again", lost)
            self._images[image_id] = None

    def due(self) -> list[str]:
        """Return the images whose stores are to be told now: none for some seconds after a failure."""
        with self._changed:
            return list(self._images) if self._clock() >= self._not_before else []
