"""Expandable disks of Parallels and Virtuozzo (disk format ploop)."""

import struct

_MAGICS = (b"WithoutFreeSpace", b"WithouFreSpacExt")
_SECTORS = 36


def virtual_size(head: bytes) -> int | None:
    """Return the bytes of the disk whose file begins so; None when the header tells none."""
    if len(head) < _SECTORS + 8 or not head.startswith(_MAGICS):
        return None
    (sectors,) = struct.unpack_from("<Q", head, _SECTORS)
    if head.startswith(_MAGICS[0]):
        sectors &= 0xFFFFFFFF
    return sectors * 512 if 0 < sectors < 2**50 else None
