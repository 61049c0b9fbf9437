"""Writing an object: as one when it is small, otherwise in segments and a manifest that names them (stores section 6).

Segments are objects in the same container, ``<key>-<mark of the upload>-<number>``.
"""

import json
import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeVar
from uuid import uuid4

from glance_common.retry import retried
from glance_common.stores.contract import BlobExists, StoreError, StoreFull, StoreUnavailable
from glance_common.stores.drivers.swift.errors import SwiftFailed
from glance_common.stores.drivers.swift.options import MIB, SwiftOptions
from glance_common.stores.drivers.swift.place import SwiftObject
from glance_common.stores.drivers.swift.source import UploadSource
from glance_common.stores.parts import Part, in_parts, part_sizes, send_parts
from glance_common.stores.room import SharedRoom

if TYPE_CHECKING:
    from glance_common.stores.drivers.swift.client import SwiftAccount

LOG = logging.getLogger(__name__)

_MARK = "x-object-meta-glance-write"
"""Metadata of an object that tells which ``add`` wrote it, so that a lost answer can be found out about."""

_HELD = MIB
"""Bytes of the beginning that are held: an object that is not larger can be sent again, whatever is known of it."""

_PAUSES = (0.5, 2.0)
"""Seconds before what met a passing fault is tried again."""

_SENT_AT_ONCE = 256 * 1024
_MOST_SEGMENTS = 1000
_LARGEST = 5 * 1024 * MIB
"""Limits of a server that does not tell its own."""

_TYPE = {"Content-Type": "application/octet-stream"}
_NEW = {"If-None-Match": "*"}
T = TypeVar("T")


def insist(act: Callable[[], T]) -> T:
    """Return what ``act`` returns, tried again after passing faults: an ``add`` cannot be repeated as a whole.

    A token that was refused is exchanged by the next try.
    """
    return retried(
        act, _PAUSES, lambda error: isinstance(error, SwiftFailed) and (error.may_pass or error.status == 401)
    )


@dataclass(frozen=True, slots=True)
class _Segment:
    name: str
    etag: str
    size: int


