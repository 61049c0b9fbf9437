"""The gridfs driver passes the suite of all drivers on a real MongoDB server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import gridfs
import pytest
from tests.conformance.remote import PATIENT, SHORT, ConfiguredHarness
from tests.servers import mongod
from tests.servers.mongod import Mongod
from tests.support.stores import MemoryIdentities

from glance_common.stores.conformance.harness import DATA, Harness
from glance_common.stores.conformance.network import *  # noqa: F403 - the tests of the suite
from glance_common.stores.conformance.reading import *  # noqa: F403 - as above
from glance_common.stores.conformance.writing import *  # noqa: F403 - as above
from glance_common.stores.contract import BlobExists, StoreUnavailable
from glance_common.stores.drivers.gridfs.driver import BATCH, CHUNK, GridfsStore


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mongod]:
    with mongod.running(tmp_path_factory.mktemp("mongod")) as running:
        yield running


class GridfsHarness(ConfiguredHarness):
    """A database of its own on the server."""

    part = BATCH * CHUNK
    in_flight = 24 * 1024 * 1024
    first_piece = CHUNK

    def __init__(self, folder: Path, server: Mongod) -> None:
        self.server = server
        self.port = server.port
        self.name = mongod.new_database()
        super().__init__(folder, "gridfs", {
            "mongodb_store_uri": server.uri(), "mongodb_store_db": self.name, "mongodb_store_timeout": PATIENT,
        })
        self.client = server.client()
        self.database = self.client[self.name]

    def objects(self) -> list[str]:
        return [*(str(found["_id"]) for found in self.database["fs.files"].find()), *self.unfinished()]

    def unfinished(self) -> list[str]:
        known = {found["_id"] for found in self.database["fs.files"].find()}
        return [str(key) for key in self.database["fs.chunks"].distinct("files_id") if key not in known]

    def at(self, port: int):
        place = f"mongodb://127.0.0.1:{port}/{self.name}"
        return self.changed(
            self.move_identity(place), mongodb_store_uri=self.server.uri(port), mongodb_store_timeout=SHORT
        )

    def without_place(self):
        name = mongod.new_database()
        return self.changed(self.move_identity(f"mongodb://127.0.0.1:{self.port}/{name}"), mongodb_store_db=name)

    def with_wrong_credentials(self):
        return self.changed(mongodb_store_uri=self.server.uri(password="secret"), mongodb_store_timeout=SHORT)

    def exchanged(self):
        name = mongod.new_database()
        self.changed(MemoryIdentities(), mongodb_store_db=name).identity()
        return self.changed(self.move_identity(f"mongodb://127.0.0.1:{self.port}/{name}"), mongodb_store_db=name)


@pytest.fixture
def harness(server: Mongod, tmp_path: Path) -> Iterator[Harness]:
    """A store in a new database."""
    made = GridfsHarness(tmp_path, server)
    try:
        yield from made.checked()
    finally:
        made.close()
        made.client.close()


@pytest.fixture
def writable(harness: GridfsHarness) -> GridfsHarness:
    """The same."""
    return harness


@pytest.fixture
def remote(harness: GridfsHarness) -> GridfsHarness:
    """The same."""
    return harness


def test_the_library_reads_what_the_driver_wrote(harness: GridfsHarness):
    key = harness.put(DATA)
    assert gridfs.GridFS(harness.database).get(key).read() == DATA


def test_the_driver_reads_what_the_library_wrote(harness: GridfsHarness):
    key = harness.new_key()
    gridfs.GridFS(harness.database).put(DATA, _id=key)
    assert harness.read(key) == DATA
    assert harness.read(key, 300_000, 70_000) == DATA[300_000:370_000]
    assert harness.store.size(key) == len(DATA)
    assert [entry.key for entry in harness.store.walk()] == [key]
    with pytest.raises(BlobExists):
        harness.store.add(key, [b"other"], 5)
    assert harness.read(key) == DATA


@pytest.mark.parametrize(("chunk", "calls"), [(10_000, 9), (255 * 1024, 8), (5 * 1024 * 1024, 3)])
def test_chunks_of_any_size_are_read_with_bounded_memory(
    harness: GridfsHarness, monkeypatch: pytest.MonkeyPatch, chunk: int, calls: int
):
    """A call reads 64 KiB at first and 4 MiB later, or one chunk: chunks of other writers may have 16 MiB."""
    data = DATA * 10
    key = harness.new_key()
    gridfs.GridFS(harness.database).put(data, _id=key, chunk_size=chunk)
    seen: list[int] = []
    read = GridfsStore._chunks_from

    def noted(self: GridfsStore, key: str, first: int, last: int) -> Iterator[bytes]:
        seen.append(last - first + 1)
        return read(self, key, first, last)

    monkeypatch.setattr(GridfsStore, "_chunks_from", noted)
    assert harness.read(key) == data
    assert seen[0] == -(-64 * 1024 // chunk)
    assert max(seen) <= max(BATCH * CHUNK // chunk + 1, 1)
    assert len(seen) == calls
    assert harness.read(key, chunk - 1, 2) == data[chunk - 1 : chunk + 1]


def test_a_document_that_is_no_file_is_told(harness: GridfsHarness):
    key = harness.new_key()
    harness.database["fs.files"].insert_one({"_id": key, "length": 5})
    with pytest.raises(StoreUnavailable, match="is no file of GridFS"):
        harness.store.open(key)
    harness.database["fs.files"].delete_one({"_id": key})


def test_a_missing_chunk_is_no_end(harness: GridfsHarness):
    key = harness.put(DATA * 4)
    harness.database["fs.chunks"].delete_one({"files_id": key, "n": 2})
    with pytest.raises(StoreUnavailable, match=r"chunk 2 .* is missing"):
        harness.read(key)
    harness.database["fs.chunks"].update_one({"files_id": key, "n": 1}, {"$set": {"data": b"short"}})
    with pytest.raises(StoreUnavailable, match=r"chunk 1 .* is too short"):
        harness.read(key)


def test_other_files_of_the_database_are_left_alone(harness: GridfsHarness):
    files = gridfs.GridFS(harness.database)
    files.put(b"a file of another program", _id="another name")
    files.put(b"a file of another program", _id=7)
    key = harness.put(DATA)
    assert [entry.key for entry in harness.store.walk()] == [key]
    for name in ("another name", 7):
        assert files.get(name).read() == b"a file of another program"
        files.delete(name)


def test_a_server_that_comes_back_is_used_again(harness: GridfsHarness):
    key = harness.put(DATA)
    harness.server.stop()
    try:
        with pytest.raises(StoreUnavailable):
            harness.changed(mongodb_store_timeout=SHORT).open(key)
    finally:
        harness.server.start()
    assert harness.read(key) == DATA, "acknowledged data survive kill -9"
    assert harness.store.add(harness.new_key(), [DATA], None).size == len(DATA)
