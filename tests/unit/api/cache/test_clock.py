"""The image cache while the clock of the host jumps, and fills that do not grow."""

import os
import threading
import time

import pytest
from tests.support.waiting import wait_for
from tests.unit.api.cache.conftest import LONG, PIECE, Reading, SlowStore, again, ids, image, keep, settle, wanted

from glance_api.cache import fills
from glance_api.cache.upkeep import CacheUpkeep


def test_a_fill_that_does_not_grow_is_removed_by_its_own_process(make_cache):
    cache = make_cache(stall_time=1, patience=LONG)
    image_id, data = image(1)
    store = SlowStore(data, hold=PIECE)
    reading = Reading(cache, wanted(image_id, data, store)).wait_for(PIECE - 1)
    incomplete = f"{cache.settings.directory}/incomplete"
    wait_for(lambda: CacheUpkeep(cache).tidy() or not os.listdir(incomplete), "the end of the file")
    store.release()
    assert reading.result() == data
    settle(cache)
    assert ids(cache) == []


@pytest.mark.parametrize("jump", [-5 * 86400, 5 * 86400])
def test_a_clock_that_jumps_ends_no_fill(make_cache, monkeypatch, jump):
    cache, other = make_cache(), make_cache()
    image_id, data = image(1)
    store = SlowStore(data, hold=PIECE)
    reading = Reading(cache, wanted(image_id, data, store)).wait_for(PIECE - 1)
    follower = Reading(other, wanted(image_id, data, SlowStore(data))).wait_for(PIECE - 1)
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + jump)
    for each in (cache, other, make_cache()):
        CacheUpkeep(each).tidy()
    assert cache.clean() == other.clean() == 0
    store.release()
    assert reading.result() == follower.result() == data
    settle(cache)
    assert ids(cache) == [image_id]
    assert len(store.opened) == 1


def test_a_clock_that_is_set_back_does_not_change_who_was_used_last(make_cache, monkeypatch):
    cache = make_cache(max_size=3 * PIECE)
    first, second, third = (keep(cache, number) for number in range(3))
    real = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: real() - 86400 * 10**9)
    assert again(cache, 0) == 0
    fourth = keep(cache, 4)
    assert ids(cache) == sorted([first, third, fourth])
    again(cache, 2)
    again(cache, 0)
    fifth = keep(cache, 5)
    assert ids(cache) == sorted([third, first, fifth])
    assert second not in ids(cache)


@pytest.mark.parametrize("jump", [-5 * 86400, 5 * 86400])
def test_the_cleaner_believes_what_it_sees_rather_than_the_clock(make_cache, monkeypatch, jump):
    filling, cleaning = make_cache(), make_cache()
    image_id = image(1)[0]
    path = f"{filling.settings.directory}/incomplete/{image_id}"
    lock = filling._parts.locks.fill(image_id)
    over = threading.Event()

    def grow():
        with open(path, "wb", buffering=0) as file:
            while not over.wait(0.02):
                file.write(b"more")

    thread = threading.Thread(target=grow)
    thread.start()
    try:
        wait_for(lambda: os.path.exists(path) and os.path.getsize(path), "the file")
        real = time.time
        monkeypatch.setattr(time, "time", lambda: real() + jump)
        # A busy machine may hold up the writer.
        monkeypatch.setattr(fills, "_LOOK", LONG)
        assert cleaning.clean() == 0
    finally:
        over.set()
        thread.join()
    monkeypatch.setattr(fills, "_LOOK", 0.5)
    assert cleaning.clean() == 1, "it stands still now"
    lock.close()
