"""The gridfs store (stores section 11).

An image is a document in ``fs.files`` and chunks in ``fs.chunks``, as every GridFS library reads them; its id is the
key. The document in ``fs.files`` comes last and makes the image visible.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC
from typing import Any, Self
from urllib.parse import urlsplit

from oslo_config import cfg

from glance_common.stores.base import BaseStore, StreamBlob
from glance_common.stores.contract import (
    BlobExists,
    BlobNotFound,
    Capabilities,
    Stored,
    StoredObject,
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
from glance_common.stores.drivers.gridfs.reading import GridfsFile, pieces
from glance_common.stores.drivers.gridfs.writing import GridfsUpload, shared_room
from glance_common.stores.place_mark import PlaceMark
from glance_common.stores.settings import Identities, StoreSettings, Traits

Document = dict[str, Any]


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
        self._room = shared_room()

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
        with self._database.asked():
            self._make_indexes()
            if self._files.find_one({"_id": key}, {"_id": 1}) is not None:
                raise BlobExists(f"{self._database.place}: {key} is there")
        return Stored(GridfsUpload(self._database, key, self._room).write(pieces), {})

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
        return StreamBlob(size, pieces(self._database, GridfsFile(key, size, chunk), offset, end))

    def _find(self, key: str) -> Document:
        require_key(key)
        with self._database.asked():
            found = self._files.find_one({"_id": key}, {"length": 1, "chunkSize": 1})
        if found is None:
            self._mark.prove()
            raise BlobNotFound(f"{self.id}: there is no {key}")
        return found

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
