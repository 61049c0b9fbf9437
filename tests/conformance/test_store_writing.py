"""What every writable store promises to writers, and how read-only ones refuse them."""

import threading
import tracemalloc
from collections.abc import Iterator
from uuid import uuid4

import pytest
from tests.conformance.harness import DATA, Harness

from glance_common.stores.contract import (
    AddDisabled,
    BadLocation,
    BlobExists,
    BlobNotFound,
    DeleteUnsupported,
    Stored,
    StoreError,
)

ODD_KEYS = [
    "", ".", "..", "/", "x", "../escape", "/etc/passwd", ".glance-store", ".incoming", "a" * 300, "\0",
    "11111111-2222-3333-4444-555555555555/x", "../11111111-2222-3333-4444-555555555555",
    "11111111-2222-3333-4444-555555555555\n", "11111111-2222-3333-4444-555555555555.",
    "11111111-2222-3333-4444-555555555555.0", "11111111-2222-3333-4444-555555555555.x",
    "11111111-2222-3333-4444-555555555555.1.2", "11111111222233334444555555555555",
    "{11111111-2222-3333-4444-555555555555}",
]


class SourceFailed(Exception):
    """What a client's connection may throw."""


def failing(pieces: int) -> Iterator[bytes]:
    yield from [b"x" * 1000] * pieces
    raise SourceFailed("the client went away")


@pytest.mark.parametrize("announced", [None, 3 * 1024 * 1024, 0])
def test_many_pieces_of_any_length(writable: Harness, announced: int | None):
    key = writable.new_key()
    pieces = [bytes([number % 251]) * (number * 37 % 5000) for number in range(1000)]
    pieces += [bytes(1024 * 1024), b"", b"end"]
    assert writable.store.add(key, iter(pieces), announced) == Stored(sum(map(len, pieces)), {})
    assert writable.read(key) == b"".join(pieces)


def test_the_announced_size_is_not_checked(writable: Harness):
    key = writable.new_key()
    assert writable.store.add(key, [b"four"], 99).size == 4
    assert writable.store.size(key) == 4


def test_zeros_to_the_end(writable: Harness):
    key = writable.new_key()
    writable.store.add(key, [b"head", bytes(200_000), bytes(64 * 1024)], None)
    assert writable.read(key) == b"head" + bytes(200_000 + 64 * 1024)


def test_later_attempts_have_keys_of_their_own(writable: Harness):
    image = str(uuid4())
    for key in (image, f"{image}.1", f"{image}.22"):
        writable.store.add(key, [key.encode()], None)
    writable.store.delete(f"{image}.1")
    assert writable.read(image) == image.encode()
    assert writable.read(f"{image}.22") == f"{image}.22".encode()
    with pytest.raises(BlobNotFound):
        writable.store.open(f"{image}.1")


def test_second_add_is_refused_and_the_first_data_stay(writable: Harness):
    key = writable.put(DATA)
    with pytest.raises(BlobExists):
        writable.store.add(key, [b"other"], 5)
    assert writable.read(key) == DATA
    assert writable.files() == [key]


@pytest.mark.parametrize("pieces", [0, 1, 2000])
def test_a_failing_source_leaves_nothing(writable: Harness, pieces: int):
    key = writable.new_key()
    with pytest.raises(SourceFailed, match="the client went away"):
        writable.store.add(key, failing(pieces), None)
    assert writable.files() == []
    with pytest.raises(BlobNotFound):
        writable.store.open(key)
    writable.store.add(key, [b"again"], 5)
    assert writable.read(key) == b"again"


@pytest.mark.parametrize("error", [OSError(28, "of the client"), StoreError("of another store"), KeyboardInterrupt()])
def test_errors_of_the_source_come_out_unchanged(writable: Harness, error: BaseException):
    def source() -> Iterator[bytes]:
        yield b"x"
        raise error

    with pytest.raises(type(error)) as caught:
        writable.store.add(writable.new_key(), source(), None)
    assert caught.value is error
    assert writable.files() == []


def test_delete_twice(writable: Harness):
    key, other = writable.put(DATA), writable.put(b"other")
    writable.store.delete(key)
    with pytest.raises(BlobNotFound):
        writable.store.delete(key)
    assert writable.files() == [other]


def test_a_key_can_be_used_again_after_delete(writable: Harness):
    key = writable.put(DATA)
    writable.store.delete(key)
    writable.store.add(key, [b"new"], 3)
    assert writable.read(key) == b"new"


def test_an_open_read_survives_the_delete(writable: Harness):
    key = writable.put(DATA)
    blob = writable.store.open(key)
    writable.store.delete(key)
    assert b"".join(blob) == DATA
    blob.close()


@pytest.mark.parametrize("key", ODD_KEYS)
def test_odd_keys_are_refused(writable: Harness, key: str):
    source = iter([b"x"])
    with pytest.raises(BadLocation):
        writable.store.add(key, source, None)
    assert list(source) == [b"x"], "the source is not touched"
    for act in (writable.store.open, writable.store.size, writable.store.delete, writable.store.url):
        with pytest.raises(BadLocation):
            act(key)
    assert writable.files() == []


def test_of_concurrent_adds_exactly_one_wins(writable: Harness):
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
    assert len(winners) == 1
    assert writable.read(key) == bytes(winners) * 200_000
    assert writable.files() == [key]


def test_adds_of_different_keys_run_side_by_side(writable: Harness):
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


def test_nobody_sees_unfinished_data(writable: Harness):
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


def test_a_delete_during_the_upload_stops_it(writable: Harness):
    key = writable.new_key()

    def pieces() -> Iterator[bytes]:
        yield DATA
        with pytest.raises(BlobNotFound):
            writable.store.delete(key)
        assert writable.unfinished() == []
        yield DATA

    with pytest.raises(StoreError):
        writable.store.add(key, pieces(), None)
    assert writable.files() == []


def test_memory_is_one_piece_however_long_the_source(writable: Harness):
    piece = 1024 * 1024
    tracemalloc.start()
    try:
        writable.store.add(writable.new_key(), (bytes([1 + number % 9]) * piece for number in range(64)), None)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * piece


def test_read_only_stores_refuse_writers(harness: Harness):
    if harness.store.capabilities.add:
        return
    key = harness.put(DATA)
    with pytest.raises(AddDisabled):
        harness.store.add(key, [b"x"], 1)
    with pytest.raises(DeleteUnsupported):
        harness.store.delete(key)
    for odd in ("", "x", "file:///etc/passwd", "http://", "http://[::1", "http://a b/"):
        for act in (harness.store.open, harness.store.size, harness.store.delete, harness.store.url):
            with pytest.raises(BadLocation):
                act(odd)
    assert harness.read(key) == DATA
