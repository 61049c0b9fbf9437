"""Readers of the image cache: hits, single flight, followers, and what happens when a fill fails, stalls or dies."""

import os
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.support.waiting import wait_for
from tests.unit.api.cache.conftest import PIECE, Reading, SlowStore, another_process, image, read, settle, wanted

from glance_api.cache.facade import FAR
from glance_api.content.streams import DamagedData
from glance_common.model.errors import Unavailable
from glance_common.stores.contract import StoreError, StoreUnavailable

STALL = 6.0
"""Seconds without a byte after which a fill has stalled; a machine that stands still is not taken for it."""


def names(cache):
    """Return what is in the cache's folders, by folder."""
    root = cache.settings.directory
    found = {name: sorted(os.listdir(f"{root}/{name}")) for name in ("incomplete", "invalid", "queue")}
    return {**found, "": sorted(name for name in os.listdir(root) if len(name) == 36)}


def users(cache, image_id):
    """Return how many use the file of the image that grows, as the process of this cache sees it."""
    growing = cache._parts.fills._known.get(image_id)
    return growing.users if growing else 0


def test_a_miss_is_kept_and_the_next_reader_gets_the_file(cache):
    image_id, data = image(1)
    store = SlowStore(data)
    asked = wanted(image_id, data, store)
    assert read(cache, asked) == data
    settle(cache)
    assert names(cache) == {"": [image_id], "incomplete": [], "invalid": [], "queue": []}
    blob = cache.read(asked, None)
    assert blob.fileno() is not None
    assert blob.path() == f"{cache.settings.directory}/{image_id}"
    assert b"".join(blob) == data
    blob.close()
    assert store.opened == [(0, None)]


def test_ranges_of_a_whole_copy(cache):
    image_id, data = image(1)
    store = SlowStore(data)
    asked = wanted(image_id, data, store)
    read(cache, asked)
    settle(cache)
    assert read(cache, asked, (5, 100)) == data[5:105]
    assert read(cache, asked, (len(data) - 1, 1)) == data[-1:]
    assert len(store.opened) == 1


def test_s66_ids_that_are_no_uuid_never_become_names(cache):
    _, data = image(1)
    for image_id in ("../../etc/passwd", "x", "00000000-0000-0000-0000-00000000000A", "cache.db", ""):
        assert cache.read(wanted(image_id, data, SlowStore(data)), None) is None
        assert not cache.drop(image_id)
        assert not cache.drop_queued(image_id)
        assert not cache.has(image_id)
    assert names(cache)[""] == []


def test_s66_other_users_of_the_host_see_nothing(cache):
    image_id, data = image(1)
    read(cache, wanted(image_id, data, SlowStore(data)))
    settle(cache)
    root = cache.settings.directory
    for path in (root, f"{root}/incomplete", f"{root}/{image_id}", f"{root}/.glance-cache"):
        assert os.stat(path).st_mode & 0o007 == 0


def test_many_readers_of_several_processes_are_one_read_of_the_store(make_cache):
    caches = [make_cache(), make_cache()]
    image_id, data = image(2)
    store = SlowStore(data, hold=PIECE)
    asked = wanted(image_id, data, store)
    readers = [Reading(caches[number % 2], asked) for number in range(40)]
    for reader in readers:
        reader.wait_for(PIECE - 1)
    store.release()
    assert [reader.result() == data for reader in readers] == [True] * 40
    assert store.opened == [(0, None)]


def test_followers_get_bytes_while_the_file_grows_ranges_too(make_cache):
    here, there = make_cache(), make_cache()
    image_id, data = image(3)
    store = SlowStore(data, hold=4 * PIECE)
    asked = wanted(image_id, data, store)
    Reading(here, asked).wait_for(3 * PIECE)
    for cache in (here, there):
        assert read(cache, asked, (PIECE, 2 * PIECE)) == data[PIECE:3 * PIECE]
    waiting = [Reading(cache, asked, (3 * PIECE, 5 * PIECE)).wait_for(PIECE) for cache in (here, there)]
    store.release()
    assert [reader.result() for reader in waiting] == [data[3 * PIECE:8 * PIECE]] * 2
    assert len(store.opened) == 1


