"""The gridfs store (stores section 11).

An image is a document in ``fs.files`` and chunks in ``fs.chunks``, as every GridFS library reads them; its id is the
key. The library's own way to write is not used: when it gives up it deletes by id, so also the data of another writer
of the same key. Here each chunk carries its attempt. The unique index on the chunks lets one writer of a key begin. The
document in ``fs.files`` comes last and makes the image visible.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import repeat
from typing import Any, Self
from urllib.parse import urlsplit
from uuid import uuid4

from oslo_config import cfg

from glance_common.stores.base import BaseStore, StreamBlob
from glance_common.stores.contract import (
    BlobExists,
    BlobNotFound,
    Capabilities,
    Stored,
    StoredObject,
    StoreError,
    StoreUnavailable,
    is_key,
    require_key,
    require_range,
)
from glance_common.stores.drivers.gridfs.database import (
    CHUNKS,
    FILES,
    MARK,
    OPTIONS,
    Database,
    open_database,
    place_of,
)
from glance_common.stores.parts import in_parts
from glance_common.stores.place_mark import PlaceMark
from glance_common.stores.settings import Identities, StoreSettings, Traits

CHUNK = 512 * 1024
"""Bytes of a chunk that is written; a document may have 16 MiB. Those of other writers may have any size."""

BATCH = 8
"""Chunks that one call writes."""

READ = 4 * 1024 * 1024
"""Bytes that one call reads, or one chunk."""

SECTION = 64 * 1024 * 1024
"""Bytes that one cursor reads. A further batch costs the server half of what a new query costs. But the server counts
the time of all calls of a cursor against the timeout of the first."""

TRIES = 2
"""How often a read asks for the same byte when its connection breaks. Each waits for a server up to the timeout, which
is longer than the election of a new primary."""

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class _File:
    """A file of GridFS: bytes of the whole, and of each chunk but the last."""

    key: str
    size: int
    chunk: int


class GridfsStore(BaseStore):
    """Images in the GridFS of one database; fulfils ``contract.Store`` and ``settings.Driver``."""

    kind = "gridfs"
    traits = Traits(remote=True, one_peer=True, place_option="mongodb_store_db")
    capabilities = Capabilities(schemes=("gridfs",), add=True, delete=True, ranges=True, walk=True)

    def __init__(self, settings: StoreSettings, identities: Identities, database: Database) -> None:
        super().__init__(settings, identities)
        self._database = database
        self._files = database.collection(FILES)
        self._chunks = database.collection(CHUNKS)
        self._mark = PlaceMark(
            self.id, database.place, identities, read=self._read_mark, write=self._write_mark
        )
        self._has_indexes = False

    @classmethod
    def options(cls) -> Sequence[cfg.Opt]:
        """Return the options of one gridfs store."""
        return OPTIONS

    @classmethod
    def build(cls, settings: StoreSettings, identities: Identities) -> Self:
        """Return the store; nothing is connected yet. Raises StoreConfigError."""
        return cls(settings, identities, open_database(settings))

    @classmethod
    def places(cls, settings: StoreSettings) -> Sequence[str]:
        """Return servers and database. Raises StoreConfigError."""
        return [place_of(settings)]

    def add(self, key: str, pieces: Iterable[bytes], size: int | None) -> Stored:  # noqa: ARG002 - part of the protocol
        """See the contract. The chunks are on the disks of most servers when they are acknowledged."""
        require_key(key)
        self._mark.prove()
        attempt = str(uuid4())
        try:
            with self._database.asked():
                self._make_indexes()
                if self._files.find_one({"_id": key}, {"_id": 1}) is not None:
                    raise BlobExists(f"{self.id}: {key} is there")
            written = self._write(key, attempt, pieces)
            self._publish(key, attempt, written)
        except BaseException:
            self._withdraw(key, attempt)
            raise
        return Stored(written, {})

    def _write(self, key: str, attempt: str, pieces: Iterable[bytes]) -> int:
        number = written = 0
        for part in in_parts(pieces, repeat(BATCH * CHUNK)):
            documents: list[Document] = []
            for start in range(0, len(part), CHUNK):
                data = bytes(part[start : start + CHUNK])
                documents.append({"files_id": key, "n": number, "data": data, "attempt": attempt})
                number += 1
            with self._database.asked():
                self._insert(key, documents)
            written += len(part)
        return written

    def _insert(self, key: str, documents: list[Document]) -> None:
        from pymongo.errors import BulkWriteError

        try:
            self._chunks.insert_many(documents)
        except BulkWriteError as error:
            if any(problem.get("code") == 11000 for problem in (error.details or {}).get("writeErrors", [])):
                raise BlobExists(f"{self.id}: {key} is there, or is being written") from None
            raise

    def _publish(self, key: str, attempt: str, size: int) -> None:
        """Make the image visible. Raises StoreUnavailable when a delete took chunks meanwhile."""
        from pymongo.errors import DuplicateKeyError

        document = {
            "_id": key, "filename": key, "length": size, "chunkSize": CHUNK, "uploadDate": datetime.now(UTC),
            "metadata": {"attempt": attempt},
        }
        with self._database.asked():
            try:
                self._files.insert_one(document)
            except DuplicateKeyError:
                raise BlobExists(f"{self.id}: {key} is there") from None
            # Looked at after the image is visible: a delete removes the document first, and the chunks after it.
            found = self._chunks.count_documents({"files_id": key, "attempt": attempt})
            if found != -(-size // CHUNK):
                raise StoreUnavailable(f"{self.id}: {key} was deleted while it was written")

    def _withdraw(self, key: str, attempt: str) -> None:
        """Remove what this attempt wrote and nothing else; what cannot be removed now goes with the key."""
        with suppress(StoreError), self._database.asked(share=0.5):
            self._files.delete_one({"_id": key, "metadata.attempt": attempt})
            self._chunks.delete_many({"files_id": key, "attempt": attempt})

    def _make_indexes(self) -> None:
        if not self._has_indexes:
            self._chunks.create_index([("files_id", 1), ("n", 1)], unique=True)
            self._has_indexes = True

    def open(self, key: str, offset: int = 0, length: int | None = None) -> StreamBlob:
        """See the contract. A read whose connection breaks goes on at that byte."""
        require_range(offset, length)
        found = self._find(key)
        size, chunk = int(found["length"]), int(found.get("chunkSize") or 0)
        if size and chunk < 1:
            raise StoreUnavailable(f"{self.id}: {key} is no file of GridFS: its chunks have no size")
        end = size if length is None else min(offset + length, size)
        return StreamBlob(size, self._pieces(_File(key, size, chunk), offset, end))

    def _find(self, key: str) -> Document:
        require_key(key)
        with self._database.asked():
            found = self._files.find_one({"_id": key}, {"length": 1, "chunkSize": 1})
        if found is None:
            self._mark.prove()
            raise BlobNotFound(f"{self.id}: there is no {key}")
        return found

    def _pieces(self, file: _File, offset: int, end: int) -> Iterator[bytes]:
        left = TRIES
        # The first chunk leaves before any other is asked for.
        count = 1
        while offset < end:
            first = offset // file.chunk
            try:
                for data in self._chunks_from(file, range(first, min(first + count, -(-end // file.chunk)))):
                    piece = data[offset % file.chunk :][: end - offset]
                    offset += len(piece)
                    left = TRIES
                    yield piece
                count = max(SECTION // file.chunk, 1)
            except StoreUnavailable:
                left -= 1
                if not left:
                    raise

    def _chunks_from(self, file: _File, numbers: range) -> Iterator[bytes]:
        """Yield the data of these chunks. Raises StoreUnavailable when one is missing or has another size."""
        # When it is left early, its library ends it at the server, in a thread of its own.
        cursor = self._chunks.find(
            {"files_id": file.key, "n": {"$gte": numbers.start, "$lt": numbers.stop}}, sort=[("n", 1)],
            limit=len(numbers), batch_size=max(READ // file.chunk, 1),
        )
        for number in numbers:
            with self._database.asked():
                document = next(cursor, None)
            if document is None or document["n"] != number:
                raise StoreUnavailable(f"{self.id}: chunk {number} of {file.key} is missing")
            data = bytes(document["data"])
            size = min(file.chunk, file.size - number * file.chunk)
            if len(data) != size:
                found = f"{len(data)} bytes instead of {size}"
                raise StoreUnavailable(f"{self.id}: chunk {number} of {file.key} has {found}")
            yield data

    def size(self, key: str) -> int:
        """See the contract."""
        return int(self._find(key)["length"])

    def delete(self, key: str) -> None:
        """See the contract. The document goes first, so that no reader finds an image without its chunks."""
        require_key(key)
        self._mark.prove()
        with self._database.asked():
            found = self._files.delete_one({"_id": key}).deleted_count
            self._chunks.delete_many({"files_id": key})
        if not found:
            raise BlobNotFound(f"{self.id}: there is no {key}")

    def url(self, key: str) -> str:
        """Return ``gridfs://key``: it names no server, as in older installations."""
        require_key(key)
        return f"gridfs://{key}"

    def key_of(self, url: str) -> str | None:
        """Return the key that the URL names."""
        try:
            parts = urlsplit(url)
        except ValueError:
            return None
        key = parts.netloc
        return key if parts.scheme == "gridfs" and url == f"gridfs://{key}" and is_key(key) else None

    def details(self) -> dict[str, Any]:
        """Return servers and database."""
        return {"database": self._database.place}

    def walk(self, after: str | None = None) -> Iterator[StoredObject]:
        """See the contract."""
        self._mark.prove()
        last = after or ""
        while True:
            with self._database.asked():
                found = list(
                    self._files.find({"_id": {"$gt": last, "$type": "string"}}, {"length": 1, "uploadDate": 1})
                    .sort("_id", 1).limit(1000)
                )
            for document in found:
                if is_key(document["_id"]):
                    modified = document["uploadDate"].replace(tzinfo=UTC).timestamp()
                    yield StoredObject(document["_id"], int(document["length"]), modified)
            if not found:
                return
            last = found[-1]["_id"]

    def free(self) -> int | None:
        """Return the free bytes on the server's disk; None when it does not tell."""
        with self._database.asked():
            return self._database.free()

    def identity(self) -> str:
        """See the contract."""
        return self._mark.prove()

    def close(self) -> None:
        """Close the connections; the store is not used any more."""
        self._database.close()

    def _read_mark(self) -> str | None:
        with self._database.asked():
            found = self._database.collection(MARK).find_one({"_id": "mark"})
        return None if found is None else str(found["identity"])

    def _write_mark(self, identity: str, *, replace: bool) -> None:
        change = "$set" if replace else "$setOnInsert"
        with self._database.asked():
            self._database.collection(MARK).update_one({"_id": "mark"}, {change: {"identity": identity}}, upsert=True)
