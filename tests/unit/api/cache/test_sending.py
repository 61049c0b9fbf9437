"""Reads of a growing copy as the server's sender does them: by its descriptor, without a thread that waits."""

import os
import threading
import time
from types import SimpleNamespace

import pytest
from tests.support.waiting import wait_for
from tests.unit.api.cache.conftest import PIECE, Reading, SlowStore, another_process, ids, image, settle, wanted

from glance_api.cache import growing
from glance_api.cache.reading import FollowedBlob
from glance_common.model.errors import Unavailable
from glance_common.stores.contract import StoreUnavailable


def followed(cache, asked, part=None):
    """Return a read that waits for nothing."""
    blob = cache.read(asked, part, waits=False)
    assert isinstance(blob, FollowedBlob)
    return blob


def taken(blob, until):
    """Return what the sender sends before the read has come to the byte ``until``."""
    data, changed = bytearray(), threading.Event()
    blob.on_growth(changed.set)
    while len(data) < until:
        changed.clear()
        ready = blob.ready()
        assert ready is not None
        if not ready[1]:
            assert changed.wait(60)
            continue
        piece = os.pread(blob.descriptor, min(ready[1], until - len(data)), ready[0])
        blob.sent(len(piece))
        data += piece
    return bytes(data)


def test_a_read_begins_before_the_store_is_opened(make_cache):
    cache, other = make_cache(), make_cache()
    image_id, data = image(1)
    store, may_open = SlowStore(data), threading.Event()
    plain = store.open

    def slow(offset, length):
        assert may_open.wait(60)
        return plain(offset, length)

    store.open = slow
    blob = followed(cache, wanted(image_id, data, store))
    assert blob.ready() == (0, 0)
    follower = followed(other, wanted(image_id, data, SlowStore(data)))
    assert follower.ready() == (0, 0)
    part = followed(cache, wanted(image_id, data, store), (PIECE, 100))
    may_open.set()
    assert taken(blob, len(data)) == taken(follower, len(data)) == data
    assert blob.ready() == (len(data), 0)
    assert os.pread(part.descriptor, part.ready()[1], part.ready()[0]) == data[PIECE:PIECE + 100]
    for each in (blob, follower, part):
        each.close()
    settle(cache)
    assert ids(cache) == [image_id]
    assert len(store.opened) == 1


def test_a_store_that_cannot_be_opened_is_told_by_a_read_of_it(cache, caplog):
    image_id, data = image(2)
    store = SlowStore(data)
    store.refusal = Unavailable("down")
    blob = followed(cache, wanted(image_id, data, store))
    wait_for(lambda: blob.ready() is None, "the end of the fill")
    assert not blob.resume()
    with pytest.raises(Unavailable, match="down"):
        list(blob)
    blob.close()
    settle(cache)
    assert f"image {image_id} is not kept in the cache: down" in caplog.text
    assert os.listdir(f"{cache.settings.directory}/incomplete") == []
    store.refusal = None
    again = followed(cache, wanted(image_id, data, store))
    assert taken(again, len(data)) == data
    again.close()


def test_the_last_byte_waits_for_the_digest_and_bad_data_end_the_read(cache):
    image_id, data = image(3)
    store = SlowStore(data, hold=5 * PIECE)
    blob = followed(cache, wanted(image_id, data, store, digest="0" * 64))
    assert taken(blob, 5 * PIECE) == data[:5 * PIECE]
    store.release()
    wait_for(lambda: cache._parts.layout.damaged(), "what was set aside")
    assert blob.ready() == (5 * PIECE, len(data) - 1 - 5 * PIECE)
    blob.sent(len(data) - 1 - 5 * PIECE)
    wait_for(lambda: blob.ready() is None, "the end")
    with pytest.raises(StoreUnavailable):
        blob.resume()
    blob.close()


HOUR = 3600.0


@pytest.fixture
def an_hour_passes(monkeypatch):
    """Return what lets readers believe that an hour has passed since the last byte."""
    ahead = [0.0]
    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + ahead[0], sleep=time.sleep)
    monkeypatch.setattr(growing, "time", clock)
    return lambda: ahead.append(ahead.pop() + HOUR)


def test_readers_of_a_fill_that_stalls_need_a_thread_and_it_is_said_once(make_cache, caplog, an_hour_passes):
    cache = make_cache(patience=HOUR)
    image_id, data = image(4)
    store, other = SlowStore(data, hold=2 * PIECE), SlowStore(data)
    first = Reading(cache, wanted(image_id, data, store)).wait_for(2 * PIECE)
    blobs = [followed(cache, wanted(image_id, data, other)) for _ in range(5)]
    for blob in blobs:
        assert taken(blob, 2 * PIECE) == data[:2 * PIECE]
        assert blob.ready() == (2 * PIECE, 0)
    an_hour_passes()
    for blob in blobs:
        assert blob.ready() is None
        assert not blob.resume()
        assert b"".join(blob) == data[2 * PIECE:]
        blob.close()
    assert other.opened == [(2 * PIECE, len(data) - 2 * PIECE)] * 5
    assert caplog.text.count("did not grow for 3600.0 s") == 1
    store.release()
    assert first.result() == data


def test_a_file_that_grows_again_needs_no_thread(make_cache, an_hour_passes):
    cache = make_cache(patience=HOUR)
    image_id, data = image(5)
    store = SlowStore(data, hold=2 * PIECE)
    blob = followed(cache, wanted(image_id, data, store))
    assert taken(blob, 2 * PIECE) == data[:2 * PIECE]
    assert blob.ready() == (2 * PIECE, 0)
    an_hour_passes()
    assert blob.ready() is None
    store.release()
    wait_for(lambda: blob.ready() is not None, "the growth")
    assert blob.resume()
    at, count = blob.ready()
    assert os.pread(blob.descriptor, count, at) == data[2 * PIECE:2 * PIECE + count]
    blob.close()


def test_readers_of_a_process_that_died_go_on_with_its_file_and_need_no_thread(make_cache):
    cache = make_cache()
    image_id, data = image(8)
    store = SlowStore(data)
    with another_process(cache) as filler:
        blobs = [followed(cache, wanted(image_id, data, store)) for _ in range(3)]
        for blob in blobs:
            assert taken(blob, 3 * PIECE) == data[:3 * PIECE]
        filler.kill()
    for blob in blobs:
        wait_for(lambda blob=blob: blob.ready() is None, "the death")
    assert [blob.resume() for blob in blobs] == [True] * 3
    for blob in blobs:
        assert taken(blob, len(data) - 3 * PIECE) == data[3 * PIECE:]
        blob.close()
    settle(cache)
    assert ids(cache) == [image_id]
    assert store.opened == [(3 * PIECE, None)]
