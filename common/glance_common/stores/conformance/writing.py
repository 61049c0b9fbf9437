"""What every store that takes data promises to writers."""

import hashlib
import os
import threading
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import closing
from uuid import uuid4

import pytest

from glance_common.stores.conformance.harness import DATA, Harness
from glance_common.stores.contract import (
    BadLocation,
    BlobExists,
    BlobNotFound,
    InUse,
    Stored,
    StoreError,
    deletes_of,
)

ODD_KEYS = [
    "", ".", "..", "/", "x", "../escape", "/etc/passwd", ".glance-store", ".incoming", "a" * 300, "\0",
    "11111111-2222-3333-4444-555555555555/x", "../11111111-2222-3333-4444-555555555555",
    "11111111-2222-3333-4444-555555555555\n", "11111111-2222-3333-4444-555555555555.",
    "11111111-2222-3333-4444-555555555555.0", "11111111-2222-3333-4444-555555555555.x",
    "11111111-2222-3333-4444-555555555555.1.2", "11111111222233334444555555555555",
    "{11111111-2222-3333-4444-555555555555}",
]


class SourceBroken(Exception):
    """What a client's connection may throw."""


def failing(pieces: int) -> Iterator[bytes]:
    yield from [b"x" * 1000] * pieces
    raise SourceBroken("the client went away")


@pytest.mark.parametrize("announced", [None, 3 * 1024 * 1024, 0])
def test_many_pieces_of_any_length(writable: Harness, announced: int | None) -> None:
    key = writable.new_key()
    pieces = [bytes([number % 251]) * (number * 37 % 5000) for number in range(1000)]
    pieces += [bytes(1024 * 1024), b"", b"end"]
    assert writable.store.add(key, iter(pieces), announced) == Stored(sum(map(len, pieces)), {})
    assert writable.read(key) == b"".join(pieces)


def test_the_announced_size_is_not_checked(writable: Harness) -> None:
    key = writable.new_key()
    assert writable.store.add(key, [b"four"], 99).size == 4
    assert writable.store.size(key) == 4


def test_zeros_to_the_end(writable: Harness) -> None:
    key = writable.new_key()
    writable.store.add(key, [b"head", bytes(200_000), bytes(64 * 1024)], None)
    assert writable.read(key) == b"head" + bytes(200_000 + 64 * 1024)


def test_later_attempts_have_keys_of_their_own(writable: Harness) -> None:
    image = str(uuid4())
    for key in (image, f"{image}.1", f"{image}.22"):
        writable.store.add(key, [key.encode()], None)
    writable.store.delete(f"{image}.1")
    assert writable.read(image) == image.encode()
    assert writable.read(f"{image}.22") == f"{image}.22".encode()
    with pytest.raises(BlobNotFound):
        writable.store.open(f"{image}.1")


def test_second_add_is_refused_and_the_first_data_stay(writable: Harness) -> None:
    key = writable.put(DATA)
    with pytest.raises(BlobExists):
        writable.store.add(key, [b"other"], 5)
    assert writable.read(key) == DATA
    assert list(writable.objects()) == [key]


@pytest.mark.parametrize("pieces", [0, 1, 2000])
def test_a_failing_source_leaves_nothing(writable: Harness, pieces: int) -> None:
    key = writable.new_key()
    with pytest.raises(SourceBroken, match="the client went away"):
        writable.store.add(key, failing(pieces), None)
    assert list(writable.objects()) == []
    with pytest.raises(BlobNotFound):
        writable.store.open(key)
    writable.store.add(key, [b"again"], 5)
    assert writable.read(key) == b"again"


@pytest.mark.parametrize("error", [OSError(28, "of the client"), StoreError("of another store"), KeyboardInterrupt()])
def test_errors_of_the_source_come_out_unchanged(writable: Harness, error: BaseException) -> None:
    def source() -> Iterator[bytes]:
        yield b"x"
        raise error

    with pytest.raises(type(error)) as caught:
        writable.store.add(writable.new_key(), source(), None)
    assert caught.value is error
    assert list(writable.objects()) == []


def test_delete_twice(writable: Harness) -> None:
    key, other = writable.put(DATA), writable.put(b"other")
    writable.store.delete(key)
    with pytest.raises(BlobNotFound):
        writable.store.delete(key)
    assert list(writable.objects()) == [other]


def test_a_key_can_be_used_again_after_delete(writable: Harness) -> None:
    key = writable.put(DATA)
    writable.store.delete(key)
    writable.store.add(key, [b"new"], 3)
    assert writable.read(key) == b"new"


def test_an_open_read_survives_the_delete_or_fails(writable: Harness) -> None:
    key = writable.put(DATA)
    with closing(writable.store.open(key)) as blob:
        try:
            writable.store.delete(key)
            is_deleted = True
        except InUse:
            is_deleted = False
        try:
            assert b"".join(blob) == DATA
        except StoreError:
            assert is_deleted, "a store that refuses the delete keeps the data"
            assert not writable.local, "an open file has its data still"
    if not is_deleted:
        writable.delete(key)


@pytest.mark.parametrize("key", ODD_KEYS)
def test_odd_keys_are_refused(writable: Harness, key: str) -> None:
    source = iter([b"x"])
    with pytest.raises(BadLocation):
        writable.store.add(key, source, None)
    assert list(source) == [b"x"], "the source is not touched"
    for act in (writable.store.open, writable.store.size, writable.store.delete, writable.store.url):
        with pytest.raises(BadLocation):
            act(key)
    assert list(writable.objects()) == []


