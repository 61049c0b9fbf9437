"""Fixed VHDs, the kind that Azure and Hyper-V exchange: the data of the disk, and one footer at the very end."""

import struct

from glance_common.model.errors import UnsupportedMediaType

FOOTER = 512
"""Bytes of the footer."""

_FIXED, _DYNAMIC = 2, 3
COOKIE = b"conectix"
_KIND = 60


def is_fixed(end: bytes) -> bool:
    """Say whether a file that ends so is a fixed VHD; ``end`` is its last 512 bytes."""
    return len(end) == FOOTER and end.startswith(COOKIE) and _kind(end) == _FIXED


def has_parent(end: bytes) -> bool:
    """Say whether a file that ends so is a VHD that may refer to another one; some readers look here first."""
    return len(end) == FOOTER and end.startswith(COOKIE) and _kind(end) not in (_FIXED, _DYNAMIC)


def _kind(end: bytes) -> int:
    return int(struct.unpack_from(">I", end, _KIND)[0])


def fixed_size(end: bytes, size: int) -> int:
    """Return the bytes of the disk in a file of ``size`` bytes. Raises UnsupportedMediaType when they are not there."""
    (told,) = struct.unpack_from(">Q", end, 48)
    if not 0 < told <= size - FOOTER:
        raise UnsupportedMediaType("the vhd image is damaged: its footer tells another size than it has")
    return int(told)
