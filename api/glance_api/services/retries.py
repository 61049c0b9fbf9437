"""Repeat an update when another caller wrote between its read and its write."""

import time
from collections.abc import Callable
from typing import TypeVar

from glance_common.model.errors import Conflict, VersionConflict
from glance_common.retry import Backoff

T = TypeVar("T")

FEWEST_TRIES = 4
"""An update that meets another one is tried so often, however long each try takes."""

PATIENCE = 5.0
"""Seconds after which it is not tried again: its thread is missing to others meanwhile."""

FIRST_PAUSE, LONGEST_PAUSE = 0.002, 0.1
"""Seconds between tries, so that two updates do not meet again and again."""


def retry_conflicts(image_id: str, update: Callable[[], T], sleep: Callable[[float], None] = time.sleep) -> T:
    """Return the result of ``update``, which reads the image anew each time. Raises Conflict after the last try."""
    end = time.monotonic() + PATIENCE
    pauses = Backoff(FIRST_PAUSE, LONGEST_PAUSE)
    tries = 0
    while tries < FEWEST_TRIES or time.monotonic() < end:
        try:
            return update()
        except VersionConflict:
            tries += 1
            sleep(pauses.next())
    raise Conflict(f"image {image_id} was changed by others all the time; try again")
