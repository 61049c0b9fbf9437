"""What a VMDK may say about itself (S-19).

The descriptor inside the file can name others: extents that hold the data, and a parent. The inspectors of oslo.utils
know neither a parent nor that a capacity of zero makes readers follow the extents, so that is looked at here.
"""

import re
import struct

HEAD = 32 * 1024
"""Bytes at the beginning that ``complaint`` needs: the header and the longest descriptor that readers look at."""

LONGEST_TEXT = 1024 * 1024
"""Bytes of a file that qemu reads as a descriptor, where nothing but text comes before."""

LONGEST_HEAD = 512 + LONGEST_TEXT
"""Bytes of a sparse VMDK that hold its header and the longest descriptor."""

FOOTER = 3 * 512
"""Bytes at the end that replace the header of a VMDK which says so."""

_SPARSE = b"KDMV"
_DESCRIPTOR = 512
_SIGNATURE = b"# disk descriptorfile"
_PROBED = re.compile(rb"(?:#[^\n]*+\n|[ \t]*+\r?\n)*+version=\d{1,9}[ \t]*+\r?\n", re.IGNORECASE)
"""Text that qemu takes for a VMDK when it guesses the format, and a little more. It never goes back, so that hostile
text costs no more than other text."""

_OTHER_LISTS = (b"--iprt-iso-maker-file-marker", b'file "')
"""How VISO and CUE begin: VirtualBox recognises both by their text and reads the files that they name."""

_COW_DISK = b"COWD"
"""The sparse format of ESX, whose descriptor may name a parent: qemu opens it, the inspectors do not know it."""

_EXTENT = re.compile(rb"^[ \t]*(?:rw|rdonly|noaccess)[ \t]+\d+[ \t]+(\w+)", re.MULTILINE)


def refused_as_anything(head: bytes) -> str | None:
    """Return why a file with this beginning must not be an image of any declared format; None when it may.

    ``head`` is its text up to the first NUL, ``LONGEST_TEXT`` bytes of it at most, or the first ``HEAD`` bytes when
    these are more. Which beginnings are refused, and what programs make of them: see the decision on VMDK descriptors
    in docs/contributor.
    """
    if head.startswith(_COW_DISK):
        return "the image is a VMDK of the type COWD, which may name a parent"
    # Readers end at the first NUL.
    text = head.partition(b"\0")[0].lower()
    if text.lstrip(b" \t\r\n").startswith(_OTHER_LISTS):
        return "the image is a list of files for VirtualBox, which names files instead of holding data"
    if text.startswith(_SIGNATURE) or b"createtype" in text or _PROBED.match(head, 0, HEAD):
        return "the image is a VMDK descriptor, which names files instead of holding data"
    return None


def is_sparse(head: bytes) -> bool:
    """Say whether a file that begins so holds data itself."""
    return head.startswith(_SPARSE)


def has_footer(head: bytes) -> bool:
    """Say whether the header of a sparse VMDK counts less than another one at the end."""
    return is_sparse(head) and head[56:64] == b"\xff" * 8


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
    if b"parentfilenamehint" in head.lower() or b"nativeparenthint" in text:
        return "it names a parent"
    if text.count(b"createtype") != 1:
        return "its descriptor must have one createType"
    if _EXTENT.findall(text) != [b"sparse"]:
        return "its descriptor must have one extent, of type SPARSE"
    return None
