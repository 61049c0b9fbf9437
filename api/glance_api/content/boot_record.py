"""The first sectors of a disk: is there a partition table, and is it one that programs agree about?

A boot record names no other file. So no table is unsafe by what it refers to: a finding means that two readers may see
different partitions in it. The boot sector of a file system ends with the same signature and has code in place of a
table.
"""

import struct

LEAST, LENGTH = 512, 9 * 1024
"""Bytes at the beginning that a record has, and that show what is there."""

_SIGNATURE = b"\x55\xaa"
_TABLE = 446
_PROTECTIVE = 0xEE
_SECTORS = (512, 1024, 2048, 4096)
_SYSTEMS = (b"EXFAT   ", b"NTFS    ", b"-FVE-FS-", b"ReFS\0\0\0\0")
"""Names at offset 3 of boot sectors that need not have the usual parameters."""
_MAGICS = (
    (512 + 32, b"1SFB"), (512 + 32, b"BFS1"), (1024 + 56, b"\x53\xef"), (16 * 512, b"\x49\xe8\x95\xf9"), (0, b"XFSB"),
)
"""Where superblocks have their magic number: BeFS in both byte orders, ext2 to ext4, HPFS, XFS."""


def has_table(head: bytes) -> bool:
    """Say whether the disk that begins so has a partition table."""
    return head[510:512] == _SIGNATURE and not _is_volume(head)


def _is_volume(head: bytes) -> bool:
    """Say whether a file system begins here, so that code lies where a table would be."""
    if any(head[at : at + len(magic)] == magic for at, magic in _MAGICS):
        # A disk may have both: its boot loader lies before the first file system.
        return not _has_entries(head)
    if head[0] not in (0xEB, 0xE9):
        return False
    (sector,) = struct.unpack_from("<H", head, 11)
    return head[3:11] in _SYSTEMS or (sector in _SECTORS and head[13] != 0 and head[13] & (head[13] - 1) == 0)


def _has_entries(head: bytes) -> bool:
    entries = [head[_TABLE + 16 * n : _TABLE + 16 * n + 16] for n in range(4)]
    return all(entry[0] in (0, 0x80) for entry in entries) and any(entry[4] for entry in entries)


def complaint(head: bytes) -> str | None:
    """Return what is wrong with the table; None for a good one, and for a label without partitions."""
    entries = [head[_TABLE + 16 * n : _TABLE + 16 * n + 16] for n in range(4)]
    used = [entry for entry in entries if entry[4]]
    for number, entry in enumerate(entries):
        if entry[0] not in (0, 0x80):
            return f"entry {number} of the partition table has an invalid boot flag"
    protective = [entry for entry in used if entry[4] == _PROTECTIVE]
    if any(struct.unpack_from("<I", entry, 8) != (1,) for entry in protective):
        return "the GPT MBR does not begin at sector 1"
    if protective and len(used) > 1 and not _has_gpt(head):
        return "the GPT MBR defines extra partitions, and there is no GPT"
    return None


def _has_gpt(head: bytes) -> bool:
    return any(head[size : size + 8] == b"EFI PART" for size in _SECTORS)
