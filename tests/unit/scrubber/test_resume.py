"""A reconcile in itself: it holds pages and no more, and says how far it is so that the next one goes on from there."""

from __future__ import annotations

import os
import threading
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.unit.scrubber.test_reconcile import copy_of

from glance_common import progress
from glance_common.model.context import system_context
from glance_common.model.stored_copy import StoredCopy
from glance_common.registry_client.quarantine import PAGE
from glance_common.stores.contract import BlobNotFound, StoredObject
from glance_common.stores.drivers.file import driver
from glance_common.stores.drivers.file.directory import Handle
from glance_scrubber import reconcile
from glance_scrubber.reconcile import DifferenceKind, Reconcile

CONTEXT = system_context("req-1")


def key(number: int) -> str:
    return f"{number:08x}-0000-4000-8000-000000000000"


class Rows:
    """The registry's side: every key up to ``count`` but those in ``without``; counts what is asked and held."""

    def __init__(self, count: int, without: tuple[int, ...] = ()) -> None:
        self.keys = [key(number) for number in range(count) if number not in without]
        self.pages: list[int] = []

    def of_store(self, _context: Any, _store: str, after: str | None, *, limit: int = PAGE) -> list[StoredCopy]:
        page = [one for one in self.keys if after is None or one > after][:limit]
        self.pages.append(len(page))
        return [copy_of(one, image_size=1) for one in page]

    def with_key(self, _context: Any, _store: str, wanted: str) -> StoredCopy | None:
        return copy_of(wanted, image_size=1) if wanted in self.keys else None


class Shelf:
    """The store's side; ``stop`` is set when the walk comes to the object with the number ``last``."""

    id = "fast"

    def __init__(self, numbers: range, stop: threading.Event, last: int | None = None) -> None:
        self.numbers = numbers
        self.walked: list[str | None] = []
        self._stop, self._last = stop, last

    def walk(self, after: str | None = None) -> Iterator[StoredObject]:
        self.walked.append(after)
        for number in self.numbers:
            if after is None or key(number) > after:
                if number == self._last:
                    self._stop.set()
                yield StoredObject(key(number), 1, 0.0)

    def size(self, wanted: str) -> int:
        if int(wanted[:8], 16) not in self.numbers:
            raise BlobNotFound(wanted)
        return 1


def made(rows: Rows, shelf: Shelf, stop: threading.Event) -> Reconcile:
    return Reconcile(SimpleNamespace(quarantine=rows), shelf, CONTEXT, stop)  # type: ignore[arg-type]  # what it uses


def test_pages_are_asked_for_one_by_one_as_the_walk_comes_to_them() -> None:
    count, stop = 4 * PAGE, threading.Event()
    rows, shelf = Rows(count), Shelf(range(count + 1), stop)
    walk, pages_at = shelf.walk, list[int]()

    def noted(after: str | None = None) -> Iterator[StoredObject]:
        for found in walk(after):
            pages_at.append(len(rows.pages))
            yield found

    shelf.walk = noted  # type: ignore[method-assign]  # to see how far the other side is
    found = [(difference.kind, difference.key) for difference in made(rows, shelf, stop).differences()]
    assert found == [(DifferenceKind.ORPHAN, key(count))]
    assert rows.pages == [PAGE] * 4 + [0]
    assert all(pages <= number // PAGE + 1 for number, pages in enumerate(pages_at[:count]))


def test_a_run_that_is_stopped_notes_where_it_was_and_the_next_one_goes_on_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stop = threading.Event()
    rows, shelf = Rows(100, without=(10, 60)), Shelf(range(100), stop, last=50)
    noted: list[str] = []
    first = [found.key for found in made(rows, shelf, stop).differences(None, noted.append)]
    assert first == [key(10)]
    assert key(10) < noted[-1] < key(51)
    stop.clear()
    shelf._last = None
    second = [found.key for found in made(rows, shelf, stop).differences(noted[-1], noted.append)]
    assert second == [key(60)]
    assert shelf.walked == [None, noted[0]]


def test_a_key_is_noted_only_when_its_difference_was_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconcile, "NOTED_EVERY", 0.0)
    stop, noted, taken = threading.Event(), list[str](), list[str]()
    rows, shelf = Rows(5, without=(1, 3)), Shelf(range(5), stop)

    def note(at: str) -> None:
        noted.append(at)
        assert [one for one in (key(1), key(3)) if one <= at] == taken

    for difference in made(rows, shelf, stop).differences(None, note):
        taken.append(difference.key)
    assert noted == [key(number) for number in range(4)]


def test_a_walk_of_a_directory_holds_no_more_names_than_its_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3000):
        os.mknod(tmp_path / key(number))
    monkeypatch.setattr(driver, "_WALK_BATCH", 100)
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        handle = Handle(str(tmp_path), fd)
        handle.keys("", 100)
        tracemalloc.start()
        found = handle.keys(key(1499), 100)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    finally:
        os.close(fd)
    assert found == [key(number) for number in range(1500, 1600)]
    # All 3000 names would take some 250 kB.
    assert peak < 100_000


def test_the_bar_goes_with_the_key() -> None:
    assert progress.bar("") == f"[{'.' * 24}]   0 %"
    assert progress.bar(key(0x80000000)) == f"[{'#' * 12}{'.' * 12}]  50 %"
    assert progress.bar("ffffffff-0000") == f"[{'#' * 23}.] 100 %"
    assert progress.bar("no uuid") == progress.bar("")
