"""What workers do for the cache, and how the services join it with images and stores."""

import errno
import os
from hashlib import md5, sha512
from types import SimpleNamespace

import pytest
import xxhash
from tests.unit.api.cache.conftest import PIECE, SlowStore, image, settle

from glance_api.background.cache_work import TIDY_EVERY, CacheDuties
from glance_api.content.streams import ByteRange
from glance_api.services import cached_data
from glance_common.model.errors import NotFound, Unavailable
from glance_common.model.image import Image, ImageLocation
from glance_common.model.status import ImageStatus
from glance_common.stores.contract import RangeUnsupported, StoreUnavailable


def record(number, size=3 * PIECE, **changes):
    """Return the row of an image whose data are those of ``image(number, size)``."""
    image_id, data = image(number, size)
    fingerprint = f"xxh3-128:{xxhash.xxh3_128(data).hexdigest()}"
    row = Image(
        id=image_id, name="x", status=ImageStatus.ACTIVE, visibility="private", owner="own", disk_format="raw",
        container_format="bare", size=len(data), virtual_size=None, min_disk=0, min_ram=0, protected=False,
        os_hidden=False, checksum=md5(data, usedforsecurity=False).hexdigest(), os_hash_algo="sha512",
        os_hash_value=sha512(data).hexdigest(), created_at="", updated_at="", row_version=1, properties={}, tags=[],
        locations=(ImageLocation("l", "remote", image_id, {}, fingerprint),),
    )
    return row._replace(**changes)


class Cloud:
    """Services over a cache: a registry with these rows, and a store with the data of their images."""

    def __init__(self, cache, *rows):
        self.cache = cache
        self.rows = {row.id: row for row in rows}
        self.store = SlowStore(b"")
        self.opened = []
        self.error = None
        self.ranges = True
        self.id = "remote"
        self.registry = SimpleNamespace(images=SimpleNamespace(get=self._row))
        self.stores = SimpleNamespace(get=lambda _: self)

    def _row(self, _context, image_id, *, locations):
        assert locations
        if image_id not in self.rows:
            raise NotFound(image_id)
        return self.rows[image_id]

    def open(self, key, offset=0, length=None):
        self.opened.append((key, offset, length))
        if self.error is not None:
            raise self.error
        if offset and not self.ranges:
            raise RangeUnsupported("no")
        number = int(key[-4:], 16)
        return SlowStore(image(number, self.rows[key].size)[1]).open(offset, length)


def through(cloud, row, part=None, **how):
    """Return what a download through the services gives."""
    opened = cached_data.open_data(cloud, row, part, **how)
    try:
        return b"".join(opened.blob)
    finally:
        opened.blob.close()


def test_without_a_cache_the_store_is_read():
    cloud = Cloud(None, record(1))
    opened = cached_data.open_data(cloud, record(1), None)
    assert not opened.is_cached
    assert opened.proof() == ("xxh3-128", record(1).locations[0].fingerprint.partition(":")[2])
    assert b"".join(opened.blob) == image(1, 3 * PIECE)[1]


def test_a_download_is_kept_and_the_next_comes_from_the_cache(cache):
    row = record(1)
    cloud = Cloud(cache, row)
    assert through(cloud, row) == image(1, 3 * PIECE)[1]
    settle(cache)
    opened = cached_data.open_data(cloud, row, ByteRange(5, 10))
    assert opened.is_cached
    assert opened.proof() is None
    assert b"".join(opened.blob) == image(1, 3 * PIECE)[1][5:15]
    opened.blob.close()
    assert cloud.opened == [(row.id, 0, None)]


def test_a_look_begins_no_copy(cache):
    cloud = Cloud(cache, record(1))
    opened = cached_data.open_data(cloud, record(1), None, is_sent=False)
    assert not opened.is_cached
    opened.blob.close()
    assert cache.cached() == []


@pytest.mark.parametrize(
    "changes",
    [
        {"status": ImageStatus.DEACTIVATED},
        {"checksum": None, "os_hash_algo": None, "os_hash_value": None, "locations": ()},
        {"size": 0},
    ],
)
def test_s49_s65_what_is_never_kept(cache, changes):
    assert cached_data.wanted(Cloud(cache), record(1, **changes)) is None


@pytest.mark.parametrize(
    ("changes", "algorithm"),
    [
        ({}, "xxh3-128"),
        ({"locations": (ImageLocation("l", "remote", "k", {}, None),)}, "sha512"),
        ({"locations": (), "os_hash_algo": None, "os_hash_value": None}, "md5"),
    ],
)
def test_the_fastest_digest_that_is_known(cache, changes, algorithm):
    row = record(1, **changes)
    found = cached_data.wanted(Cloud(cache), row)
    assert (found.algorithm, found.size, found.checksum) == (algorithm, row.size, row.checksum)


