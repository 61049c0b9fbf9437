"""Repeat an update when another caller wrote between its read and its write."""

from collections.abc import Callable
from typing import TypeVar

from glance_common.model.errors import Conflict, VersionConflict

T = TypeVar("T")

UPDATE_TRIES = 4
"""An update that meets another one is repeated up to three times."""


def retry_conflicts(image_id: str, update: Callable[[], T]) -> T:
    """Return the result of ``update``, which reads the image anew each time. Raises Conflict after the last try."""
    for _ in range(UPDATE_TRIES):
        try:
            return update()
        except VersionConflict:
            continue
    raise Conflict(f"image {image_id} was changed by others all the time; try again")
