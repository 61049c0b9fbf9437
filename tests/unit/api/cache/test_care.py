"""Care of the image cache: room, queue, records, copies of unknown origin, nodes, disks that fail."""

import errno
import logging
import os
import shutil
import sqlite3
import time

import pytest
from tests.unit.api.cache.conftest import (
    LONG,
    PIECE,
    Reading,
    SlowStore,
    again,
    ids,
    image,
    keep,
    read,
    settings,
    settle,
    wanted,
)

from glance_api.cache import layout, monitoring
from glance_api.cache.facade import ImageCache
from glance_api.cache.upkeep import CacheUpkeep
from glance_common.model.errors import BadRequest, Unavailable


def age(cache, *image_ids):
    """Let these copies have been used long ago, the first one first."""
    for number, image_id in enumerate(image_ids):
        path = f"{cache.settings.directory}/{image_id}"
        seen = os.stat(path)
        os.utime(path, ns=(1_000_000_000 * (number + 1), seen.st_mtime_ns))


@pytest.mark.parametrize("driver", ["sqlite", "xattr"])
def test_hits_are_counted_and_recorded(make_cache, driver):
    cache = make_cache(driver=driver)
    image_id = keep(cache, 1)
    [entry] = cache.cached()
    assert (entry.image_id, entry.size, entry.hits, entry.last_accessed) == (image_id, PIECE, 0, 0.0)
    assert entry.checksum == "0" * 32
    assert abs(entry.last_modified - time.time()) < LONG
    assert [again(cache, 1) for _ in range(3)] == [0, 0, 0]
    other = make_cache(driver=driver)
    assert again(other, 1) == 0
    cache.flush()
    other.flush()
    [entry] = other.cached()
    assert entry.hits == 4
    assert abs(entry.last_accessed - time.time()) < LONG


def test_the_least_recently_used_make_room_and_the_size_holds(make_cache):
    cache = make_cache(max_size=4 * PIECE)
    kept = [keep(cache, number) for number in range(4)]
    age(cache, kept[2], kept[0], kept[1], kept[3])
    assert again(cache, 2) == 0
    newer = keep(cache, 9, 2 * PIECE)
    assert sorted(ids(cache)) == sorted([kept[2], kept[3], newer])


def test_what_is_read_stays_and_one_new_copy_may_exceed_the_size(make_cache):
    cache, other = make_cache(max_size=2 * PIECE), make_cache(max_size=2 * PIECE)
    kept = [keep(cache, number) for number in range(2)]
    age(cache, *kept)
    reading = [cache.copy(wanted(*image(number, PIECE), SlowStore(b"")), None) for number in range(2)]
    newer = keep(other, 9)
    assert sorted(ids(cache)) == sorted([*kept, newer])
    reading.append(other.copy(wanted(*image(9, PIECE), SlowStore(b"")), None))
    image_id, data = image(10, PIECE)
    assert other.read(wanted(image_id, data, SlowStore(data)), None) is None
    for blob in reading:
        blob.close()
    assert cache.prune().files == 1
    assert sorted(ids(cache)) == sorted([kept[1], newer])


def test_a_size_that_was_made_smaller_holds_soon(make_cache):
    larger = make_cache()
    kept = [keep(larger, number) for number in range(4)]
    age(larger, *kept)
    smaller = make_cache(max_size=2 * PIECE)
    CacheUpkeep(smaller).tidy()
    assert sorted(ids(smaller)) == sorted(kept[2:])


def test_a_look_at_a_copy_is_no_hit(cache):
    kept = keep(cache, 1)
    age(cache, kept)
    cache.copy(wanted(*image(1, PIECE), SlowStore(b"")), None).close()
    cache.flush()
    assert [(entry.hits, entry.last_accessed) for entry in cache.cached()] == [(0, 0.0)]
    assert os.stat(f"{cache.settings.directory}/{kept}").st_atime < 100


def test_an_image_that_is_larger_than_the_cache_removes_nothing(make_cache):
    cache = make_cache(max_size=2 * PIECE)
    kept = keep(cache, 1)
    image_id, data = image(2, 3 * PIECE)
    assert cache.read(wanted(image_id, data, SlowStore(data)), None) is None
    assert ids(cache) == [kept]


def test_running_fills_count_with_the_room_that_they_will_take(make_cache):
    cache = make_cache(max_size=4 * PIECE)
    image_id, data = image(1, 3 * PIECE)
    store = SlowStore(data, hold=10)
    first = Reading(cache, wanted(image_id, data, store)).wait_for(9)
    other_id, other = image(2, 2 * PIECE)
    assert cache.read(wanted(other_id, other, SlowStore(other)), None) is None
    store.release()
    first.result()


