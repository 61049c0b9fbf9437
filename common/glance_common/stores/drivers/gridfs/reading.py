"""Reading the chunks of an image, or of a part of it. A read whose connection breaks goes on at that byte."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from glance_common.stores.contract import StoreUnavailable
from glance_common.stores.drivers.gridfs.database import CHUNKS, Database

if TYPE_CHECKING:
    from pymongo.cursor import Cursor

READ = 4 * 1024 * 1024
"""Bytes that the server sends in one message, or one chunk."""

SECTION = 64 * 1024 * 1024
"""Bytes that one cursor reads. A further message costs the server half of what a new query costs. But the server counts
the time of all messages of a cursor against the timeout of the first."""

TRIES = 2
"""How often a read asks for the same byte when its connection breaks. Each waits for a server up to the timeout, which
is longer than the election of a new primary."""


@dataclass(frozen=True, slots=True)
class GridfsFile:
    """A file of GridFS: bytes of the whole, and of each chunk but the last."""

    key: str
    size: int
    chunk: int


def pieces(database: Database, file: GridfsFile, offset: int, end: int) -> Iterator[bytes]:
    """Yield the bytes from ``offset`` to ``end``. Raises StoreUnavailable."""
    left = TRIES
    # The first chunk leaves before any other is asked for.
    count = 1
    while offset < end:
        first = offset // file.chunk
        try:
            for data in _chunks(database, file, range(first, min(first + count, -(-end // file.chunk)))):
                piece = data[offset % file.chunk :][: end - offset]
                offset += len(piece)
                left = TRIES
                yield piece
            count = max(SECTION // file.chunk, 1)
        except StoreUnavailable:
            left -= 1
            if not left:
                raise


def _chunks(database: Database, file: GridfsFile, numbers: range) -> Iterator[bytes]:
    """Yield the data of these chunks. Raises StoreUnavailable when one is missing or has another size."""
    cursor = _cursor(database, file, numbers)
    try:
        for number in numbers:
            with database.asked():
                document = next(cursor, None)
            if document is None or document["n"] != number:
                raise StoreUnavailable(f"{database.place}: chunk {number} of {file.key} is missing")
            data = bytes(document["data"])
            size = min(file.chunk, file.size - number * file.chunk)
            if len(data) != size:
                found = f"{len(data)} bytes instead of {size}"
                raise StoreUnavailable(f"{database.place}: chunk {number} of {file.key} has {found}")
            yield data
        with database.asked():
            # The server may have to say that there is no more; only then the connection is free.
            next(cursor, None)
    finally:
        # The library may ask the server to forget the cursor, and would wait for its answer without a limit.
        with suppress(StoreUnavailable), database.asked(share=0.5):
            cursor.close()


def _cursor(database: Database, file: GridfsFile, numbers: range) -> "Cursor[dict[str, Any]]":
    """Return a cursor that streams: the server sends the next chunks while these are on their way to the client.

    Such a cursor has a connection for itself, and closing it ends that connection when chunks are still to come.
    """
    from pymongo import CursorType

    with database.asked():
        streams = len(numbers) > 1 and database.can_stream()
        return database.collection(CHUNKS).find(
            {"files_id": file.key, "n": {"$gte": numbers.start, "$lt": numbers.stop}}, sort=[("n", 1)],
            batch_size=max(READ // file.chunk, 1), limit=0 if streams else len(numbers),
            cursor_type=CursorType.EXHAUST if streams else CursorType.NON_TAILABLE,
        )
