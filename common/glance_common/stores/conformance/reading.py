"""What every store promises to readers."""

import threading
import tracemalloc
from contextlib import closing

import pytest

from glance_common.stores.conformance.harness import DATA, Harness
from glance_common.stores.contract import BlobNotFound


def test_round_trip(harness: Harness) -> None:
    key = harness.put(DATA)
    assert harness.read(key) == DATA
    assert harness.store.size(key) == len(DATA)


def test_empty_blob(harness: Harness) -> None:
    key = harness.put(b"")
    assert harness.read(key) == b""
    assert harness.read(key, 0, 10) == b""
    assert harness.store.size(key) == 0


@pytest.mark.parametrize(
    ("offset", "length"),
    [
        (0, 1), (0, None), (1, None), (100_000, 300_000), (len(DATA) - 1, 1), (len(DATA) - 1, None), (0, len(DATA)),
        (0, len(DATA) + 1), (len(DATA) - 5, 100), (len(DATA), None), (len(DATA), 5), (len(DATA) + 77, 5), (5, 0),
        (0, 0),
    ],
)
def test_ranges_are_cut_at_the_end(harness: Harness, offset: int, length: int | None) -> None:
    key = harness.put(DATA)
    expected = DATA[offset:] if length is None else DATA[offset : offset + length]
    with closing(harness.store.open(key, offset, length)) as blob:
        assert blob.size == len(DATA)
        assert b"".join(blob) == expected


@pytest.mark.parametrize(("offset", "length"), [(-1, None), (0, -1)])
def test_negative_ranges_are_a_mistake_of_the_caller(harness: Harness, offset: int, length: int | None) -> None:
    with pytest.raises(ValueError, match="may be negative"):
        harness.store.open(harness.put(DATA), offset, length)


def test_missing_key_is_told_at_once(harness: Harness) -> None:
    harness.put(DATA)
    with pytest.raises(BlobNotFound) as caught:
        harness.store.open(harness.new_key())
    assert caught.value.permanent
    with pytest.raises(BlobNotFound):
        harness.store.open(harness.new_key(), 5, 5)
    with pytest.raises(BlobNotFound):
        harness.store.size(harness.new_key())


def test_two_readers_at_once(harness: Harness) -> None:
    data = DATA * 3
    key = harness.put(data)
    with closing(harness.store.open(key)) as one, closing(harness.store.open(key, 7)) as two:
        first, second = iter(one), iter(two)
        pieces: tuple[list[bytes], list[bytes]] = ([], [])
        for _ in range(3):
            pieces[0].append(next(first))
            pieces[1].append(next(second))
        assert b"".join([*pieces[0], *first]) == data
        assert b"".join([*pieces[1], *second]) == data[7:]


def test_readers_in_threads(harness: Harness) -> None:
    key = harness.put(DATA)
    results: list[bytes] = []
    threads = [threading.Thread(target=lambda: results.append(harness.read(key))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [DATA] * 4


def test_a_reader_may_stop_early_and_close_twice(harness: Harness) -> None:
    key = harness.put(DATA)
    blob = harness.store.open(key)
    assert DATA.startswith(next(iter(blob)))
    blob.close()
    blob.close()
    assert harness.read(key) == DATA


def test_pieces_are_small(harness: Harness) -> None:
    key = harness.put(DATA)
    with closing(harness.store.open(key)) as blob:
        assert max(len(piece) for piece in blob) <= 1024 * 1024


def test_a_read_holds_little_however_large_the_object(harness: Harness) -> None:
    size = harness.read_ahead + 12 * 1024 * 1024
    key = harness.put(bytes(size))
    tracemalloc.start()
    try:
        with closing(harness.store.open(key)) as blob:
            assert sum(map(len, blob)) == size
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < harness.read_ahead


def test_url_and_key_are_inverse(harness: Harness) -> None:
    key = harness.put(DATA)
    assert harness.store.key_of(harness.store.url(key)) == key
    missing = harness.new_key()
    assert harness.store.key_of(harness.store.url(missing)) == missing


@pytest.mark.parametrize("url", ["", "nonsense", "ftp://127.0.0.1/x", "file://", "rbd://a/b/c", "http://[::1"])
def test_foreign_urls_have_no_key(harness: Harness, url: str) -> None:
    assert harness.store.key_of(url) is None


def test_a_healthy_store_says_so(harness: Harness) -> None:
    harness.put(DATA)
    harness.store.check()
