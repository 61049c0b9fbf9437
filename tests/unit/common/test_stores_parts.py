"""Objects in parts."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

import pytest
from tests.support.stores import MemoryIdentities
from tests.support.waiting import wait_for

from glance_common.stores import parts
from glance_common.stores.contract import StoreUnavailable
from glance_common.stores.parts import in_parts, part_sizes, send_parts
from glance_common.stores.place_mark import PlaceMark
from glance_common.stores.room import SharedRoom

MIB = 1024 * 1024


@pytest.mark.parametrize("size", [0, 1, 8 * MIB, 8 * MIB * 10_000, 8 * MIB * 10_000 + 1, 5 * 1024**4])
def test_an_object_of_known_size_has_few_enough_parts(size):
    part = next(part_sizes(8 * MIB, size, 10_000))
    assert part >= 8 * MIB
    assert part * 10_000 >= size


def test_parts_of_unknown_size_grow_until_the_largest_object_fits():
    sizes = list(islice(part_sizes(8 * MIB, None, 10_000), 10_000))
    assert sizes[:999] == [8 * MIB] * 999
    assert sizes == sorted(sizes)
    assert sum(sizes) > 5 * 1024**4


@pytest.mark.parametrize("lengths", [[], [0], [1], [10], [11], [3, 3, 3, 1], [25], [0, 7, 0, 40, 2]])
def test_pieces_become_parts(lengths):
    data = bytes(index % 251 for index in range(sum(lengths)))
    pieces, start = [], 0
    for length in lengths:
        pieces.append(data[start : start + length])
        start += length
    parts = list(in_parts(pieces, iter([10] * 100)))
    assert b"".join(parts) == data
    assert [len(part) for part in parts[:-1]] == [10] * (len(parts) - 1)
    assert all(parts)


def test_bytes_that_are_a_part_already_are_not_copied():
    """What may change later is."""
    whole, changing = b"0123456789", bytearray(b"abcdefghij")
    parts = in_parts([whole, memoryview(changing), b"12", b"3456789012", b"rest"], iter([10] * 100))
    assert next(parts) is whole
    copied = next(parts)
    changing[:] = b"ABCDEFGHIJ"
    assert copied == b"abcdefghij"
    assert [bytes(part) for part in parts] == [b"1234567890", b"12rest"]


def test_parts_are_sent_side_by_side_and_no_more_than_allowed():
    barrier, now, most = threading.Barrier(3, timeout=60), [0], [0]
    lock = threading.Lock()

    def send(number: int, part: bytearray) -> tuple[int, bytes]:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        barrier.wait()  # broken unless three are under way
        with lock:
            now[0] -= 1
        return number, bytes(part)

    parts = [bytearray([number]) for number in range(1, 10)]
    assert send_parts(parts, send, 3, SharedRoom(100)) == [(number, bytes([number])) for number in range(1, 10)]
    assert most == [3]


def test_large_parts_take_the_room_of_several():
    """Parts grow, memory does not: a part waits until those under way leave it room, and one alone always goes."""
    now, most = [0], [0]
    lock = threading.Lock()
    release = threading.Event()

    def send(number: int, part: bytearray) -> int:
        with lock:
            now[0] += len(part)
            most[0] = max(most[0], now[0])
        if number == 1:
            release.wait(60)
        with lock:
            now[0] -= len(part)
        return len(part)

    def parts() -> Iterator[bytearray]:
        yield bytearray(10)
        yield bytearray(10)
        release.set()
        for size in (20, 20, 40, 10):
            yield bytearray(size)

    room = SharedRoom(20)
    assert send_parts(parts(), send, 3, room) == [10, 10, 20, 20, 40, 10]
    assert most[0] <= 40 + 20
    wait_for(lambda: room.left == 20)


def test_uploads_share_the_room_and_each_has_one_part_of_its_own():
    room, lock, now, most = SharedRoom(20), threading.Lock(), [0], [0]
    together = threading.Barrier(4, timeout=60)

    def send(number: int, part: bytearray) -> int:
        with lock:
            now[0] += len(part)
            most[0] = max(most[0], now[0])
        together.wait()  # broken unless both uploads fill the room
        with lock:
            now[0] -= len(part)
        return len(part)

    with ThreadPoolExecutor(2) as pool:
        uploads = [pool.submit(send_parts, [bytearray(10) for _ in range(2)], send, 2, room) for _ in range(2)]
        assert [upload.result(60) for upload in uploads] == [[10, 10], [10, 10]]
    assert most[0] == 40
    wait_for(lambda: room.left == 20)


def test_an_upload_that_finds_no_room_sends_one_part_after_another():
    now, most = [0], [0]

    def send(number: int, part: bytearray) -> int:
        now[0] += 1
        most[0] = max(most[0], now[0])
        now[0] -= 1
        return number

    assert send_parts([bytearray(10) for _ in range(5)], send, 4, SharedRoom(0)) == [1, 2, 3, 4, 5]
    assert most == [1]


def test_no_part_begins_after_an_error():
    begun: list[int] = []

    def send(number: int, part: bytearray) -> None:
        begun.append(number)
        if number == 2:
            raise StoreUnavailable("the server is away")

    with pytest.raises(StoreUnavailable, match="is away"):
        send_parts((bytearray(1) for _ in range(100)), send, 2, SharedRoom(100))
    assert len(begun) <= 5


def test_an_error_of_the_source_waits_for_what_is_under_way():
    ended = threading.Event()
    release = threading.Event()

    def send(number: int, part: bytearray) -> None:
        release.wait(60)
        ended.set()

    def parts() -> Iterator[bytearray]:
        yield bytearray(1)
        release.set()
        raise KeyError("of the source")

    with pytest.raises(KeyError):
        send_parts(parts(), send, 2, SharedRoom(100))
    assert ended.is_set()


def test_parts_that_have_no_thread_yet_are_not_waited_for(monkeypatch):
    """The pool may leave a part in its queue: for a thread that is about to be free, or that could not be started."""
    sent: list[int] = []
    release = threading.Event()

    class OneThread(ThreadPoolExecutor):
        def __init__(self, count: int, **options: Any) -> None:
            super().__init__(1, **options)

        def shutdown(self, *args: Any, **how: Any) -> None:
            super().shutdown(*args, **how)
            release.set()

    monkeypatch.setattr(parts, "ThreadPoolExecutor", OneThread)

    def send(number: int, part: bytearray) -> None:
        sent.append(number)
        release.wait(60)

    def source() -> Iterator[bytearray]:
        for _ in range(3):
            yield bytearray(1)
        wait_for(lambda: sent)
        raise KeyError("of the source")

    failed: list[BaseException] = []

    def run() -> None:
        try:
            send_parts(source(), send, 4, SharedRoom(100))
        except KeyError as error:
            failed.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(60)
    assert failed
    assert sent == [1]


class _Place:
    def __init__(self) -> None:
        self.text: str | None = None
        self.writes: list[str] = []

    def read(self) -> str | None:
        return self.text

    def write(self, identity: str, *, replace: bool) -> None:
        self.writes.append(identity)
        self.text = identity

    def mark(self, identities: MemoryIdentities) -> PlaceMark:
        return PlaceMark("main", "bucket images", identities, read=self.read, write=self.write)


def test_a_place_is_marked_once_and_known_by_that():
    place, identities = _Place(), MemoryIdentities()
    first = place.mark(identities)
    identity = first.prove()
    assert first.prove() == place.mark(identities).prove() == identity
    assert place.writes == [identity]


@pytest.mark.parametrize("text", [None, "11111111-1111-4111-8111-111111111111", "no uuid"])
def test_a_place_without_its_mark_is_unavailable(text):
    place, identities = _Place(), MemoryIdentities()
    mark = place.mark(identities)
    identity = mark.prove()
    place.text = text
    for proof in (mark, place.mark(identities)):
        with pytest.raises(StoreUnavailable):
            proof.prove()
    place.text = f"{identity}\n"
    assert mark.prove() == identity


def test_of_two_first_users_one_mark_stays():
    place, identities = _Place(), MemoryIdentities()
    write = place.write

    def overtaken(text: str, *, replace: bool) -> None:
        write(text, replace=replace)
        place.write = write  # type: ignore[method-assign]  # the test's own
        other = place.mark(identities).prove()
        write(text, replace=replace)  # ours comes last
        assert other != text or identities.table

    place.write = overtaken  # type: ignore[method-assign]  # the test's own
    identity = PlaceMark(
        "main", "bucket images", identities, read=place.read,
        write=lambda identity, *, replace: place.write(identity, replace=replace),
    ).prove()
    assert identities.table == {("main", "bucket images"): identity}
    assert place.text == identity


def test_the_place_of_another_store_cannot_be_used():
    """Two names of one place: the second store would delete the data of the first."""
    place, identities = _Place(), MemoryIdentities()
    identity = place.mark(identities).prove()
    other = PlaceMark("other", "images by another name", identities, read=place.read, write=place.write)
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match="images by another name is the place of the store main"):
            other.prove()
    assert place.mark(identities).prove() == identity