def test_a_range_far_behind_what_is_there_is_read_from_the_store(cache):
    image_id, data = image(3, FAR + 8 * PIECE)
    store = SlowStore(data, hold=PIECE)
    asked = wanted(image_id, data, store)
    first = Reading(cache, asked).wait_for(PIECE - 1)
    assert cache.read(asked, (FAR + 4 * PIECE, PIECE)) is None
    store.release()
    assert first.result() == data


def test_a_range_and_a_look_at_whole_copies_begin_no_copy(cache):
    image_id, data = image(3)
    store = SlowStore(data)
    asked = wanted(image_id, data, store)
    assert cache.read(asked, (0, 10)) is None
    assert cache.copy(asked, None) is None
    assert store.opened == []
    assert names(cache)["incomplete"] == []


def test_the_reader_that_began_may_leave(cache):
    image_id, data = image(4)
    store = SlowStore(data, hold=PIECE)
    asked = wanted(image_id, data, store)
    blob = cache.read(asked, None)
    assert next(iter(blob))
    blob.close()
    follower = Reading(cache, asked).wait_for(PIECE - 1)
    store.release()
    assert follower.result() == data
    settle(cache)
    assert names(cache)[""] == [image_id]
    assert len(store.opened) == 1


@pytest.mark.parametrize("kind", ["damaged", "short", "broken"])
def test_s65_bad_data_end_every_reader_with_an_error_and_are_set_aside(make_cache, kind):
    here, there = make_cache(), make_cache()
    image_id, data = image(5)
    store = SlowStore(data if kind != "short" else data[:-5], hold=PIECE)
    if kind == "broken":
        store.error = StoreUnavailable("gone")
    asked = wanted(image_id, data, store, digest="0" * 64 if kind == "damaged" else None)
    readers = [Reading(cache, asked).wait_for(PIECE - 1) for cache in (here, there, here, there)]
    store.release()
    for reader in readers:
        with pytest.raises(StoreError):
            reader.result()
        assert len(reader.data) < len(data)
    settle(here)
    settle(there)
    assert names(here) == {"": [], "incomplete": [], "invalid": [image_id], "queue": []}
    assert len(store.opened) == 1


def test_a_reader_that_got_nothing_yet_is_told_of_bad_data_before_the_answer_begins(make_cache):
    here, there = make_cache(), make_cache()
    image_id, data = image(5)
    store = SlowStore(data, hold=0)
    store.error = StoreUnavailable("gone")
    asked = wanted(image_id, data, store)
    first = Reading(here, asked)
    wait_for(lambda: users(here, image_id) == 2, "the fill and its first reader")
    with ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(cache.read, asked, None) for cache in (here, there, here, there)]
        wait_for(lambda: (users(here, image_id), users(there, image_id)) == (4, 3), "four who wait")
        store.release()
        for each in waiting:
            with pytest.raises(StoreUnavailable, match="not whole or right"):
                each.result()
    with pytest.raises(StoreError):
        first.result()
    assert len(store.opened) == 1


def test_a_store_that_cannot_be_opened_says_so_as_without_the_cache(cache):
    image_id, data = image(6)
    store = SlowStore(data)
    store.refusal = Unavailable("down")
    with pytest.raises(Unavailable, match="down"):
        cache.read(wanted(image_id, data, store), None)
    assert names(cache)["incomplete"] == []
    store.refusal = None
    assert read(cache, wanted(image_id, data, store)) == data


def test_a_reader_of_a_fill_that_stalls_goes_on_at_the_store(make_cache):
    here, there = make_cache(patience=STALL), make_cache(patience=STALL)
    image_id, data = image(7)
    store = SlowStore(data, hold=3 * PIECE)
    other = SlowStore(data)
    first = Reading(here, wanted(image_id, data, store))
    first.wait_for(3 * PIECE)
    assert read(there, wanted(image_id, data, other)) == data
    assert other.opened == [(3 * PIECE, len(data) - 3 * PIECE)]
    assert read(there, wanted(image_id, data, other), (2 * PIECE, 3 * PIECE)) == data[2 * PIECE:5 * PIECE]
    store.release()
    assert first.result() == data


