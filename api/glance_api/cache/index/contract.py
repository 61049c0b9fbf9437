"""The index of a cache: what is known of its copies beside the files themselves.

The files are the truth: a copy without an entry is there and not verified, an entry without a copy means nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol


class IndexBroken(Exception):
    """The index cannot be read and has to be made anew."""


class IndexBusy(Exception):
    """The index cannot be used now."""


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """What is recorded of one copy.

    ``verified`` is the time of the last change (ns) of the file whose data were found right; 0 = never. ``accessed``
    and ``modified`` are seconds of the epoch, ``accessed`` 0 until the first hit.
    """

    image_id: str
    size: int
    modified: float
    verified: int
    hits: int = 0
    accessed: float = 0.0
    checksum: str | None = None


@dataclass(frozen=True, slots=True)
class Use:
    """How often a copy was used since it was recorded last, and when last."""

    hits: int
    accessed: float


class CacheIndex(Protocol):
    """Entries by image id. Each method may be called from many threads and processes, and raises IndexBroken or
    IndexBusy."""

    def put(self, entry: IndexEntry) -> None:
        """Record the entry in place of any other of its image."""

    def get(self, image_id: str) -> IndexEntry | None:
        """Return the entry of an image, None when there is none."""

    def all(self) -> dict[str, IndexEntry]:
        """Return all entries."""

    def remove(self, image_id: str) -> None:
        """Forget the entry of an image, if there is one."""

    def count(self, uses: Mapping[str, Use]) -> list[str]:
        """Add these uses to the entries; return the images that have no entry."""

    def renew(self) -> None:
        """Make an empty index in place of one that is broken. Raises OSError."""
