"""Reading an object, or a range of it, in sections of which one is fetched ahead.

A read that breaks goes on at the byte where it broke (stores section 5).
"""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Any

from glance_common.stores.base import StreamBlob, piece_sizes
from glance_common.stores.contract import StoreUnavailable
from glance_common.stores.drivers.s3.errors import MISSING_KEY, S3Failed
from glance_common.stores.sections import Sections

if TYPE_CHECKING:
    from glance_common.stores.drivers.s3.client import S3Body, S3Bucket

_PIECE = 512 * 1024
_SECTION = 32 * 1024 * 1024
"""Bytes asked for at once: many enough that the cost of a call does not count."""

_PAUSES = (0.0, 0.5, 2.0)
"""Seconds before each try to go on. As many breaks in a row without a single piece end the read."""

_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18})")
_NO_RANGE = frozenset({"InvalidRange", "416"})
_CHANGED = MISSING_KEY | {"PreconditionFailed", "412"}


def open_object(bucket: "S3Bucket", key: str, offset: int, length: int | None) -> StreamBlob | None:
    """Open a range of an object, cut at its end; None when the server has no such object. Raises StoreUnavailable."""
    if length == 0:
        return _empty(bucket, key)
    try:
        first = _Stream(bucket, key, offset, _SECTION if length is None else min(length, _SECTION))
    except S3Failed as failed:
        if failed.code in _NO_RANGE:
            return _empty(bucket, key)
        if failed.code in MISSING_KEY:
            return None
        raise
    end = first.size if length is None else min(offset + length, first.size)

    def fetch(start: int, stop: int) -> Iterator[bytes]:
        if start == offset:
            yield from first.pieces()
            return
        # Of the same object: another one may have been written under the key meanwhile.
        with closing(_Stream(bucket, key, start, stop - start, etag=first.etag)) as stream:
            yield from stream.pieces()

    return StreamBlob(first.size, Sections(fetch, offset, end, _SECTION).pieces(), first.close)


def _empty(bucket: "S3Bucket", key: str) -> StreamBlob | None:
    found = bucket.head(key)
    return None if found is None else StreamBlob(found["ContentLength"], iter(()))


class _Stream:
    """The bytes of a range, from one answer or several."""

    def __init__(
        self, bucket: "S3Bucket", key: str, offset: int, length: int, *, etag: str | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._bucket = bucket
        self._key = key
        self._sleep = sleep
        self._at = offset
        self.etag = etag
        self._breaks = 0
        self._body: S3Body
        self.size, self._end = self._begin(offset + length)

    def pieces(self) -> Iterator[bytes]:
        """Yield the bytes. Raises StoreUnavailable when fewer come than were promised."""
        sizes = piece_sizes(_PIECE)
        while self._at < self._end:
            try:
                piece = self._body.read(min(next(sizes), self._end - self._at))
                if not piece:
                    raise S3Failed(f"{self._key}: the server ended the data too early", "IncompleteRead", may_pass=True)
            except S3Failed as failed:
                self._resume(failed)
                continue
            self._breaks = 0
            self._at += len(piece)
            yield piece

    def close(self) -> None:
        """Give the connection back, or end it when data are still to come."""
        self._body.close()

    def _begin(self, end: int) -> tuple[int, int]:
        """Ask for the bytes from here to ``end``; return those of the object, and where the range ends."""
        conditions = {"Range": f"bytes={self._at}-{end - 1}"}
        if self.etag:
            conditions["IfMatch"] = self.etag
        self._body = self._bucket.get(Key=self._key, **conditions)
        answer = self._body.answer
        try:
            told = self._told(answer, end)
        except BaseException:
            self._body.close()
            raise
        self.etag = answer.get("ETag")
        return told

    def _told(self, answer: dict[str, Any], end: int) -> tuple[int, int]:
        """Return bytes of the object and end of the range that comes, which must be what was asked for."""
        length = int(answer["ContentLength"])
        told = answer.get("ContentRange")
        if not told and not self._at and length <= end:
            # All of it, without a word of ranges.
            return length, length
        found = _CONTENT_RANGE.fullmatch(told or "")
        first, last, total = map(int, found.groups()) if found else (-1, -1, 0)
        end = min(end, total)
        if first != self._at or last + 1 != end or length != end - first:
            raise StoreUnavailable(f"{self._key}: the server sent another range than the one asked for")
        return total, end

    def _resume(self, failed: S3Failed) -> None:
        """Go on where the data broke. Raises StoreUnavailable when that is not possible."""
        self._body.close()
        self._breaks += 1
        if not (failed.may_pass or failed.silent) or self._breaks > len(_PAUSES):
            raise failed
        for seconds in _PAUSES:
            self._sleep(seconds)
            try:
                self._begin(self._end)
            except S3Failed as again:
                if again.code in _CHANGED:
                    raise StoreUnavailable(f"{self._key} was deleted or changed while it was read") from None
                failed = again
                if not again.may_pass:
                    break
            else:
                return
        raise failed
