"""Writing an object: in one go when it is small, otherwise in parts, several at a time (stores section 5, S-62)."""

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import uuid4

from glance_common.retry import retried
from glance_common.stores.contract import BlobExists, StoreError, StoreUnavailable
from glance_common.stores.drivers.s3.errors import S3Failed
from glance_common.stores.drivers.s3.options import S3Options
from glance_common.stores.parts import Part, in_parts, part_sizes, send_parts

if TYPE_CHECKING:
    from glance_common.stores.drivers.s3.client import S3Bucket

LOG = logging.getLogger(__name__)

MOST_PARTS = 10_000
_MARK = "glance-write"
"""Metadata of an object that tells which ``add`` wrote it, so that a lost answer can be found out about."""

_PAUSES = (0.5, 2.0)
"""Seconds before what met a passing fault is tried again."""

_SENT_AT_ONCE = 256 * 1024
T = TypeVar("T")

TAKEN = frozenset({"PreconditionFailed", "412", "ConditionalRequestConflict"})
"""What servers answer when there is an object already under a key that was to be new."""


def insist(act: Callable[[], T]) -> T:
    """Return what ``act`` returns, tried again after passing faults: an ``add`` cannot be repeated as a whole."""
    return retried(act, _PAUSES, lambda error: isinstance(error, S3Failed) and error.may_pass)


class S3Upload:
    """One ``add``. What fails leaves nothing that the server can be asked to remove."""

    def __init__(self, bucket: "S3Bucket", options: S3Options, key: str) -> None:
        self._bucket = bucket
        self._options = options
        self._key = key
        self._mark = uuid4().hex

    def write(self, pieces: Iterable[bytes], size: int | None) -> int:
        """Write the pieces and return their bytes; ``size`` is what was announced. Raises BlobExists.

        No more than one part is read before something is sent, whatever the size.
        """
        parts = in_parts(pieces, part_sizes(self._options.part, size, MOST_PARTS))
        held = deque([next(parts, b"")])
        if len(held[0]) < min(self._options.part, self._options.large_object):
            self._in_one_go(held[0])
            return len(held[0])
        return self._in_parts(_joined(held, parts))

    def _in_one_go(self, data: Part) -> None:
        try:
            self._send_again(partial(self._unless_taken, "put_object", Metadata={_MARK: self._mark}), data)
        except StoreUnavailable as error:
            if not self._is_written(error):
                raise

    def _in_parts(self, parts: Iterator[Part]) -> int:
        begin = partial(self._bucket.call, "create_multipart_upload", Key=self._key, Metadata={_MARK: self._mark})
        upload: str = insist(begin)["UploadId"]
        try:
            sent = send_parts(parts, partial(self._send, upload), self._options.at_once, self._bucket.room)
            self._complete(upload, [part for part, _ in sent])
        except BaseException:
            self._abort(upload)
            raise
        return sum(size for _, size in sent)

    def _send(self, upload: str, number: int, part: Part) -> tuple[dict[str, Any], int]:
        """Send one part and return what the completion names it by, and its bytes."""
        call = partial(self._bucket.call, "upload_part", Key=self._key, UploadId=upload, PartNumber=number)
        answer = self._send_again(call, part)
        return {"PartNumber": number, "ETag": answer["ETag"]}, len(part)

    def _complete(self, upload: str, parts: list[dict[str, Any]]) -> None:
        def complete() -> None:
            # Ceph takes the condition of the next call and ignores it.
            if not self._is_taken_by_us():
                self._unless_taken("complete_multipart_upload", UploadId=upload, MultipartUpload={"Parts": parts})

        try:
            insist(complete)
        except StoreUnavailable as error:
            if not self._is_written(error):
                raise

    def _unless_taken(self, operation: str, **parameters: Any) -> None:
        """Call an operation that makes the object. Raises BlobExists for a key with data of others.

        Servers that know no condition are asked before; that leaves a moment in which another one may write.
        """
        if self._bucket.knows_conditions:
            try:
                self._bucket.call(operation, Key=self._key, IfNoneMatch="*", **parameters)
                return
            except S3Failed as failed:
                if failed.code in TAKEN and self._is_taken_by_us():
                    return
                if failed.code != "NotImplemented":
                    raise
            self._bucket.knows_conditions = False
        if not self._is_taken_by_us():
            self._bucket.call(operation, Key=self._key, **parameters)

    def _is_taken_by_us(self) -> bool:
        """Say whether this ``add`` has written the object already. Raises BlobExists when another one has."""
        found = self._bucket.head(self._key)
        if found is None:
            return False
        if found.get("Metadata", {}).get(_MARK) != self._mark:
            raise BlobExists(f"{self._key} is there")
        return True

    def _send_again(self, call: Callable[..., T], data: Part) -> T:
        """Send data that are in memory, again after a passing fault."""

        def send() -> T:
            with PartBody(data) as body:
                return call(Body=body, ContentLength=len(data))

        return insist(send)

    def _is_written(self, error: StoreUnavailable) -> bool:
        """Say whether the object is there although its answer was lost."""
        may_be = isinstance(error, S3Failed) and (error.may_pass or error.silent)
        with suppress(StoreError):
            return may_be and self._is_taken_by_us()
        return False

    def _abort(self, upload: str) -> None:
        """Remove the parts. Where that fails too, ``delete`` removes them later."""
        try:
            self._bucket.call("abort_multipart_upload", Key=self._key, UploadId=upload)
        except StoreError as failed:
            if not (isinstance(failed, S3Failed) and failed.code == "NoSuchUpload"):
                LOG.warning("parts of %s stay until its deletion: %s", self._key, failed)


class PartBody:
    """Bytes as a file for boto3, without a copy of them; it lets go of them at the end of its block.

    boto3 keeps what it sent in cycles of references, until the next garbage collection.

    A read returns up to 256 KiB, however few were asked for: urllib3 asks for 16 KiB, and each read is one call to
    the network. Its time limit begins anew with each.
    """

    def __init__(self, data: Part) -> None:
        self._data = memoryview(data)
        self._at = 0

    def __enter__(self) -> "PartBody":
        return self

    def __exit__(self, *details: object) -> None:
        self._data = memoryview(b"")

    def __len__(self) -> int:
        return len(self._data)

    def read(self, size: int | None = -1) -> memoryview:
        """Return the next bytes; all for a negative size."""
        end = len(self._data) if size is None or size < 0 else self._at + max(_SENT_AT_ONCE, size)
        piece = self._data[self._at : end]
        self._at += len(piece)
        return piece

    def tell(self) -> int:
        """Return the position."""
        return self._at

    def seek(self, offset: int, whence: int = 0) -> int:
        """Go to an offset from the start (0), from here (1) or from the end (2)."""
        self._at = offset + (0, self._at, len(self._data))[whence]
        return self._at


def _joined(held: deque[Part], rest: Iterator[Part]) -> Iterator[Part]:
    """Yield the parts, those that are held first, and keep none of them."""
    while held:
        yield held.popleft()
    yield from rest
