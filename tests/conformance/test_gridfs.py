"""The gridfs driver passes the suite of all drivers on a real MongoDB server."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from itertools import islice
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
from glance_common.stores.drivers.gridfs import database, reading
from glance_common.stores.drivers.gridfs.reading import READ
from glance_common.stores.drivers.gridfs.writing import BATCH, CHUNK

MUCH = array("Q", range(7_000_001)).tobytes()
"""56 MB: one section, and more than the network holds between the server and a reader that waits. No two chunks of it
are alike."""

STREAMED = 1 + READ // CHUNK + 1
"""Chunks behind which the server sends unasked: the first one comes alone, the next ones as the answer to a query."""


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


@pytest.mark.parametrize("chunks", [2, STREAMED])
def test_a_reader_that_leaves_keeps_nothing_open_at_the_server(harness: GridfsHarness, chunks: int):
    key = harness.put(MUCH)
    with closing(harness.store.open(key)) as blob:
        assert first(blob, chunks) == MUCH[: chunks * CHUNK]
        wait_for(lambda: len(open_cursors(harness)) == 1, "the cursor of the reader")
    wait_for(lambda: not open_cursors(harness), "the end of the cursor")


@pytest.mark.parametrize("chunks", [2, STREAMED])
def test_a_read_goes_on_when_the_server_has_forgotten_it(harness: GridfsHarness, chunks: int):
    """It forgets a cursor that was not used for ten minutes: a slow client may take so long."""
    key = harness.put(MUCH)
    with closing(harness.store.open(key)) as blob:
        got = first(blob, chunks)
        wait_for(lambda: open_cursors(harness), "the cursor of the reader")
        harness.database.command("killCursors", "fs.chunks", cursors=open_cursors(harness))
        assert got + b"".join(blob) == MUCH


def test_a_reader_may_stand_still_for_longer_than_the_server_may(harness: GridfsHarness):
    """The server waits meanwhile in the middle of what it sends; that does not count as its time."""
    key = harness.put(MUCH)
    with closing(harness.changed(mongodb_store_timeout=4.0).open(key)) as blob:
        got = first(blob, STREAMED)
        begun = monotonic()
        wait_for(lambda: monotonic() - begun > 5, "more than the timeout")
        assert got + b"".join(blob) == MUCH


@pytest.mark.parametrize("chunks", [2, STREAMED])
def test_a_server_that_stands_still_holds_no_reader(harness: GridfsHarness, chunks: int):
    """Neither one that reads on nor one that leaves: to leave, the library may ask the server."""
    key = harness.put(MUCH)
    store = harness.changed(mongodb_store_timeout=4.0)
    with closing(store.open(key)) as reads, closing(store.open(key)) as leaves:
        first(reads, chunks)
        first(leaves, chunks)
        harness.server.freeze()
        try:
            begun = monotonic()
            leaves.close()
            assert monotonic() - begun < 10, "without a limit of its own the library takes 14 s, and may take any time"
            with pytest.raises(StoreUnavailable):
                list(reads)
            assert monotonic() - begun < 60
        finally:
            harness.server.thaw()
    assert harness.read(key) == MUCH


def first(blob: Iterable[bytes], count: int) -> bytes:
    """Return the next pieces of a read."""
    return b"".join(islice(blob, count))


def test_more_than_a_hundred_may_read_at_once(harness: GridfsHarness, monkeypatch: pytest.MonkeyPatch):
    """Each holds a connection while it reads; the library alone would allow a hundred."""
    monkeypatch.setattr(reading, "READ", 4096)
    data = MUCH[:100_000]
    key = harness.new_key()
    gridfs.GridFS(harness.database).put(data, _id=key, chunk_size=4096)
    with ExitStack() as stack:
        readers = [stack.enter_context(closing(harness.store.open(key))) for _ in range(110)]
        assert {first(blob, 3) for blob in readers} == {data[: 3 * 4096]}
        assert harness.read(key) == data


def test_readers_leave_a_limited_pool_to_all_calls(harness: GridfsHarness):
    key = harness.put(MUCH)
    store = harness.changed(mongodb_store_uri=f"{harness.server.uri()}&maxPoolSize=1", mongodb_store_timeout=SHORT)
    with closing(store.open(key)) as one, closing(store.open(key)) as two:
        got = [first(blob, STREAMED) for blob in (one, two)]
        other = harness.new_key()
        store.add(other, one, None)
        assert harness.read(other) == MUCH[len(got[0]) :]
        assert got[1] + b"".join(two) == MUCH


def test_a_read_to_the_end_leaves_its_connection_for_the_next_one(harness: GridfsHarness):
    """The server says with a last, empty batch that there is no more. Unread, it would be what the next call gets."""
    key = harness.put(MUCH[: (1 + 2 * READ // CHUNK) * CHUNK])
    others = connections(harness)
    store = harness.changed()
    store.size(key)
    ours = connections(harness) - others
    assert ours
    for _ in range(5):
        with closing(store.open(key)) as blob:
            assert b"".join(blob) == MUCH[: blob.size]
    assert ours <= connections(harness)


def test_connections_that_many_readers_needed_end(harness: GridfsHarness, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(database, "_IDLE_MS", 500)
    key = harness.put(MUCH)
    others = connections(harness)
    store = harness.changed()
    with ExitStack() as stack:
        for _ in range(8):
            first(stack.enter_context(closing(store.open(key))), 3)
        readers = connections(harness) - others
        assert len(readers) >= 8
    # Others stay: by these the library watches the server.
    wait_for(lambda: len(readers - connections(harness)) >= 8, "the end of connections that nothing uses")


def connections(harness: GridfsHarness) -> set[int]:
    """Return the connections that the server has."""
    found = harness.client.admin.aggregate([{"$currentOp": {"idleConnections": True, "allUsers": True}}])
    return {operation["connectionId"] for operation in found if "connectionId" in operation}


def test_a_router_to_shards_is_asked_for_each_batch(harness: GridfsHarness, monkeypatch: pytest.MonkeyPatch):
    """Releases of it before 7.1 cannot stream, and the library refuses to try."""
    monkeypatch.setattr(MongoClient, "is_mongos", True)
    key = harness.put(MUCH[:12_800_000])
    harness.database.command("profile", 2)
    try:
        assert harness.read(key) == MUCH[:12_800_000]
    finally:
        harness.database.command("profile", 0)
    calls = list(harness.database["system.profile"].find({"ns": f"{harness.name}.fs.chunks", "op": "getmore"}))
    assert calls
    assert not any(call.get("exhaust") for call in calls)


LONG = MUCH[: 3 * BATCH * CHUNK + 1000]
"""Several batches, so that two of them are on their way at once."""


def test_one_of_several_long_writers_of_a_key_wins(harness: GridfsHarness):
    key = harness.new_key()

    def write(number: int) -> bool:
        try:
            harness.store.add(key, pieces_of(bytes([number]) + LONG), None)
        except BlobExists:
            return False
        return True

    with ThreadPoolExecutor(6) as pool:
        won = [number for number, wins in enumerate(pool.map(write, range(6))) if wins]
    assert len(won) == 1
    assert harness.read(key) == bytes(won) + LONG
    assert harness.database["fs.chunks"].count_documents({"files_id": key}) == -(-(len(LONG) + 1) // CHUNK)


def test_a_long_write_whose_source_fails_leaves_nothing(harness: GridfsHarness):
    def failing() -> Iterator[bytes]:
        yield from pieces_of(LONG)
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        harness.store.add(harness.new_key(), failing(), None)
    assert not harness.objects()


@pytest.mark.parametrize("number", [0, BATCH + 1, 3 * BATCH])
def test_a_write_that_meets_the_chunk_of_another_one_leaves_that_one_alone(harness: GridfsHarness, number: int):
    key = harness.new_key()
    other = {"files_id": key, "n": number, "data": b"another one's", "attempt": "another"}
    harness.store.add(harness.new_key(), [b"so that there is the index"], None)
    harness.database["fs.chunks"].insert_one(dict(other))
    with pytest.raises(BlobExists):
        harness.store.add(key, pieces_of(LONG), None)
    assert list(harness.database["fs.chunks"].find({"files_id": key}, {"_id": 0})) == [other]
    harness.database["fs.chunks"].delete_many({"files_id": key})


def pieces_of(data: bytes) -> Iterator[bytes]:
    """Yield the data as an upload gives them."""
    return (data[at : at + CHUNK] for at in range(0, len(data), CHUNK))


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


@pytest.mark.parametrize("number", [0, 2, 6])
def test_a_missing_chunk_is_no_end(harness: GridfsHarness, number: int):
    key = harness.put(DATA * 5)
    harness.database["fs.chunks"].delete_one({"files_id": key, "n": number})
    with pytest.raises(StoreUnavailable, match=rf"chunk {number} .* is missing"):
        harness.read(key)


@pytest.mark.parametrize("number", [0, 2, 6])
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