def test_only_the_first_readers_wait_for_a_fill_that_stalls(make_cache):
    cache = make_cache(patience=1.0)
    image_id, data = image(12)
    store, other = SlowStore(data, hold=3 * PIECE), SlowStore(data)
    first = Reading(cache, wanted(image_id, data, store)).wait_for(3 * PIECE)
    assert read(cache, wanted(image_id, data, other)) == data
    started = time.monotonic()
    for _ in range(50):
        assert read(cache, wanted(image_id, data, other)) == data
        assert cache.read(wanted(image_id, data, other), (5 * PIECE, 10)) is None
    # Each waiting by itself would take 100 seconds.
    assert time.monotonic() - started < 50
    store.release()
    assert first.result() == data


def test_who_goes_on_at_the_store_verifies_the_whole(make_cache):
    here, there = make_cache(patience=STALL), make_cache(patience=STALL)
    image_id, data = image(7)
    store = SlowStore(data, hold=3 * PIECE)
    other = SlowStore(data[:-1] + b"!")
    first = Reading(here, wanted(image_id, data, store))
    first.wait_for(3 * PIECE)
    follower = Reading(there, wanted(image_id, data, other))
    with pytest.raises(DamagedData):
        follower.result()
    assert len(follower.data) < len(data)
    store.release()
    first.result()




def test_a_file_whose_process_died_is_taken_over_and_goes_on(make_cache):
    there = make_cache()
    image_id, data = image(8)
    other = SlowStore(data)
    with another_process(there) as filler:
        followers = [Reading(there, wanted(image_id, data, other)).wait_for(3 * PIECE) for _ in range(3)]
        inode = os.stat(f"{there.settings.directory}/incomplete/{image_id}").st_ino
        filler.kill()
    assert [follower.result() == data for follower in followers] == [True] * 3
    assert other.opened == [(3 * PIECE, None)]
    settle(there)
    assert os.stat(f"{there.settings.directory}/{image_id}").st_ino == inode
    assert names(there)["incomplete"] == []


def test_what_a_dead_process_left_is_not_believed_by_a_new_reader(cache):
    image_id, data = image(9)
    with open(f"{cache.settings.directory}/incomplete/{image_id}", "wb") as left:
        left.write(b"\0" * PIECE)
    store = SlowStore(data)
    assert read(cache, wanted(image_id, data, store)) == data
    assert store.opened == [(0, None)]


def test_too_many_fills_leave_the_rest_to_the_store(make_cache):
    cache = make_cache(max_fills=1)
    image_id, data = image(10)
    store = SlowStore(data, hold=PIECE)
    first = Reading(cache, wanted(image_id, data, store)).wait_for(PIECE - 1)
    other_id, other = image(11)
    assert cache.read(wanted(other_id, other, SlowStore(other)), None) is None
    store.release()
    assert first.result() == data
    settle(cache)
    assert read(cache, wanted(other_id, other, SlowStore(other))) == other


def test_a_fill_without_readers_ends_with_its_process_one_with_readers_is_taken_over(make_cache):
    here, there = make_cache(), make_cache()
    (first, data), (second, other) = image(20), image(21)
    stores = SlowStore(data, hold=PIECE), SlowStore(other, hold=PIECE)
    for asked in (wanted(first, data, stores[0]), wanted(second, other, stores[1])):
        blob = here.read(asked, None)
        assert next(iter(blob))
        blob.close()
    elsewhere = SlowStore(other)
    follower = Reading(there, wanted(second, other, elsewhere)).wait_for(PIECE - 1)
    here.interrupt()
    for store in stores:
        store.release()
    here.close()
    assert follower.result() == other
    assert [offset for offset, _ in elsewhere.opened] in ([PIECE], [PIECE + 1], [2 * PIECE])
    settle(there)
    assert names(there) == {"": [second], "incomplete": [], "invalid": [], "queue": []}


def test_readers_are_many_and_images_too(make_cache):
    caches = [make_cache(max_fills=32), make_cache(max_fills=32)]
    images = [image(100 + number, PIECE * (number % 5) + 1 + number) for number in range(20)]
    stores = {image_id: SlowStore(data) for image_id, data in images}

    def one(number):
        image_id, data = images[number % len(images)]
        return read(caches[number % 2], wanted(image_id, data, stores[image_id])) == data

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(one, range(200)))
    assert [len(store.opened) for store in stores.values()] == [1] * 20
