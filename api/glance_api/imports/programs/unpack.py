"""Unpacks one compressed image; every byte of the archive may be hostile, so this runs confined (S-40).

usage: unpack.py ARCHIVE [LHA]      LHA: path of the lha tool, for archives of that kind

The archive must hold exactly one plain file, whose name is never used; its content goes to the standard output, where
the reader stops this program when it is too much. Exit code 1 and one line on stderr say why not.
"""

import os
import stat
import struct
import sys
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_PIECE = 1024 * 1024
_LEVEL_AT = 20
"""Offset in an LHA header of the byte that tells how the header is made."""


class ArchiveRefused(Exception):
    """The archive is not one that we unpack; the text is for the owner of the image."""


def main(argv: list[str]) -> int:
    """Unpack and return the exit code."""
    archive, *tool = argv
    try:
        unpack(Path(archive), tool[0] if tool else None)
    except ArchiveRefused as refused:
        return _failed(str(refused))
    except MemoryError:
        return _failed("the archive needs more memory than is allowed")
    except OSError:
        return _failed("the archive cannot be read")
    return 0


def _failed(text: str) -> int:
    sys.stderr.write(text + "\n")
    return 1


def unpack(archive: Path, lha: str | None) -> None:
    """Write the content of ``archive`` to the standard output. Raises Refused, OSError, MemoryError."""
    with archive.open("rb") as file:
        head = file.read(_LEVEL_AT + 1)
        file.seek(0)
        if head.startswith(b"PK\x03\x04"):
            _write(_zip(file))
        elif head.startswith(b"\x1f\x8b"):
            _write(_gzip(file))
        elif len(head) > _LEVEL_AT and head[2:3] == b"-" and head[6:7] == b"-" and head[3:5] in (b"lh", b"lz", b"pm"):
            _check_lha(file)
            _unpack_lha(lha, archive)
        else:
            raise ArchiveRefused("the image is compressed in no known way: zip, gzip and lha are known")


def _write(pieces: Iterator[bytes]) -> None:
    out = sys.stdout.buffer
    for piece in pieces:
        out.write(piece)
    out.flush()


def _gzip(file: BinaryIO) -> Iterator[bytes]:
    stream = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    data = b""
    try:
        while not stream.eof:
            data = data or file.read(_PIECE)
            if not data:
                raise ArchiveRefused("the gzip data end too early")
            yield stream.decompress(data, _PIECE)
            data = stream.unconsumed_tail
    except zlib.error:
        raise ArchiveRefused("the gzip data are damaged") from None
    rest = stream.unused_data
    while rest:
        # Zeros are padding of tapes and block devices.
        if rest.strip(b"\0"):
            raise ArchiveRefused("the gzip data have more than one member")
        rest = file.read(_PIECE)


def _zip(file: BinaryIO) -> Iterator[bytes]:
    try:
        with zipfile.ZipFile(file) as archive:
            member = _only_member(archive)
            with archive.open(member) as content:
                while piece := content.read(_PIECE):
                    yield piece
    # RuntimeError: what the library does not know, for example a method of compression.
    except (zipfile.BadZipFile, zlib.error, EOFError, struct.error, ValueError, RuntimeError):
        raise ArchiveRefused("the zip archive is damaged, or compressed in an unknown way") from None


def _only_member(archive: zipfile.ZipFile) -> zipfile.ZipInfo:
    members = archive.infolist()
    if len(members) != 1:
        raise ArchiveRefused(f"the zip archive must hold exactly one file; it holds {len(members)} entries")
    kind = stat.S_IFMT(members[0].external_attr >> 16)
    if members[0].is_dir() or kind not in (0, stat.S_IFREG):
        raise ArchiveRefused("the entry of the zip archive is not a plain file")
    if members[0].flag_bits & 0x1:
        raise ArchiveRefused("the zip archive is encrypted")
    return members[0]


def _check_lha(file: BinaryIO) -> None:
    """Refuse everything but one plain file, before a tool sees the archive."""
    method, end = _lha_header(file)
    if method == b"-lhd-":
        raise ArchiveRefused("the entry of the lha archive is not a plain file")
    size = file.seek(0, os.SEEK_END)
    if end > size:
        raise ArchiveRefused("the lha archive ends too early")
    file.seek(end)
    if file.read(1) not in (b"", b"\0"):
        raise ArchiveRefused("the lha archive must hold exactly one file; it holds more")


def _lha_header(file: BinaryIO) -> tuple[bytes, int]:
    """Return the method of the first entry and the offset where the next one would begin."""
    head = file.read(32)
    if len(head) < 32:
        raise ArchiveRefused("the lha archive ends too early")
    level, (packed,) = head[_LEVEL_AT], struct.unpack_from("<I", head, 7)
    sizes = {
        0: head[0] + 2,
        1: head[0] + 2,
        2: struct.unpack_from("<H", head)[0],
        3: struct.unpack_from("<I", head, 24)[0],
    }
    if level not in sizes:
        raise ArchiveRefused("the lha archive has a header of an unknown kind")
    return head[2:7], sizes[level] + packed


def _unpack_lha(lha: str | None, archive: Path) -> None:
    if lha is None:
        raise ArchiveRefused("the image is an lha archive, and this host has no lha tool")
    # Printing makes no file by a name out of the archive, and testing alone looks at the checksum.
    out = os.dup(1)
    for option, output in (("-tq2", os.open(os.devnull, os.O_WRONLY)), ("-pq2", out)):
        os.dup2(output, 1)
        code = os.spawnv(os.P_WAIT, lha, [lha, option, str(archive)])  # noqa: S606 - no shell is the point
        if code != 0:
            raise ArchiveRefused("the lha archive is damaged")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