class SwiftUpload:
    """One ``add``. What fails leaves nothing that the server can be asked to remove."""

    def __init__(self, account: "SwiftAccount", options: SwiftOptions, place: SwiftObject) -> None:
        self._account = account
        self._options = options
        self._container = place.container
        self._name = place.name
        self._mark = uuid4().hex
        self._begun: set[int] = set()
        self._most = _MOST_SEGMENTS

    def write(self, pieces: Iterable[bytes], size: int | None) -> int:
        """Write the pieces and return their bytes; ``size`` is what was announced. Raises BlobExists."""
        source = UploadSource(pieces)
        held = source.hold(_HELD + 1)
        if len(held) <= _HELD:
            self._unless_taken(lambda: self._put(_slices(held), self._is_taken_by_us), again=True)
            return len(held)
        largest = self._limit("swift", "max_file_size", _LARGEST)
        if size is not None and size < self._options.large_object and size <= largest:
            self._as_one(source, largest)
        else:
            self._in_segments(source, size)
        return source.taken

    def _as_one(self, source: UploadSource, largest: int) -> None:
        """Stream what there is. Raises StoreFull when it is more than was announced, and than an object may have."""

        def look() -> None:
            if source.has_more():
                raise StoreFull(f"{self._name} is larger than announced, and than one object may be")
            self._is_taken_by_us()

        self._unless_taken(lambda: self._put(source.take(largest), look), again=False)

    def _put(self, pieces: Iterator[memoryview], before_end: Callable[[], object]) -> None:
        headers = {**_TYPE, **_NEW, _MARK: self._mark}
        # Ceph takes the condition and ignores it, and Swift looks only at the beginning: look once more at the end.
        self._account.put(self._container, self._name, pieces, headers, before_end=before_end)

    def _in_segments(self, source: UploadSource, size: int | None) -> None:
        self._most = self._limit("slo", "max_manifest_segments", _MOST_SEGMENTS)
        sizes = self._sizes(size)
        try:
            if self._options.at_once > 1:
                parts = in_parts(source.take(1 << 62), sizes)
                room = SharedRoom(self._options.segment * self._options.at_once)
                segments = send_parts(parts, self._send_part, self._options.at_once, room)
            else:
                segments = list(self._streamed(source, sizes))
            self._finish(segments)
        except BaseException:
            self._abort()
            raise

    def _streamed(self, source: UploadSource, sizes: Iterator[int]) -> Iterator[_Segment]:
        while source.has_more():
            # What is streamed cannot be sent again: see before that the token is good, and the key still free.
            self._is_taken_by_us()
            before = source.taken
            name = self._begin_segment(len(self._begun) + 1)
            etag = self._account.put(self._container, name, source.take(next(sizes)), _TYPE)
            yield _Segment(name, etag, source.taken - before)

    def _send_part(self, number: int, part: Part) -> _Segment:
        name = self._begin_segment(number)
        etag = insist(lambda: self._account.put(self._container, name, _slices(part), _TYPE))
        return _Segment(name, etag, len(part))

    def _sizes(self, size: int | None) -> Iterator[int]:
        """Return the bytes of each segment."""
        largest = self._limit("swift", "max_file_size", _LARGEST)
        return (min(part, largest) for part in part_sizes(self._options.segment, size, self._most))

    def _limit(self, group: str, name: str, default: int) -> int:
        found = self._account.info().get(group)
        value = found.get(name) if isinstance(found, dict) else None
        return value if isinstance(value, int) and value > 0 else default

    def _finish(self, segments: list[_Segment]) -> None:
        manifest = json.dumps([
            {"path": f"/{self._container}/{segment.name}", "etag": segment.etag, "size_bytes": segment.size}
            for segment in segments
        ]).encode()

        def put() -> None:
            if not self._is_taken_by_us():
                headers = {**_TYPE, **_NEW, _MARK: self._mark}
                self._account.put_manifest(self._container, self._name, manifest, headers)

        self._unless_taken(put, again=True)

    def _unless_taken(self, put: Callable[[], None], *, again: bool) -> None:
        """Write what makes the object. Raises BlobExists for a key with data of others."""
        try:
            if again:
                insist(put)
            else:
                put()
        except SwiftFailed as failed:
            if failed.status == 412 and self._is_taken_by_us():
                return
            if not self._is_written(failed):
                raise

    def _is_taken_by_us(self) -> bool:
        """Say whether this ``add`` has written the object already. Raises BlobExists when another one has."""
        found = insist(partial(self._account.head, self._container, self._name))
        if found is None:
            return False
        if found.get(_MARK) != self._mark:
            raise BlobExists(f"{self._name} is there")
        return True

    def _is_written(self, failed: SwiftFailed) -> bool:
        """Say whether the object is there although its answer was lost."""
        with suppress(StoreUnavailable):
            return (failed.may_pass or failed.silent) and self._is_taken_by_us()
        return False

    def _begin_segment(self, number: int) -> str:
        """Return the name of a segment that is written now. Raises StoreFull when there may be no further one."""
        if number > self._most:
            raise StoreFull(f"{self._name} is larger than {self._most} segments, the most that the server takes")
        self._begun.add(number)
        return self._segment_name(number)

    def _segment_name(self, number: int) -> str:
        return f"{self._name}-{self._mark[:12]}-{number:05d}"

    def _abort(self) -> None:
        """Remove the segments. Where that fails too, ``delete`` removes them later."""
        try:
            for number in sorted(self._begun):
                self._account.delete(self._container, self._segment_name(number))
        except StoreError as failed:
            LOG.warning("segments of %s stay until its deletion: %s", self._name, failed)


def _slices(data: bytes | bytearray) -> Iterator[memoryview]:
    view = memoryview(data)
    return (view[begin : begin + _SENT_AT_ONCE] for begin in range(0, len(view), _SENT_AT_ONCE))
