"""Reading an object, or a range of it. A read that breaks goes on at the byte where it broke (stores section 6)."""

import re
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from glance_common.stores.base import StreamBlob, piece_sizes
from glance_common.stores.contract import StoreUnavailable
from glance_common.stores.drivers.swift.errors import SwiftFailed
from glance_common.stores.drivers.swift.place import SwiftObject

if TYPE_CHECKING:
    from glance_common.stores.drivers.swift.client import SwiftAccount, SwiftBody

_PIECE = 512 * 1024
_PAUSES = (0.0, 0.5, 2.0)
"""Seconds before the tries to go on; further ones wait as long as the last one."""

_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18})")


def open_object(
    account: "SwiftAccount", found: SwiftObject, offset: int, length: int | None, resumes: int
) -> StreamBlob | None:
    """Open a range of an object, cut at its end; None when the server has no such object. Raises StoreUnavailable.

    The read may go on ``resumes`` times after its connection broke.
    """
    if length == 0:
        return _empty(account, found)
    try:
        stream = _Stream(account, found, (offset, None if length is None else offset + length), resumes)
    except SwiftFailed as failed:
        if failed.status == 416:
            return _empty(account, found)
        if failed.status == 404:
            insist_on_absence(account, found)
            return None
        raise
    return StreamBlob(stream.size, stream.pieces(), stream.close)


def insist_on_absence(account: "SwiftAccount", found: SwiftObject) -> None:
    """Return when there is no object. Raises StoreUnavailable when only its segments are missing: Ceph says 404 too."""
    if account.head(found.container, found.name, manifest=True) is not None:
        raise StoreUnavailable(f"{found.name}: segments of the object are missing")


def size_of(headers: Mapping[str, str], name: str) -> int:
    """Return the bytes of an object from what the server says about it. Raises StoreUnavailable."""
    length = headers.get("content-length", "")
    if not length.isdecimal():
        # Swift does not, for manifests with more segments than a list has entries.
        raise StoreUnavailable(f"{name}: the server does not tell the size of the object")
    return int(length)


def _empty(account: "SwiftAccount", found: SwiftObject) -> StreamBlob | None:
    headers = account.head(found.container, found.name)
    if headers is None:
        insist_on_absence(account, found)
        return None
    return StreamBlob(size_of(headers, found.name), iter(()))


class _Stream:
    """The bytes of a range, from one answer or several."""

    def __init__(
        self, account: "SwiftAccount", found: SwiftObject, span: tuple[int, int | None], resumes: int,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._account = account
        self._found = found
        self._left = resumes
        self._sleep = sleep
        self._at = span[0]
        self._version: tuple[object, ...] | None = None
        self._body: SwiftBody
        self.size, self._end = self._begin(span[1])

    def pieces(self) -> Iterator[bytes]:
        """Yield the bytes. Raises StoreUnavailable when fewer come than were promised."""
        name = self._found.name
        sizes = piece_sizes(_PIECE)
        while self._at < self._end:
            try:
                piece = self._body.read(min(next(sizes), self._end - self._at))
                if not piece:
                    raise SwiftFailed(f"{name}: the server ended the data too early", may_pass=True)
            except SwiftFailed as failed:
                self._resume(failed)
                continue
            self._at += len(piece)
            yield piece

    def close(self) -> None:
        """Give the connection back, or end it when data are still to come."""
        self._body.close()

    def _begin(self, end: int | None) -> tuple[int, int]:
        """Ask for the bytes from here to ``end`` (None = all); return those of the object, and where the range ends."""
        headers = {}
        if self._at or end is not None:
            headers["Range"] = f"bytes={self._at}-{'' if end is None else end - 1}"
        self._body = self._account.get(self._found.container, self._found.name, headers)
        try:
            return self._told(self._body.headers, end)
        except BaseException:
            self._body.close()
            raise

    def _told(self, headers: Mapping[str, str], end: int | None) -> tuple[int, int]:
        """Return bytes of the object and end of the range that comes, which must be what was asked for."""
        name = self._found.name
        length = size_of(headers, name)
        first, total = 0, length
        if self._at or end is not None:
            found = _CONTENT_RANGE.fullmatch(headers.get("content-range", ""))
            first, last, total = map(int, found.groups()) if found else (-1, -1, 0)
            end = total if end is None else min(end, total)
            if first != self._at or last + 1 != end or length != end - first:
                raise StoreUnavailable(f"{name}: the server sent another range than the one asked for")
        # Never the bytes of two objects: an ETag alone may be missing, for an object in many segments.
        version = (headers.get("etag"), headers.get("x-timestamp") or headers.get("last-modified"), total)
        if self._version not in (None, version):
            raise StoreUnavailable(f"{name} was deleted or changed while it was read")
        self._version = version
        return total, total if end is None else end

    def _resume(self, failed: SwiftFailed) -> None:
        """Go on where the data broke. Raises StoreUnavailable when that is not possible."""
        self._body.close()
        number = 0
        while (failed.may_pass or failed.silent) and self._left > 0:
            self._left -= 1
            self._sleep(_PAUSES[min(number, len(_PAUSES) - 1)])
            number += 1
            try:
                self._begin(self._end)
            except SwiftFailed as again:
                if again.status in (404, 416):
                    raise StoreUnavailable(f"{self._found.name} was deleted or changed while it was read") from None
                failed = again
            else:
                return
        raise failed