def test_a_store_without_ranges_gives_parts_all_the_same(cache):
    row = record(1)
    cloud = Cloud(cache, row)
    cloud.ranges = False
    data = image(1, 3 * PIECE)[1]
    for offset, length in ((10, None), (PIECE + 3, 2 * PIECE - 7), (5, 1), (3 * PIECE, 0)):
        blob = cached_data.wanted(cloud, row).open(offset, length)
        assert b"".join(blob) == data[offset:len(data) if length is None else offset + length]
        blob.close()


def test_a_store_that_is_down_answers_as_without_the_cache(cache):
    cloud = Cloud(cache, record(1))
    cloud.error = StoreUnavailable("s3://user:secret@host is down")
    with pytest.raises(Unavailable) as told:
        cached_data.open_data(cloud, record(1), None)
    assert "secret" not in told.value.message


def duties(cloud, **how):
    found = CacheDuties(cloud, cloud.cache, **how)
    found.housekeeping()
    return found


def test_queued_images_are_fetched_and_leave_the_queue(cache):
    row = record(1)
    cloud = Cloud(cache, row)
    work = duties(cloud)
    cache.queue(row.id)
    work.run(work.claim())
    assert cache.has(row.id)
    assert cache.queued() == []
    assert work.claim() is None


@pytest.mark.parametrize("changes", [None, {"status": ImageStatus.QUEUED, "size": None}])
def test_what_cannot_be_fetched_leaves_the_queue(cache, changes, caplog):
    row = record(1)
    cloud = Cloud(cache, *([] if changes is None else [row._replace(**changes)]))
    work = duties(cloud)
    cache.queue(row.id)
    work.run(work.claim())
    assert cache.queued() == []
    assert "is not fetched: it is not active" in caplog.text


def test_what_fails_waits_behind_the_others(cache):
    now = [0.0]
    first, second = record(1), record(2)
    cloud = Cloud(cache, first, second)
    work = duties(cloud, clock=lambda: now[0])
    cache.queue(first.id)
    cache.queue(second.id)
    cloud.error = StoreUnavailable("down")
    work.run(work.claim())
    assert cache.queued() == [second.id, first.id]
    job = work.claim()
    assert job.image_id == second.id
    work.run(job)
    assert work.claim() is None
    cloud.error = None
    now[0] += 61
    for _ in range(2):
        work.run(work.claim())
    assert cache.queued() == []
    assert sorted(copy.image_id for copy in cache.cached()) == [first.id, second.id]


def test_copies_of_unknown_origin_are_verified_or_leave(cache):
    row, gone = record(1), record(2)
    cloud = Cloud(cache, row)
    for each in (1, 2):
        image_id, data = image(each, 3 * PIECE)
        with open(f"{cache.settings.directory}/{image_id}", "wb") as file:
            file.write(data)
    work = duties(cloud)
    while (job := work.claim()) is not None:
        work.run(job)
    assert [copy.image_id for copy in cache.cached()] == [row.id]
    assert not cache.has(gone.id)
    assert through(cloud, row) == image(1, 3 * PIECE)[1]
    assert cloud.opened == []


def test_a_copy_that_a_reader_met_is_verified_first(cache):
    row = record(1)
    cloud = Cloud(cache, row)
    work = duties(cloud)
    woken = []
    cache.wake = lambda: woken.append(1)
    with open(f"{cache.settings.directory}/{row.id}", "wb") as file:
        file.write(image(1, 3 * PIECE)[1])
    assert through(cloud, row) == image(1, 3 * PIECE)[1]
    assert woken
    work.run(work.claim())
    assert through(cloud, row) == image(1, 3 * PIECE)[1]
    assert len(cloud.opened) == 1


def test_a_cache_that_is_off_has_no_work(make_cache):
    make_cache(node="other")
    cache = make_cache(node="mine")
    work = duties(Cloud(cache))
    assert work.claim() is None


def test_what_dead_processes_left_goes_with_the_next_look(cache):
    now = [0.0]
    left = f"{cache.settings.directory}/incomplete/{image(1)[0]}"
    work = duties(Cloud(cache), clock=lambda: now[0])
    open(left, "wb").close()
    work.housekeeping()
    assert os.path.exists(left)
    now[0] += TIDY_EVERY + 1
    work.housekeeping()
    assert not os.path.exists(left)


def test_a_disk_that_fails_is_told_as_unavailable(cache, monkeypatch):
    def fail(*_):
        raise OSError(errno.EIO, os.strerror(errno.EIO), "somewhere")

    monkeypatch.setattr(os, "scandir", fail)
    for ask in (cache.cached, cache.queued, cache.prune, cache.clean, cache.clear):
        with pytest.raises(Unavailable, match="directory of the image cache"):
            ask()
