"""The gridfs driver passes the suite of all drivers on a real MongoDB server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from time import monotonic

import gridfs
import pytest
from pymongo import MongoClient
from tests.conformance.remote import PATIENT, SHORT, ConfiguredHarness
from tests.servers import mongod
from tests.servers.mongod import Mongod
from tests.support.stores import MemoryIdentities
from tests.support.waiting import wait_for

from glance_common.stores.conformance.harness import DATA, Harness
from glance_common.stores.conformance.network import *  # noqa: F403 - the tests of the suite
from glance_common.stores.conformance.reading import *  # noqa: F403 - as above
from glance_common.stores.conformance.writing import *  # noqa: F403 - as above
from glance_common.stores.contract import BlobExists, StoreUnavailable
from glance_common.stores.drivers.gridfs import reading
from glance_common.stores.drivers.gridfs.reading import READ
from glance_common.stores.drivers.gridfs.writing import BATCH, CHUNK

MUCH = b"".join(number.to_bytes(8, "big") for number in range(7_000_001))
"""56 MB: one section, and more than the network holds between the server and a reader that waits. No two chunks of it
are alike."""


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


@pytest.mark.parametrize("chunk", [10_000, 255 * 1024, 5 * 1024 * 1024])
def test_chunks_of_any_size_are_read_with_bounded_memory(harness: GridfsHarness, chunk: int):
    """A call reads one chunk at first and 4 MiB later, or one chunk: chunks of other writers may have 16 MiB."""
    data = DATA * 10
    key = harness.new_key()
    gridfs.GridFS(harness.database).put(data, _id=key, chunk_size=chunk)
    harness.database.command("profile", 2)
    assert harness.read(key) == data
    harness.database.command("profile", 0)
    calls = [call["nreturned"] for call in harness.database["system.profile"].find({"ns": f"{harness.name}.fs.chunks"})]
    assert calls[0] == 1
    assert max(calls) == max(READ // chunk, 1)
    assert sum(calls) == -(-len(data) // chunk), "each chunk comes once"
    assert len(calls) <= 2 + -(-len(data) // max(READ // chunk * chunk, chunk))
    assert harness.read(key, chunk - 1, 2) == data[chunk - 1 : chunk + 1]


@pytest.mark.parametrize("section", [1, CHUNK, 3 * CHUNK + 1])
def test_sections_follow_without_a_gap(harness: GridfsHarness, monkeypatch: pytest.MonkeyPatch, section: int):
    monkeypatch.setattr(reading, "SECTION", section)
    data = MUCH[:6_500_000]
    key = harness.put(data)
    assert harness.read(key) == data
    for offset in (0, CHUNK - 1, CHUNK, 3 * CHUNK + 7):
        for length in (1, CHUNK, 2 * CHUNK + 1, len(data)):
            assert harness.read(key, offset, length) == data[offset:][:length]


def test_a_reader_that_leaves_keeps_nothing_open_at_the_server(harness: GridfsHarness):
    key = harness.put(MUCH)
    with closing(harness.store.open(key)) as blob:
        pieces = iter(blob)
        assert next(pieces) + next(pieces) == MUCH[: 2 * CHUNK]
        wait_for(lambda: len(open_cursors(harness)) == 1, "the cursor of the reader")
    wait_for(lambda: not open_cursors(harness), "the end of the cursor")


def test_a_read_goes_on_when_the_server_has_forgotten_it(harness: GridfsHarness):
    """It forgets a cursor that was not used for ten minutes: a slow client may take so long."""
    key = harness.put(MUCH)
    with closing(harness.store.open(key)) as blob:
        pieces = iter(blob)
        got = next(pieces) + next(pieces)
        wait_for(lambda: open_cursors(harness), "the cursor of the reader")
        harness.database.command("killCursors", "fs.chunks", cursors=open_cursors(harness))
        assert got + b"".join(pieces) == MUCH


def test_a_reader_may_stand_still_for_longer_than_the_server_may(harness: GridfsHarness):
    """The server waits meanwhile in the middle of what it sends; that does not count as its time."""
    key = harness.put(MUCH)
    with closing(harness.changed(mongodb_store_timeout=1.0).open(key)) as blob:
        pieces = iter(blob)
        got = next(pieces) + next(pieces)
        begun = monotonic()
        wait_for(lambda: monotonic() - begun > 2.5, "twice the timeout and more")
        assert got + b"".join(pieces) == MUCH


def test_readers_are_as_many_as_there_are_threads(harness: GridfsHarness, monkeypatch: pytest.MonkeyPatch):
    """Each holds a connection while it reads; the library alone would allow a hundred."""
    monkeypatch.setattr(reading, "READ", 4096)
    data = MUCH[:100_000]
    key = harness.new_key()
    gridfs.GridFS(harness.database).put(data, _id=key, chunk_size=4096)
    with ExitStack() as stack:
        readers = [iter(stack.enter_context(closing(harness.store.open(key)))) for _ in range(110)]
        assert {next(pieces) + next(pieces) for pieces in readers} == {data[:8192]}
        assert harness.read(key) == data


def test_a_read_to_the_end_leaves_its_connection_for_the_next_one(harness: GridfsHarness):
    """The server says with a last, empty batch that there is no more. Unread, it would be what the next call gets."""
    key = harness.put(MUCH[: (1 + 2 * READ // CHUNK) * CHUNK])
    others = connections(harness)
    store = harness.changed(mongodb_store_uri=f"{harness.server.uri()}&maxPoolSize=1")
    store.size(key)
    first = connections(harness) - others
    assert first
    for _ in range(5):
        with closing(store.open(key)) as blob:
            assert b"".join(blob) == MUCH[: blob.size]
    assert first <= connections(harness)


def connections(harness: GridfsHarness) -> set[int]:
    """Return the connections that the server has."""
    found = harness.client.admin.aggregate([{"$currentOp": {"idleConnections": True, "allUsers": True}}])
    return {operation["connectionId"] for operation in found if "connectionId" in operation}


def test_a_router_to_shards_is_asked_for_each_batch(harness: GridfsHarness, monkeypatch: pytest.MonkeyPatch):
    """Releases of it before 7.1 cannot stream, and the library refuses to try."""
    monkeypatch.setattr(MongoClient, "is_mongos", True)
    data = DATA * 10
    key = harness.put(data)
    harness.database.command("profile", 2)
    assert harness.read(key) == data
    harness.database.command("profile", 0)
    calls = list(harness.database["system.profile"].find({"ns": f"{harness.name}.fs.chunks", "op": "getmore"}))
    assert calls
    assert not any(call.get("exhaust") for call in calls)


def open_cursors(harness: GridfsHarness) -> list[int]:
    """Return the cursors that the server keeps for readers of this database."""
    found = harness.client.admin.aggregate([
        {"$currentOp": {"idleCursors": True}}, {"$match": {"type": "idleCursor", "ns": f"{harness.name}.fs.chunks"}},
    ])
    return [operation["cursor"]["cursorId"] for operation in found]


def test_a_document_that_is_no_file_is_told(harness: GridfsHarness):
    key = harness.new_key()
    harness.database["fs.files"].insert_one({"_id": key, "length": 5})
    with pytest.raises(StoreUnavailable, match="is no file of GridFS"):
        harness.store.open(key)
    harness.database["fs.files"].delete_one({"_id": key})


@pytest.mark.parametrize("number", [0, 2, 5])
def test_a_missing_chunk_is_no_end(harness: GridfsHarness, number: int):
    key = harness.put(DATA * 5)
    harness.database["fs.chunks"].delete_one({"files_id": key, "n": number})
    with pytest.raises(StoreUnavailable, match=rf"chunk {number} .* is missing"):
        harness.read(key)


@pytest.mark.parametrize("number", [0, 2, 5])
@pytest.mark.parametrize("size", [0, 5, CHUNK + 1])
def test_a_chunk_of_another_size_is_told(harness: GridfsHarness, number: int, size: int):
    """What follows it would be given from the wrong place."""
    key = harness.put(DATA * 5)
    harness.database["fs.chunks"].update_one({"files_id": key, "n": number}, {"$set": {"data": bytes(size)}})
    with pytest.raises(StoreUnavailable, match=rf"chunk {number} .* has {size} bytes instead of"):
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
