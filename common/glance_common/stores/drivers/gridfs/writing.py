"""Writing an image: chunks in batches, a few at a time, and the document that makes them visible.

The library's own way to write is not used: when it gives up it deletes by id, so also the data of another writer of the
same key. Here each chunk carries its attempt. The unique index on the chunks lets one writer of a key begin.
"""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from itertools import islice, repeat
from typing import Any
from uuid import uuid4

from glance_common.stores.contract import BlobExists, StoreError, StoreUnavailable
from glance_common.stores.drivers.gridfs.database import CHUNKS, FILES, Database
from glance_common.stores.parts import Part, in_parts, send_parts
from glance_common.stores.room import SharedRoom

CHUNK = 1024 * 1024
"""Bytes of a chunk that is written: as many as the pieces of most uploads have, which need not be joined then. A
document may have 16 MiB."""

BATCH = 4
"""Chunks that one call writes."""

AT_ONCE = 2
"""Batches of one upload that are on their way, so that server and service work at the same time."""


def shared_room() -> SharedRoom:
    """Return the chunks that the uploads to one store may have on their way besides one batch of each."""
    return SharedRoom(AT_ONCE * BATCH)


class GridfsUpload:
    """One ``add``. On an error it removes what it wrote, if the server answers."""

    def __init__(self, database: Database, key: str, room: SharedRoom) -> None:
        self._database = database
        self._files = database.collection(FILES)
        self._chunks = database.collection(CHUNKS)
        self._key = key
        self._attempt = str(uuid4())
        self._room = room

    def write(self, pieces: Iterable[bytes]) -> int:
        """Write the pieces and return their bytes. Raises BlobExists; what the pieces raise comes out unchanged."""
        try:
            size = self._write(pieces)
            self._publish(size)
        except BaseException:
            self._withdraw()
            raise
        return size

    def _write(self, pieces: Iterable[bytes]) -> int:
        batches = _batches(pieces)
        # Alone: it tells whether another writer has the key, before anything could take a place of that one's chunks.
        written = sum(self._insert(0, batch) for batch in islice(batches, 1))
        return written + sum(send_parts(batches, self._insert, AT_ONCE, self._room))

    def _insert(self, batch: int, chunks: list[Part]) -> int:
        from pymongo.errors import BulkWriteError

        documents: list[dict[str, Any]] = [
            {"files_id": self._key, "n": number, "data": bytes(data), "attempt": self._attempt}
            for number, data in enumerate(chunks, batch * BATCH)
        ]
        with self._database.asked():
            try:
                self._chunks.insert_many(documents)
            except BulkWriteError as error:
                if any(problem.get("code") == 11000 for problem in (error.details or {}).get("writeErrors", [])):
                    raise BlobExists(f"{self._database.place}: {self._key} is there, or is being written") from None
                raise
        return sum(map(len, chunks))

    def _publish(self, size: int) -> None:
        """Make the image visible. Raises StoreUnavailable when a delete took chunks meanwhile."""
        from pymongo.errors import DuplicateKeyError

        document = {
            "_id": self._key, "filename": self._key, "length": size, "chunkSize": CHUNK,
            "uploadDate": datetime.now(UTC), "metadata": {"attempt": self._attempt},
        }
        with self._database.asked():
            try:
                self._files.insert_one(document)
            except DuplicateKeyError:
                raise BlobExists(f"{self._database.place}: {self._key} is there") from None
            # Looked at after the image is visible: a delete removes the document first, and the chunks after it.
            found = self._chunks.count_documents({"files_id": self._key, "attempt": self._attempt})
            if found != -(-size // CHUNK):
                raise StoreUnavailable(f"{self._database.place}: {self._key} was deleted while it was written")

    def _withdraw(self) -> None:
        """Remove what this attempt wrote and nothing else; what cannot be removed now goes with the key."""
        with suppress(StoreError), self._database.asked(share=0.5):
            self._files.delete_one({"_id": self._key, "metadata.attempt": self._attempt})
            self._chunks.delete_many({"files_id": self._key, "attempt": self._attempt})


def _batches(pieces: Iterable[bytes]) -> Iterator[list[Part]]:
    chunks = in_parts(pieces, repeat(CHUNK))
    # Not a generator: it would keep each batch until it has the next one.
    return iter(lambda: list(islice(chunks, BATCH)), [])