def test_of_concurrent_adds_exactly_one_wins(writable: Harness) -> None:
    key = writable.new_key()
    barrier = threading.Barrier(8)
    outcomes: list[object] = []

    def add(number: int) -> None:
        pieces = [bytes([number]) * 10_000] * 20
        barrier.wait()
        try:
            writable.store.add(key, pieces, None)
            outcomes.append(number)
        except BlobExists as error:
            outcomes.append(error)

    threads = [threading.Thread(target=add, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    winners = [outcome for outcome in outcomes if isinstance(outcome, int)]
    assert len(outcomes) == 8
    assert len(winners) == 1 or (winners and not writable.exclusive)
    assert writable.read(key) in [bytes([winner]) * 200_000 for winner in winners]
    assert list(writable.objects()) == [key]


def test_adds_of_different_keys_run_side_by_side(writable: Harness) -> None:
    keys = [writable.new_key() for _ in range(4)]
    barrier = threading.Barrier(4, timeout=120)

    def pieces(key: str) -> Iterator[bytes]:
        yield key.encode()
        barrier.wait()  # broken unless all four are in the middle of their add
        yield b"!"

    threads = [threading.Thread(target=lambda key=key: writable.store.add(key, pieces(key), None)) for key in keys]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [writable.read(key) for key in keys] == [key.encode() + b"!" for key in keys]


def test_unfinished_data_are_not_shown(writable: Harness) -> None:
    key = writable.new_key()

    def pieces() -> Iterator[bytes]:
        yield DATA
        with pytest.raises(BlobNotFound):
            writable.store.open(key)
        with pytest.raises(BlobNotFound):
            writable.store.size(key)
        yield DATA

    writable.store.add(key, pieces(), 2 * len(DATA))
    assert writable.store.size(key) == 2 * len(DATA)


def test_a_delete_during_the_upload_stops_it(writable: Harness) -> None:
    key = writable.new_key()
    large = bytes(2 * (writable.part or len(DATA)))

    def pieces() -> Iterator[bytes]:
        yield large
        # Some stores keep the data until their writer has stopped.
        with pytest.raises((BlobNotFound, InUse)):
            writable.store.delete(key)
        yield large

    with pytest.raises(StoreError):
        writable.store.add(key, pieces(), None)
    assert list(writable.objects()) == []


def test_memory_is_bounded_however_long_the_source(writable: Harness) -> None:
    piece = 1024 * 1024
    tracemalloc.start()
    try:
        writable.store.add(writable.new_key(), (bytes([1 + number % 9]) * piece for number in range(64)), None)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < writable.in_flight


@pytest.mark.parametrize("announced", [True, False])
@pytest.mark.parametrize("difference", [-1, 0, 1])
@pytest.mark.parametrize("parts", [1, 3])
def test_sizes_around_a_part(writable: Harness, parts: int, difference: int, announced: bool) -> None:
    size = parts * (writable.part or len(DATA)) + difference
    data = (DATA * (size // len(DATA) + 1))[:size]
    key = writable.new_key()
    stored = writable.store.add(key, _cut(data, 100_000), size if announced else None)
    assert stored.size == writable.store.size(key) == size
    assert writable.read(key) == data
    assert writable.read(key, size - 5) == data[-5:]
    edge = writable.part or 65536
    assert writable.read(key, edge - 2, 4) == data[edge - 2 : edge + 2]


def test_the_bytes_read_are_those_written(writable: Harness) -> None:
    data = os.urandom(3 * 1024 * 1024 + 7)
    key = writable.put(data)
    assert hashlib.sha256(writable.read(key)).digest() == hashlib.sha256(data).digest()


def test_what_is_deleted_together_is_gone_one_by_one(writable: Harness) -> None:
    first, second, kept = (writable.put(DATA) for _ in range(3))
    with deletes_of(writable.store) as delete:
        delete(first)
        with pytest.raises(BlobNotFound):
            delete(first)
        with pytest.raises(BadLocation):
            delete("../escape")
        delete(second)
    assert [entry.key for entry in writable.store.walk()] == [kept]


def test_walk_gives_every_object_in_order(writable: Harness) -> None:
    many = writable.many
    keys = sorted(writable.put(bytes(number)) for number in range(many))
    found = list(writable.store.walk())
    assert [entry.key for entry in found] == keys
    assert sorted(entry.size for entry in found) == list(range(many))
    assert all(0 <= time.time() - entry.modified < 3600 for entry in found), "in seconds of the epoch"
    assert [entry.key for entry in writable.store.walk(keys[many // 2])] == keys[many // 2 + 1 :]
    assert list(writable.store.walk(keys[-1])) == []
    assert [entry.key for entry in writable.store.walk("~")] == []


def test_walk_shows_no_unfinished_data(writable: Harness) -> None:
    other = writable.put(b"other")
    seen: list[str] = []

    def pieces() -> Iterator[bytes]:
        yield DATA
        seen.extend(entry.key for entry in writable.store.walk())
        yield DATA

    key = writable.new_key()
    writable.store.add(key, pieces(), None)
    assert seen == [other]
    assert {entry.key for entry in writable.store.walk()} == {key, other}


def test_free_is_unknown_or_room_for_data(writable: Harness) -> None:
    free = writable.store.free()
    assert free is None or free > len(DATA)


def test_the_identity_stays(writable: Harness) -> None:
    before = writable.store.identity()
    assert before
    writable.put(DATA)
    assert writable.store.identity() == before


def _cut(data: bytes, size: int) -> Iterator[bytes]:
    return (data[start : start + size] for start in range(0, len(data), size))
