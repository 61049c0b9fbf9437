"""A cache over a folder, and stores that give their data when a test lets them."""

from __future__ import annotations

import hashlib
import random
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from glance_api.cache.facade import ImageCache
from glance_api.cache.settings import CacheSettings
from glance_api.cache.wanted import WantedData
from glance_common.model.stored_copy import Damage
from glance_common.stores.base import StreamBlob
from glance_common.stores.contract import Blob

KIB = 1024
PIECE = 64 * KIB
LONG = 60.0
"""Seconds after which a test that waits has failed."""


class SlowStore:
    """Gives one image piece by piece; ``hold`` bytes at most until ``release``. Counts how often it is opened."""

    def __init__(self, data: bytes, hold: int | None = None) -> None:
        self.data = data
        self.opened: list[tuple[int, int | None]] = []
        self.found_damaged: list[tuple[Damage, str]] = []
        self.error: Exception | None = None
        """Raised in place of what comes after the held bytes."""
        self.refusal: Exception | None = None
        """Raised by ``open``."""
        self._hold = len(data) if hold is None else hold
        self._released = threading.Event()

    def damaged(self, damage: Damage, detail: str) -> None:
        self.found_damaged.append((damage, detail))

    def open(self, offset: int, length: int | None) -> Blob:
        self.opened.append((offset, length))
        if self.refusal is not None:
            raise self.refusal
        end = len(self.data) if length is None else offset + length
        return StreamBlob(len(self.data), self._pieces(offset, end))

    def release(self) -> None:
        self._released.set()

    def _pieces(self, at: int, end: int) -> Iterator[bytes]:
        while at < end:
            if at >= self._hold:
                assert self._released.wait(LONG)
                if self.error is not None:
                    raise self.error
            stop = min(at + PIECE, end if self._released.is_set() else max(min(end, self._hold), at + 1))
            yield self.data[at:stop]
            at = stop


def image(number: int, size: int = 10 * PIECE + 17) -> tuple[str, bytes]:
    """Return id and data of an image, the same for the same number."""
    return str(UUID(int=number + (1 << 100))), random.Random(number).randbytes(size)


def wanted(image_id: str, data: bytes, store: SlowStore, *, digest: str | None = None) -> WantedData:
    """Return what the cache is asked for."""
    found = hashlib.sha256(data).hexdigest()
    return WantedData(image_id, len(data), "sha256", digest or found, "0" * 32, store.open, store.damaged)


def settings(directory: Path, **changes: Any) -> CacheSettings:
    values: dict[str, Any] = {
        "directory": str(directory), "driver": "sqlite", "sqlite_db": "cache.db", "max_size": 1 << 30,
        "stall_time": 86400, "max_fills": 8, "patience": LONG, "prefetch_workers": 2, "prefetch_rate": 0,
        "node": "here", "is_named": False, **changes,
    }
    return CacheSettings(**values)


@pytest.fixture
def make_cache(tmp_path: Path) -> Iterator[Callable[..., ImageCache]]:
    """Return an opened cache over one folder; several are as several processes of a node: all they share is there."""
    made: list[ImageCache] = []

    def make(**changes: Any) -> ImageCache:
        cache = ImageCache(settings(tmp_path / "cache", **changes))
        made.append(cache)
        cache.open()
        return cache

    yield make
    for cache in made:
        cache.close()


@pytest.fixture
def cache(make_cache: Callable[..., ImageCache]) -> ImageCache:
    return make_cache()


class Reading:
    """A read in a thread of its own."""

    def __init__(self, cache: ImageCache, asked: WantedData, part: tuple[int, int] | None = None) -> None:
        self.data = b""
        self.error: BaseException | None = None
        self.is_cached: bool | None = None
        self._changed = threading.Condition()
        self._cache, self._asked, self._part = cache, asked, part
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        blob = None
        try:
            blob = self._cache.read(self._asked, self._part)
            self.is_cached = blob is not None
            offset, length = self._part or (0, self._asked.size)
            for piece in blob if blob is not None else self._asked.open(offset, length):
                with self._changed:
                    self.data += piece
                    self._changed.notify_all()
        except BaseException as error:
            self.error = error
        finally:
            if blob is not None:
                blob.close()

    def wait_for(self, count: int) -> Reading:
        """Return when at least ``count`` bytes have come."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.data) >= count, LONG), (len(self.data), self.error)
        return self

    def result(self) -> bytes:
        """Return all that came; raise what ended it."""
        self._thread.join(LONG)
        assert not self._thread.is_alive()
        if self.error is not None:
            raise self.error
        return self.data


def read(cache: ImageCache, asked: WantedData, part: tuple[int, int] | None = None) -> bytes:
    """Return the data that a reader gets."""
    return Reading(cache, asked, part).result()


def settle(cache: ImageCache) -> None:
    """Return when no fill of this cache runs any more."""
    assert cache._parts is not None
    for thread in list(cache._parts.fills._threads):
        thread.join(LONG)
        assert not thread.is_alive()


def keep(cache, number, size=PIECE):
    """Bring an image into the cache and return its id."""
    image_id, data = image(number, size)
    assert read(cache, wanted(image_id, data, SlowStore(data))) == data
    settle(cache)
    return image_id


def again(cache, number, size=PIECE):
    """Return what a further reader gets, and how often it has read the store for it."""
    image_id, data = image(number, size)
    store = SlowStore(data)
    assert read(cache, wanted(image_id, data, store)) == data
    return len(store.opened)


def ids(cache):
    return [entry.image_id for entry in cache.cached()]


FILLER = """
import sys, threading
from pathlib import Path
from tests.unit.api.cache.conftest import PIECE, Reading, SlowStore, image, settings, wanted
from glance_api.cache.facade import ImageCache

cache = ImageCache(settings(Path(sys.argv[1])))
cache.open()
image_id, data = image(8)
Reading(cache, wanted(image_id, data, SlowStore(data, hold=3 * PIECE))).wait_for(3 * PIECE)
print("ready", flush=True)
threading.Event().wait()
"""


@contextmanager
def another_process(cache: ImageCache) -> Iterator[subprocess.Popen[str]]:
    """Give a process that has filled three pieces of image 8 into the same folder, and waits for more."""
    root = Path(__file__).resolve().parents[4]
    with subprocess.Popen(
        [sys.executable, "-c", FILLER, cache.settings.directory], cwd=root, stdout=subprocess.PIPE, text=True
    ) as filler:
        assert filler.stdout is not None
        assert filler.stdout.readline() == "ready\n"
        yield filler
