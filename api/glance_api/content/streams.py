"""What happens to bytes on their way between client and store: counting, caps, hashes, inspection, ranges.

Pure: no HTTP and no store in here. An ``UploadStream`` ends normally only when every rule holds. A store that makes
data durable after the end of its source never makes bad data durable.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from glance_api.content.formats import Inspection
from glance_common.body import DataFailed
from glance_common.digests import Digests
from glance_common.model.errors import BadRequest, RangeNotSatisfiable, TooLarge
from glance_common.model.stored_copy import Damage


@dataclass(frozen=True, slots=True)
class Received:
    """What came in: bytes, hex digests by algorithm, and the virtual size when the format tells it."""

    size: int
    digests: dict[str, str]
    virtual_size: int | None


@dataclass(frozen=True, slots=True)
class StreamChecks:
    """What the caller checks while a stream passes; each of the functions raises to end the stream.

    ``still_wanted`` is called for each piece, ``cover`` with the number of bytes so far before the last of them go on,
    ``verify`` at the end with the digests by algorithm.
    """

    still_wanted: Callable[[], None]
    verify: Callable[[Mapping[str, str]], None] | None = None
    cover: Callable[[int], None] | None = None


class UploadStream:
    """The pieces of one upload on their way to the store. Iterate it once, then ask for ``received``.

    ``inspection`` is None for data that are inspected later, before anything but this service reads them.
    Raises while iterating: TooLarge over ``cap`` bytes, BadRequest when more or less comes than ``announced``,
    UnsupportedMediaType for unsafe or mismatching content, and whatever the ``checks`` raise.
    """

    def __init__(
        self,
        pieces: Iterable[bytes],
        *,
        announced: int | None,
        cap: int,
        digests: Digests,
        inspection: Inspection | None,
        checks: StreamChecks,
    ) -> None:
        self._pieces = pieces
        self._announced = announced
        self._cap = cap
        self._digests = digests
        self._inspection = inspection
        self._checks = checks
        self._size = 0
        self._received: Received | None = None

    def __iter__(self) -> Iterator[bytes]:
        """Yield the pieces; the store asks for the next one when it has written the last."""
        for piece in self._pieces:
            self._checks.still_wanted()
            self._size += len(piece)
            self._check_bounds()
            if self._checks.cover is not None:
                self._checks.cover(self._size)
            self._digests.update(piece)
            if self._inspection is not None:
                self._inspection.update(piece)
            yield piece
        if self._announced is not None and self._size < self._announced:
            raise BadRequest(f"the body has {self._size} bytes, but {self._announced} were announced")
        virtual_size = None if self._inspection is None else self._inspection.finish()
        self._checks.still_wanted()
        digests = self._digests.finish()
        if self._checks.verify is not None:
            self._checks.verify(digests)
        self._received = Received(self._size, digests, virtual_size)

    def _check_bounds(self) -> None:
        if self._size > self._cap:
            raise TooLarge(f"the image is larger than image_size_cap, {self._cap} bytes")
        if self._announced is not None and self._size > self._announced:
            raise BadRequest(f"the body has more than the {self._announced} bytes that were announced")

    @property
    def received(self) -> Received:
        """The facts about a stream that was read to its end."""
        if self._received is None:
            raise RuntimeError("the stream was not read to its end")
        return self._received


@dataclass(frozen=True, slots=True)
class ByteRange:
    """A satisfiable part of an image: ``length`` bytes from ``start``."""

    start: int
    length: int

    def content_range(self, size: int) -> str:
        """Return the value of the answer's Content-Range header."""
        return f"bytes {self.start}-{self.start + self.length - 1}/{size}"


LONGEST_RANGE = 16 * 1024
"""Characters of a range header that are looked at, as many as a server takes in one; a longer one is unsatisfiable."""

