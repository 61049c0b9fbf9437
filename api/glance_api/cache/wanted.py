"""What a reader wants, and what the cache tells of its copies."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from glance_common.model.stored_copy import Damage
from glance_common.stores.contract import Blob

_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def is_cacheable(image_id: str) -> bool:
    """Say whether the id may name a file of the cache: only a UUID in its usual form may (S-66)."""
    return _ID.fullmatch(image_id) is not None


@dataclass(frozen=True, slots=True)
class WantedData:
    """The data of one image: how they are known to be right, and where they come from.

    ``digest`` is what the whole ``size`` bytes have under ``algorithm``. ``open`` opens the data in a store, from an
    offset and for a number of bytes (None: to the end); it raises what a read without the cache raises. ``damaged`` is
    told when the whole that ``open`` gave last is wrong, and how; it never raises.
    """

    image_id: str
    size: int
    algorithm: str
    digest: str
    checksum: str | None
    open: Callable[[int, int | None], Blob]
    damaged: Callable[[Damage, str], None]


@dataclass(frozen=True, slots=True)
class CachedImage:
    """A copy in the cache. Times are seconds of the epoch; ``last_accessed`` is 0 until the first hit."""

    image_id: str
    size: int
    hits: int
    last_accessed: float
    last_modified: float
    checksum: str | None


@dataclass(frozen=True, slots=True)
class Pruned:
    """What was removed: files and their bytes."""

    files: int
    size: int
