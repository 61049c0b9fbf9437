"""What a VMDK may say about itself (S-19).

The descriptor inside the file can name others: extents that hold the data, and a parent. The inspectors of oslo.utils
know neither a parent nor that a capacity of zero makes readers follow the extents, so that is looked at here.
"""

import re
import struct

HEAD = 32 * 1024
"""Bytes at the beginning that ``complaint`` needs: the header and the longest descriptor that readers look at."""

_DESCRIPTOR = 512
_TEXT_ONLY = re.compile(rb"(?:#[^\n]*\n|[ \t]*\r?\n)*version=\d+\s", re.IGNORECASE)
"""A descriptor without data: qemu takes any file that begins so for a VMDK and follows the names in it."""

_EXTENT = re.compile(rb"^[ \t]*(?:rw|rdonly|noaccess)[ \t]+\d+[ \t]+(\w+)", re.MULTILINE)


def is_descriptor(head: bytes) -> bool:
    """Say whether the file is nothing but a descriptor, whatever its declared format."""
    return _TEXT_ONLY.match(head) is not None


def complaint(head: bytes) -> str | None:
    """Return why the VMDK with this beginning must not be used, None when nothing speaks against it.

    Only images that hold all their data themselves pass: one sparse extent, no parent.
    """
    if len(head) < _DESCRIPTOR:
        return "it has no header"
    text, end, _ = head[_DESCRIPTOR:].partition(b"\0")
    text = text.lower()
    (capacity,) = struct.unpack_from("<Q", head, 12)
    if capacity == 0:
        return "its header says that the data are elsewhere"
    if not end:
        return "its descriptor has no end"
    if b"parentfilenamehint" in head.lower():
        return "it names a parent"
    if text.count(b"createtype") != 1:
        return "its descriptor must have one createType"
    if _EXTENT.findall(text) != [b"sparse"]:
        return "its descriptor must have one extent, of type SPARSE"
    return None
