"""Many deletes together: a directory is synced once and before the end, and wrappers do their part for each."""

import errno
import logging
import os
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from tests.support.stores import FileCase
from tests.unit.common.test_stores_wrap import scripted

from glance_common.stores.contract import BadLocation, BlobNotFound, StoreUnavailable, deletes_of
from glance_common.stores.decorators.base import Logged, Retrying
from glance_common.stores.decorators.circuit import FAILURES, Circuit, Guarded
from glance_common.stores.decorators.encryption import EncryptedKeys, KeyCipher


@pytest.fixture
def case(tmp_path: Path) -> FileCase:
    return FileCase(tmp_path)


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The directories that were synced."""
    found: list[str] = []
    fsync = os.fsync

    def noted(fd: int) -> None:
        found.append(os.readlink(f"/proc/self/fd/{fd}"))
        fsync(fd)

    monkeypatch.setattr(os, "fsync", noted)
    return found


def put(store: Any, count: int) -> list[str]:
    keys = [str(uuid4()) for _ in range(count)]
    for key in keys:
        store.add(key, [b"data"], None)
    return keys


def test_i6_a_directory_is_synced_once_after_its_last_delete(case: FileCase, synced: list[str]) -> None:
    store = case.store()
    keys = put(store, 5)
    del synced[:]
    with store.deletes() as delete:
        for key in keys:
            delete(key)
        assert synced == []
        assert not any((case.folder / "a" / key).exists() for key in keys)
    assert synced == [str(case.folder / "a")]


def test_i6_one_delete_is_synced_and_so_is_one_that_finds_nothing(case: FileCase, synced: list[str]) -> None:
    """The delete before it may have died before its sync."""
    store = case.store()
    (key,) = put(store, 1)
    del synced[:]
    store.delete(key)
    with pytest.raises(BlobNotFound):
        store.delete(key)
    assert synced == [str(case.folder / "a")] * 2


def test_i6_a_sync_that_fails_ends_the_block_with_an_error(case: FileCase, monkeypatch: pytest.MonkeyPatch) -> None:
    store = case.store()
    keys = put(store, 2)

    def broken(_fd: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", broken)

    def delete_all() -> None:
        with store.deletes() as delete:
            for key in keys:
                delete(key)

    before = os.listdir("/proc/self/fd")
    with pytest.raises(StoreUnavailable, match="Input/output error"):
        delete_all()
    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_a_directory_that_takes_the_place_of_another_gets_its_own_sync(case: FileCase, synced: list[str]) -> None:
    store = case.store()
    first, second = put(store, 2)
    folder, other = case.folder / "a", case.folder / "other"
    del synced[:]
    with store.deletes() as delete:
        delete(first)
        folder.rename(other)
        folder.mkdir()
        (folder / ".glance-store").write_bytes((other / ".glance-store").read_bytes())
        (folder / second).write_bytes(b"data")
        delete(second)
    assert sorted(synced) == sorted([str(folder), str(other)])


def test_a_store_without_such_an_offer_deletes_one_by_one() -> None:
    inner = scripted(None, BlobNotFound("gone"))
    with deletes_of(inner) as delete:
        delete("a")
        with pytest.raises(BlobNotFound):
            delete("b")
    assert inner.calls == [("delete", "a"), ("delete", "b")]


def test_wrappers_do_their_part_for_each_delete(caplog: pytest.LogCaptureFixture) -> None:
    inner, waits = scripted(StoreUnavailable("busy"), None, None), list[float]()
    store = Logged(Retrying(inner, pauses=(0.1,), sleep=waits.append))
    with caplog.at_level(logging.INFO), deletes_of(store) as delete:
        delete("a")
        delete("b")
    assert inner.calls == [("delete", "a"), ("delete", "a"), ("delete", "b")]
    assert waits == [0.1]
    assert [record.getMessage() for record in caplog.records] == ["store delete"] * 2


def test_the_circuit_learns_from_each_delete() -> None:
    inner = scripted(*[StoreUnavailable("down")] * FAILURES)
    store = Guarded(inner, Circuit("store x", most_waiting=8))
    with deletes_of(store) as delete:
        for _ in range(FAILURES + 3):
            with pytest.raises(StoreUnavailable):
                delete("a")
    assert len(inner.calls) == FAILURES


def test_s76_sealed_keys_are_opened_for_each_delete() -> None:
    cipher, inner = KeyCipher("k" * 32), scripted(None)
    with deletes_of(EncryptedKeys(inner, cipher)) as delete:
        delete(cipher.seal("https://example.org/image"))
        with pytest.raises(BadLocation):
            delete("sealed:1:AAAA")
    assert inner.calls == [("delete", "https://example.org/image")]