def test_what_was_set_aside_goes_before_copies_do(make_cache):
    cache = make_cache(max_size=3 * PIECE)
    image_id, data = image(1, PIECE)
    with pytest.raises(Exception, match="not whole or right"):
        read(cache, wanted(image_id, data, SlowStore(data), digest="0"))
    kept = [keep(cache, number, PIECE) for number in (2, 3, 4)]
    assert sorted(ids(cache)) == sorted(kept)
    assert os.listdir(f"{cache.settings.directory}/invalid") == []


def test_the_disk_is_full_which_is_said_once(cache, monkeypatch, caplog):
    def full(descriptor, size):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    image_id, data = image(1)
    monkeypatch.setattr(layout, "reserve", full)
    for _ in range(3):
        assert cache.read(wanted(image_id, data, SlowStore(data)), None) is None
    assert [record.levelname for record in caplog.records if "No space left" in record.message] == ["ERROR"]
    assert os.listdir(f"{cache.settings.directory}/incomplete") == []
    monkeypatch.undo()
    assert read(cache, wanted(image_id, data, SlowStore(data))) == data


def test_the_disk_becomes_full_in_a_fill_and_readers_go_on_at_the_store(cache, monkeypatch):
    image_id, data = image(1)
    store = SlowStore(data)
    written = []

    def write(descriptor, view, write=os.write):
        if len(view) > 1000 and len(written) >= 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written.append(len(view))
        return write(descriptor, view)

    monkeypatch.setattr("glance_api.cache.fill.os.write", write)
    assert read(cache, wanted(image_id, data, store)) == data
    settle(cache)
    monkeypatch.undo()
    assert store.opened[0] == (0, None)
    assert len(store.opened) == 2
    assert ids(cache) == []
    assert os.listdir(f"{cache.settings.directory}/incomplete") == []


@pytest.mark.parametrize("harm", ["removed", "broken", "other table"])
def test_the_index_is_made_anew_from_the_directory(make_cache, harm):
    cache = make_cache()
    kept = keep(cache, 1)
    path = f"{cache.settings.directory}/cache.db"
    if harm == "other table":
        with sqlite3.connect(path) as connection:
            connection.execute("DROP TABLE cached_images")
            connection.execute("CREATE TABLE cached_images (name TEXT)")
        connection.close()
    else:
        for end in ("-wal", "-shm", ""):
            if os.path.exists(path + end):
                os.unlink(path + end)
    if harm == "broken":
        with open(path, "wb") as file:
            file.write(b"no database" * 1000)
    assert again(cache, 1) == 0
    assert ids(cache) == [kept]
    cache.flush()
    assert [entry.hits for entry in cache.cached()] == [1]
    assert CacheUpkeep(cache).unverified() == []
    assert again(make_cache(), 1) == 0


def test_uses_of_copies_that_are_gone_are_forgotten(cache):
    kept = keep(cache, 1)
    assert again(cache, 1) == 0
    os.unlink(f"{cache.settings.directory}/{kept}")
    CacheUpkeep(cache).tidy()
    assert again(cache, 1) == 1
    settle(cache)
    cache.flush()
    assert [entry.hits for entry in cache.cached()] == [0]


def original_cache(directory, number):
    """Make a directory as the original leaves it, with one copy, and return its id and file."""
    image_id, data = image(number)
    for name in ("incomplete", "invalid", "queue"):
        (directory / name).mkdir(parents=True)
    (directory / image_id).write_bytes(data)
    connection = sqlite3.connect(directory / "cache.db")
    with connection:
        connection.execute(
            "CREATE TABLE cached_images (image_id TEXT PRIMARY KEY, last_accessed REAL DEFAULT 0.0, "
            "last_modified REAL DEFAULT 0.0, size INTEGER DEFAULT 0, hits INTEGER DEFAULT 0, checksum TEXT NULL)"
        )
        connection.execute(
            "INSERT INTO cached_images VALUES (?, 1700000000.5, 1600000000.5, ?, 7, NULL)", (image_id, len(data))
        )
    connection.close()
    return image_id, directory / image_id


