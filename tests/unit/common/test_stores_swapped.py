"""A data directory that is exchanged for another one while the store runs: never read, back without a restart."""

import os
import shutil
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.stores import FileCase, read

from glance_common.stores.contract import StoreUnavailable
from glance_common.stores.drivers.file import sentinel as sentinels
from glance_common.stores.drivers.file.driver import FileStore

KEY = "11111111-2222-3333-4444-555555555555"

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")


@pytest.fixture
def case(tmp_path: Path) -> FileCase:
    return FileCase(tmp_path)


@pytest.fixture
def mounted(case: FileCase) -> Iterator[Path]:
    """The directory ``a`` as a mount point with a small file system of its own."""
    place = case.folder / "a"
    place.mkdir()
    mount_small(place)
    try:
        yield place
    finally:
        while place.is_mount():
            subprocess.run(["umount", "--lazy", place], check=True)


def mount_small(place: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", place], check=True)


def sentinel(case: FileCase) -> Path:
    return case.folder / "a" / ".glance-store"


def assert_not_read(store: FileStore, reason: str) -> None:
    for act in (store.open, store.size):
        with pytest.raises(StoreUnavailable, match=reason):
            act(KEY)


@pytest.fixture(params=["just marked", "marked long ago"])
def marked(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ages of a sentinel: an old one is not read again as long as its mark is the same."""
    if request.param == "marked long ago":
        monkeypatch.setattr(sentinels, "_COARSEST_CLOCK", -1_000_000_000)


def other_directory(case: FileCase, identity: str | None, name: str = "other") -> Path:
    """Return a directory with other bytes under the same key, and maybe a sentinel."""
    folder = case.folder / name
    folder.mkdir(exist_ok=True)
    (folder / KEY).write_bytes(b"of others")
    if identity is not None:
        (folder / ".glance-store").write_text(identity + "\n")
    return folder


@pytest.mark.usefixtures("marked")
@pytest.mark.parametrize("how", ["rename", "symlink"])
@pytest.mark.parametrize(("identity", "reason"), [
    (None, "has no file .glance-store"), (str(uuid.uuid4()), "belongs to another store"), ("", "does not hold a uuid"),
])
def test_a_swapped_directory_is_never_read(case: FileCase, how: str, identity: str | None, reason: str):
    store, place, other = case.store(), case.folder / "a", other_directory(case, identity)
    store.add(KEY, [b"ours"], None)
    assert read(store, KEY) == b"ours"
    place.rename(case.folder / "ours")
    if how == "rename":
        other.rename(place)
    else:
        place.symlink_to(other)
    assert_not_read(store, reason)
    assert (place / KEY).read_bytes() == b"of others"
    place.rename(case.folder / "gone")
    (case.folder / "ours").rename(place)
    assert read(store, KEY) == b"ours", "back without a restart"


@pytest.mark.usefixtures("marked")
def test_a_restored_copy_of_the_directory_is_the_right_one(case: FileCase):
    store, place = case.store(), case.folder / "a"
    store.add(KEY, [b"ours"], None)
    assert read(store, KEY) == b"ours"
    shutil.copytree(place, case.folder / "restored")
    place.rename(case.folder / "old")
    (case.folder / "restored").rename(place)
    assert read(store, KEY) == b"ours"


@pytest.mark.usefixtures("marked")
def test_of_several_directories_a_swapped_one_counts_as_down(case: FileCase):
    store = case.store("a", "b")
    store.check()
    (case.folder / "b" / KEY).write_bytes(b"ours")
    other = other_directory(case, None)
    (case.folder / "a").rename(case.folder / "away")
    other.rename(case.folder / "a")
    assert read(store, KEY) == b"ours", "the other directory has it"
    assert store.url(KEY) == f"file://{case.folder}/b/{KEY}"
    (case.folder / "b" / KEY).unlink()
    with pytest.raises(StoreUnavailable, match=r"no file \.glance-store"):
        store.open(KEY)
    store.add(KEY, [b"new"], None)
    assert (case.folder / "b" / KEY).read_bytes() == b"new", "the file of others is no twin of ours"


def test_a_proof_for_reading_is_one_call_of_the_system(case: FileCase, monkeypatch: pytest.MonkeyPatch):
    store, place = case.store(), case.folder / "a"
    reads: list[int] = []
    real = sentinels.read

    def counted(directory: int) -> Any:
        reads.append(1)
        return real(directory)

    monkeypatch.setattr(sentinels, "read", counted)
    store.add(KEY, [b"x"], None)
    reads.clear()
    read(store, KEY)
    assert reads == [1], "a change in the same moment would leave no trace"
    later = time.time_ns() + 3_600_000_000_000
    monkeypatch.setattr(time, "time_ns", lambda: later)
    read(store, KEY)
    reads.clear()
    for _ in range(10):
        read(store, KEY)
        store.size(KEY)
    assert reads == []
    # Until the clock of the file system has moved on, another text would have the same mark.
    scratch, before = case.folder / "scratch", sentinel(case).stat().st_ctime_ns
    while True:
        scratch.touch()
        if scratch.stat().st_ctime_ns != before:
            break
    sentinel(case).write_text(f"{uuid.uuid4()}\n")
    assert list(place.iterdir())
    assert_not_read(store, "belongs to another store")


def test_a_sentinel_changed_in_the_moment_of_its_proof(case: FileCase):
    store = case.store()
    store.add(KEY, [b"x"], None)
    for _ in range(50):
        identity = sentinel(case).read_text()
        assert read(store, KEY) == b"x"
        sentinel(case).write_text(f"{uuid.uuid4()}\n")
        with pytest.raises(StoreUnavailable, match="belongs to another store"):
            store.open(KEY)
        sentinel(case).write_text(identity)


@needs_root
@pytest.mark.usefixtures("marked")
def test_another_disk_mounted_in_place_of_the_right_one(case: FileCase, mounted: Path):
    """New file systems of one kind give the same numbers to their files, maybe under the same device number."""
    store = case.store()
    store.add(KEY, [b"ours"], None)
    assert read(store, KEY) == b"ours"
    subprocess.run(["umount", mounted], check=True)
    mount_small(mounted)
    other_directory(case, str(uuid.uuid4()), "a")
    assert_not_read(store, "belongs to another store")
    sentinel(case).unlink()
    assert_not_read(store, "has no file .glance-store")


@needs_root
@pytest.mark.usefixtures("marked")
def test_a_directory_mounted_over_the_right_one(case: FileCase):
    store, place, other = case.store(), case.folder / "a", other_directory(case, None)
    store.add(KEY, [b"ours"], None)
    assert read(store, KEY) == b"ours"
    subprocess.run(["mount", "--bind", other, place], check=True)
    try:
        assert_not_read(store, "is the file system mounted")
    finally:
        subprocess.run(["umount", place], check=True)
    assert read(store, KEY) == b"ours"
