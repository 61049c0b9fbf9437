"""Reading a file, or a range of it. A read that breaks goes on at the byte where it broke."""

import re
from collections.abc import Iterator

from glance_common.stores.base import StreamBlob, piece_sizes
from glance_common.stores.contract import RangeUnsupported, StoreUnavailable
from glance_common.stores.drivers.vmware.errors import BROKEN, SILENT, VmwareFailed, failed
from glance_common.stores.drivers.vmware.folder import Folder
from glance_common.stores.drivers.vmware.place import DatastoreFile
from glance_common.stores.drivers.vmware.transport import HttpsAnswer

SKIP = 64 * 1024 * 1024
"""Bytes that are read and dropped at most, where a server sends no ranges."""

_PIECE = 512 * 1024
_TRIES = 3
"""How often a read goes on at the byte where its connection broke, without a byte in between."""

_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18})")


def open_file(folder: Folder, file: DatastoreFile, offset: int, length: int | None) -> StreamBlob | None:
    """Open a range of a file, cut at its end; None when the server has no such file.

    Raises StoreUnavailable, RangeUnsupported.
    """
    if length == 0:
        return _empty(folder, file)
    stream = _Stream(folder, file, offset, length)
    if stream.status == 404:
        return None
    if stream.status == 416:
        return _empty(folder, file)
    return StreamBlob(stream.size, stream.pieces(), stream.close)


def _empty(folder: Folder, file: DatastoreFile) -> StreamBlob | None:
    size = folder.size(file)
    return None if size is None else StreamBlob(size, iter(()))


class _Stream:
    """The bytes of a range, from one answer or several."""

    def __init__(self, folder: Folder, file: DatastoreFile, offset: int, length: int | None) -> None:
        self.size = 0
        self._folder = folder
        self._file = file
        self._at = offset
        self._end = None if length is None else offset + length
        self._skip = 0
        self._answer: HttpsAnswer
        self.status = self._begin()

    def pieces(self) -> Iterator[bytes]:
        """Yield the bytes. Raises StoreUnavailable when fewer come than were promised."""
        end = self.size if self._end is None else min(self._end, self.size)
        breaks = 0
        sizes = piece_sizes(_PIECE)
        while self._at < end:
            try:
                piece = self._read(min(next(sizes), end - self._at))
            except VmwareFailed as error:
                breaks += 1
                if error.code not in (BROKEN, SILENT) or breaks >= _TRIES:
                    raise
                self._resume()
                continue
            breaks = 0
            self._at += len(piece)
            yield piece

    def close(self) -> None:
        """Give the connection back, or end it when data are still to come."""
        self._answer.close()

    def _read(self, size: int) -> bytes:
        while self._skip:
            self._skip -= len(self._some(min(_PIECE, self._skip)))
        return self._some(size)

    def _some(self, size: int) -> bytes:
        piece = self._answer.read(size)
        if not piece:
            raise VmwareFailed(f"{self._file.name}: the server ended the data too early", BROKEN)
        return piece

    def _begin(self) -> int:
        """Ask for the bytes from here; return the status, 404 and 416 too. Raises StoreUnavailable for others."""
        headers = {}
        if self._at or self._end is not None:
            headers["Range"] = f"bytes={self._at}-{'' if self._end is None else self._end - 1}"
        self._answer = answer = self._folder.ask("GET", self._file, headers)
        try:
            if answer.status not in (200, 206, 404, 416):
                raise failed(str(answer.status), f"GET {self._file.name}")
            if answer.status in (200, 206):
                self._take(answer)
                answer.begin_data()
            else:
                answer.close()
        except BaseException:
            answer.close()
            raise
        return answer.status

    def _take(self, answer: HttpsAnswer) -> None:
        """Learn size and position of what comes, which must be what was asked for."""
        length = answer.headers.get("Content-Length", "")
        if not length.isdecimal() or "Content-Encoding" in answer.headers:
            raise StoreUnavailable(f"{self._file.name}: the server does not tell how much it sends")
        if answer.status == 200:
            self.size, self._skip = int(length), self._at
            if min(self._skip, self.size) > SKIP:
                raise RangeUnsupported(f"{self._file.name}: the server sends no parts of files")
            return
        found = _CONTENT_RANGE.fullmatch(answer.headers.get("Content-Range", ""))
        first, last, total = map(int, found.groups()) if found else (-1, -1, 0)
        end = total if self._end is None else min(self._end, total)
        if first != self._at or last + 1 != end or int(length) != end - first:
            raise StoreUnavailable(f"{self._file.name}: the server sent another range than the one asked for")
        self.size, self._skip = total, 0

    def _resume(self) -> None:
        """Go on where the data broke. Raises StoreUnavailable when that is not possible."""
        self._answer.close()
        size = self.size
        if self._begin() not in (200, 206) or self.size != size:
            raise StoreUnavailable(f"{self._file.name} was deleted or changed while it was read")