def test_copies_of_the_original_are_verified_before_they_are_used(make_cache, tmp_path):
    image_id, path = original_cache(tmp_path / "cache", 1)
    cache = make_cache()
    _, data = image(1)
    store = SlowStore(data)
    asked = wanted(image_id, data, store)
    assert cache.read(asked, None) is None
    upkeep = CacheUpkeep(cache)
    assert cache.doubtful() is asked
    assert cache.doubtful() is None
    assert upkeep.unverified() == [image_id]
    assert upkeep.verify(asked)
    assert upkeep.unverified() == []
    assert read(cache, asked) == data
    assert store.opened == []
    [entry] = cache.cached()
    assert (entry.hits, entry.last_accessed > 1700000001, entry.size) == (8, True, path.stat().st_size)


def test_damaged_copies_of_unknown_origin_are_set_aside(make_cache, tmp_path):
    image_id, path = original_cache(tmp_path / "cache", 1)
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    cache = make_cache()
    _, data = image(1)
    asked = wanted(image_id, data, SlowStore(data))
    assert not CacheUpkeep(cache).verify(asked)
    assert os.listdir(f"{cache.settings.directory}/invalid") == [image_id]
    assert read(cache, asked) == data


def test_a_copy_that_was_changed_is_not_served(cache):
    image_id = keep(cache, 1)
    _, data = image(1, PIECE)
    with open(f"{cache.settings.directory}/{image_id}", "r+b") as file:
        file.write(b"other")
    assert cache.copy(wanted(image_id, data, SlowStore(data)), None) is None
    assert again(cache, 1) == 1
    with open(f"{cache.settings.directory}/{image_id}", "r+b") as file:
        file.truncate(10)
    assert read(cache, wanted(image_id, data, SlowStore(data))) == data
    settle(cache)
    assert again(cache, 1) == 0


def test_the_queue_keeps_its_order(cache):
    first, second = image(1)[0], image(2)[0]
    assert cache.queue(first)
    assert cache.queue(second)
    assert not cache.queue(first)
    assert cache.queued() == [first, second]
    upkeep = CacheUpkeep(cache)
    upkeep.postpone(first)
    assert cache.queued() == [second, first]
    assert cache.drop_queued(second)
    assert not cache.drop_queued(second)
    assert cache.clear_queue() == 1
    with pytest.raises(BadRequest):
        cache.queue("../x")


def test_queued_images_are_fetched_as_many_at_once_as_may_be(make_cache):
    here, there = make_cache(prefetch_workers=1), make_cache(prefetch_workers=1)
    image_id, data = image(1)
    here.queue(image_id)
    here.queue(image(2)[0])
    found, slot = CacheUpkeep(here).next_queued(lambda _: False)
    assert found == image_id
    assert CacheUpkeep(there).next_queued(lambda _: False) is None
    store = SlowStore(data)
    assert CacheUpkeep(here).fetch(wanted(image_id, data, store))
    assert CacheUpkeep(there).fetch(wanted(image_id, data, store))
    assert store.opened == [(0, None)]
    slot.close()
    assert here.queued() == [image_id, image(2)[0]]
    found, slot = CacheUpkeep(there).next_queued(lambda _: False)
    assert found == image(2)[0]
    slot.close()
    assert here.queued() == [image(2)[0]]


def test_a_slow_prefetch_hurries_when_a_reader_comes(make_cache):
    cache, other = make_cache(prefetch_rate=1), make_cache()
    image_id, data = image(1)
    store = SlowStore(data)
    fetching = Reading(cache, wanted(image_id, data, store))
    assert fetching.result() == data

    image_id, data = image(2)
    store = SlowStore(data)
    joined = cache._parts.fills.join(wanted(image_id, data, store), may_start=True, rate=1)
    assert joined.growing.wait(0, LONG)
    # At one byte a second the whole would take a week.
    assert joined.growing.end is None
    assert read(other, wanted(image_id, data, store)) == data
    joined.growing.leave()
    assert len(store.opened) == 1


def test_clean_removes_what_failed_what_the_dead_left_and_what_stalls(make_cache):
    cache = make_cache(stall_time=3600)
    root = cache.settings.directory
    dead, failed, running = image(1)[0], image(2)[0], image(3)
    open(f"{root}/incomplete/{dead}", "wb").close()
    open(f"{root}/invalid/{failed}", "wb").close()
    store = SlowStore(running[1], hold=PIECE)
    reading = Reading(cache, wanted(*running, store)).wait_for(PIECE - 1)
    assert cache.clean() == 2
    assert os.listdir(f"{root}/incomplete") == [running[0]]
    os.utime(f"{root}/incomplete/{running[0]}", (1, 1))
    assert cache.clean() == 0, "the process that fills it knows better than the clock"
    assert make_cache(stall_time=3600).clean() == 1
    store.release()
    assert reading.result() == running[1]
    settle(cache)
    assert ids(cache) == []


