"""Fixed VHDs, the kind that Azure and Hyper-V exchange: the data of the disk, and one footer at the very end."""

import struct

from glance_common.model.errors import UnsupportedMediaType

FOOTER = 512
"""Bytes of the footer."""

_FIXED = 2
_COOKIE = b"conectix"


def is_fixed(end: bytes) -> bool:
    """Say whether a file that ends so is a fixed VHD; ``end`` is its last 512 bytes."""
    return len(end) == FOOTER and end.startswith(_COOKIE) and struct.unpack_from(">I", end, 60) == (_FIXED,)


def fixed_size(end: bytes, size: int) -> int:
    """Return the bytes of the disk in a file of ``size`` bytes. Raises UnsupportedMediaType when they are not there."""
    (told,) = struct.unpack_from(">Q", end, 48)
    if not 0 < told <= size - FOOTER:
        raise UnsupportedMediaType("the vhd image is damaged: its footer tells another size than it has")
    return int(told)