_DIGITS = re.compile(r"[0-9]*")
_CONTENT_RANGE = re.compile(r"bytes[ \t]+([0-9]+)-([0-9]+)/([0-9]+|\*)", re.IGNORECASE)


def decimal(digits: str) -> int:
    """Return the number that ASCII digits stand for, at most 20 of them: any longer one is larger than every image.

    Python refuses numbers of thousands of digits, and clients may send them.
    """
    return int(digits.lstrip("0")[:20] or "0")


def parse_range(header: str, size: int) -> ByteRange:
    """Return the range that a ``Range`` header asks of an image of ``size`` bytes; an end beyond it is clipped.

    Raises BadRequest for several ranges and RangeNotSatisfiable for everything that cannot be read or satisfied (API
    section 10.3, S-55).
    """
    if "," in header:
        raise BadRequest("Range: only one range can be asked for at a time")
    first, last = _ends(header)
    if first == last == "":
        raise _unsatisfiable(header, size)
    if first == "":
        length = min(decimal(last), size)
        start = size - length
    else:
        start = decimal(first)
        length = (min(decimal(last), size - 1) if last else size - 1) - start + 1
    if length <= 0 or start >= size:
        raise _unsatisfiable(header, size)
    return ByteRange(start, length)


def _ends(header: str) -> tuple[str, str]:
    """Return the digits on both sides of ``bytes=first-last``, both empty when the header is no such range.

    Taken apart by its signs: a pattern with optional spaces around optional digits tries all ways to share the spaces
    out, which takes minutes for a header of 10 KB (S-59).
    """
    unit, equals, ends = header[: LONGEST_RANGE + 1].partition("=")
    first, dash, last = (part.strip(" \t") for part in ends.partition("-"))
    is_range = len(header) <= LONGEST_RANGE and equals and dash and unit.strip(" \t").lower() == "bytes"
    return (first, last) if is_range and _DIGITS.fullmatch(first + last) else ("", "")


def parse_content_range(header: str, size: int) -> ByteRange:
    """Return the range of the legacy request header ``Content-Range: bytes a-b/len``; raise RangeNotSatisfiable."""
    match = _CONTENT_RANGE.fullmatch(header.strip()) if len(header) <= LONGEST_RANGE else None
    if match is None:
        raise _unsatisfiable(header, size)
    first, last = decimal(match[1]), decimal(match[2])
    if first > last or last >= size or (match[3] != "*" and decimal(match[3]) != size):
        raise _unsatisfiable(header, size)
    return ByteRange(first, last - first + 1)


def _unsatisfiable(header: str, size: int) -> RangeNotSatisfiable:
    return RangeNotSatisfiable(f"the range {header[:80]!r} does not lie within the image of {size} bytes", size=size)


class DamagedData(DataFailed):
    """The bytes that came from a store are not the bytes of the image; ``damage`` says in which way."""

    def __init__(self, damage: Damage, detail: str) -> None:
        super().__init__(detail)
        self.damage = damage


def verified(
    pieces: Iterable[bytes], size: int, algorithm: str, expected: str, begun: Iterable[bytes] = ()
) -> Iterator[bytes]:
    """Yield ``pieces``, the last one only after size and digest of the whole were found right.

    A client therefore never gets the announced number of bytes of a damaged copy (I8). A thread hashes a piece while
    the one before it is sent. ``begun`` is the start of the data that the client has already. Raises DamagedData.
    """
    digests = Digests([algorithm])
    held, count = b"", 0
    try:
        for piece in begun:
            digests.update(piece)
            count += len(piece)
        for piece in pieces:
            digests.update(piece)
            count += len(piece)
            if count > size:
                break
            if held:
                yield held
            held = piece
        found = digests.finish()[algorithm]
    finally:
        digests.close()
    if count != size or found != expected:
        damage = Damage.DIGEST if count == size else Damage.SIZE
        raise DamagedData(damage, f"{count} of {size} bytes came, {algorithm} {found} instead of {expected}")
    if held:
        yield held