def test_drop_clear_and_forget(cache):
    kept = [keep(cache, number) for number in range(3)]
    cache.queue(image(7)[0])
    assert cache.drop(kept[0])
    assert not cache.drop(kept[0])
    cache.forget(image(7)[0])
    cache.forget("no id")
    assert cache.queued() == []
    assert cache.clear() == 2
    assert cache.cached() == []


def test_folders_that_are_removed_while_it_works_come_back(cache):
    keep(cache, 1)
    shutil.rmtree(cache.settings.directory)
    image_id, data = image(2, PIECE)
    assert cache.read(wanted(image_id, data, SlowStore(data)), None) is None
    with pytest.raises(Unavailable):
        cache.cached()
    CacheUpkeep(cache).tidy()
    assert cache.cached() == []
    assert read(cache, wanted(image_id, data, SlowStore(data))) == data
    settle(cache)
    assert ids(cache) == [image_id]


def test_another_node_is_refused_by_name(make_cache, caplog):
    first, second = make_cache(node="a"), make_cache(node="b")
    assert first.is_open
    assert not second.is_open
    assert "belongs to the node a, which uses it now; this node is b" in caplog.text
    assert second.read(wanted(*image(1), SlowStore(b"")), None) is None
    with pytest.raises(Unavailable):
        second.cached()
    with pytest.raises(Unavailable, match="belongs to the node a"):
        monitoring.check(second.settings)
    monitoring.check(first.settings)
    assert not second.open()
    assert caplog.text.count("belongs to the node a") == 1
    first.close()
    assert second.open()
    assert make_cache(node="b").is_open


def test_a_directory_that_cannot_be_used_is_said_and_tried_again(tmp_path, caplog):
    cache = ImageCache(settings(tmp_path / "missing" / "cache"))
    assert not cache.open()
    assert f"image_cache_dir {tmp_path}/missing/cache cannot be used: No such file or directory" in caplog.text
    assert cache.read(wanted(*image(1), SlowStore(b"")), None) is None
    cache.forget(image(1)[0])
    with pytest.raises(Unavailable, match="No such file"):
        monitoring.check(cache.settings)
    (tmp_path / "missing").mkdir()
    assert cache.open()
    cache.close()


def test_a_process_that_dies_while_it_looks_leaves_nothing(cache, monkeypatch):
    """The next look removes what the killed one has made."""
    place = layout.CacheLayout(cache.settings.directory)

    def killed(path, **_):
        raise KeyboardInterrupt(path)

    with monkeypatch.context() as patched:
        patched.setattr(os, "unlink", killed)
        with pytest.raises(KeyboardInterrupt):
            place.prepare()
    assert len(os.listdir(place.incomplete)) == 1
    place.prepare()
    assert os.listdir(place.incomplete) == []


def test_the_directory_of_a_store_is_refused_by_whatever_name(tmp_path, caplog):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / ".glance-store").write_text("uuid")
    (tmp_path / "link").symlink_to(tmp_path / "images")
    assert not ImageCache(settings(tmp_path / "link")).open()
    assert "it is the directory of a store" in caplog.text
    assert os.listdir(tmp_path / "images") == [".glance-store"]


def test_the_monitor_tells_how_full_it_is(make_cache):
    cache = make_cache()
    keep(cache, 1)
    cache.queue(image(2)[0])
    families = {family.name: family for family in monitoring.CacheNumbers(cache.settings).collect()}

    def values(name):
        return {sample.labels["kind"]: sample.value for sample in families[name].samples}

    assert values("glance_cache_images") == {"copy": 1, "incomplete": 0, "invalid": 0, "queued": 1}
    assert values("glance_cache_size_bytes")["copy"] >= PIECE
    assert values("glance_cache_size_bytes")["limit"] == cache.settings.max_size
    assert 0 <= values("glance_cache_oldest_use_seconds")["copy"] < LONG


def test_an_index_that_cannot_be_used_costs_no_reader_anything(make_cache, caplog):
    caplog.set_level(logging.WARNING)
    cache = make_cache()
    path = f"{cache.settings.directory}/cache.db"
    os.mkdir(path)
    keep(cache, 1)
    assert again(cache, 1) == 0
    cache.flush()
    os.rmdir(path)
    assert CacheUpkeep(cache).unverified() == []
    cache.flush()
    assert [entry.hits for entry in cache.cached()] == [1]
    assert caplog.text.count("index of the image cache cannot be used now") == 1
