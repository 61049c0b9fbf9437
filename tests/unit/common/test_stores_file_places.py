"""The file driver: which directory, which mode, holes, metadata, reading and URLs."""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import pytest
from tests.support.stores import FileCase, read

from glance_common.stores.contract import BlobExists, StoreFull, StoreUnavailable
from glance_common.stores.drivers.file.directory import Handle

KEY = "11111111-2222-3333-4444-555555555555"


@pytest.fixture
def case(tmp_path: Path) -> FileCase:
    return FileCase(tmp_path)


# Several directories


def rooms(monkeypatch: pytest.MonkeyPatch, **free: int) -> None:
    monkeypatch.setattr(Handle, "free", lambda handle: free[os.path.basename(handle.path)])


@pytest.mark.parametrize(
    ("size", "free", "chosen"),
    [
        (10, {"a": 100, "b": 100, "c": 900}, "b"),
        (10, {"a": 200, "b": 100, "c": 900}, "a"),
        (150, {"a": 200, "b": 100, "c": 900}, "a"),
        (500, {"a": 200, "b": 300, "c": 900}, "c"),
        (None, {"a": 0, "b": 5, "c": 900}, "b"),
        (900, {"a": 200, "b": 300, "c": 900}, "c"),
    ],
)
def test_highest_priority_then_most_space_that_fits(
    case: FileCase, monkeypatch: pytest.MonkeyPatch, size: int | None, free: dict[str, int], chosen: str
):
    if free["a"] == free["b"]:
        free["b"] += 1
    store = case.store("c:100", "a:200", "b:200")
    rooms(monkeypatch, **free)
    store.add(KEY, [b"x"], size)
    assert [name for name in "abc" if case.files(name)] == [chosen]
    assert store.url(KEY) == f"file://{case.folder}/{chosen}/{KEY}"


def test_no_directory_has_room(case: FileCase, monkeypatch: pytest.MonkeyPatch):
    store = case.store("a", "b")
    rooms(monkeypatch, a=10, b=20)
    with pytest.raises(StoreFull):
        store.add(KEY, iter([b"never asked"]), 21)
    assert case.files("a") == case.files("b") == []


def test_a_directory_that_is_down_is_passed_over(case: FileCase, monkeypatch: pytest.MonkeyPatch):
    store = case.store("a:9", "b")
    store.check()
    (case.folder / "a").rename(case.folder / "gone")
    store.add(KEY, [b"x"], None)
    assert case.files("b") == [KEY]
    assert read(store, KEY) == b"x"
    other = str(uuid4())
    with pytest.raises(StoreUnavailable, match="No such file"):
        store.open(other)
    with pytest.raises(StoreUnavailable, match="No such file"):
        store.check()
    rooms(monkeypatch, b=0)
    with pytest.raises(StoreUnavailable, match="No such file"):
        store.add(other, [b"x"], 1)
    store.delete(KEY)
    with pytest.raises(StoreUnavailable):
        store.delete(KEY)


def test_a_key_in_another_directory_is_taken(case: FileCase, monkeypatch: pytest.MonkeyPatch):
    store = case.store("a", "b")
    (case.folder / "b" / KEY).write_bytes(b"first")
    rooms(monkeypatch, a=2, b=1)
    with pytest.raises(BlobExists):
        store.add(KEY, [b"second"], None)
    assert case.files("a") == []


def test_two_processes_never_leave_a_key_in_two_directories(case: FileCase, monkeypatch: pytest.MonkeyPatch):
    one, two = case.store("a", "b"), case.store("a", "b")
    rooms(monkeypatch, a=2, b=1)

    def pieces() -> Iterator[bytes]:
        yield b"one"
        rooms(monkeypatch, a=1, b=2)
        two.add(KEY, [b"two"], None)

    with pytest.raises(BlobExists):
        one.add(KEY, pieces(), None)
    assert [*case.files("a"), *case.files("b")] == [KEY]
    assert read(one, KEY) == b"two"


def test_delete_removes_every_copy(case: FileCase):
    store = case.store("a", "b")
    for name in "ab":
        (case.folder / name / KEY).write_bytes(b"x")
    store.delete(KEY)
    assert case.files("a") == case.files("b") == []


# Modes, holes, metadata


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize(
    ("perm", "file_mode", "directory_mode"),
    [("0", 0o640, 0o700), ("0644", 0o644, 0o711), ("640", 0o640, 0o710), ("0o600", 0o600, 0o700)],
)
def test_filesystem_store_file_perm(case: FileCase, perm: str, file_mode: int, directory_mode: int):
    (case.folder / "a").mkdir(mode=0o700)
    case.store(filesystem_store_file_perm=perm).add(KEY, [b"x"], None)
    assert mode_of(case.folder / "a" / KEY) == file_mode
    assert mode_of(case.folder / "a") == directory_mode


def test_image_data_are_private_under_any_umask(case: FileCase):
    store = case.store()
    before = os.umask(0)
    try:
        store.add(KEY, [b"x"], None)
    finally:
        os.umask(before)
    assert mode_of(case.folder / "a" / KEY) == 0o640
    assert mode_of(case.folder / "a" / ".incoming") == 0o750


def test_a_mode_that_cannot_be_set_is_only_logged(
    case: FileCase, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    def fchmod(fd, mode):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "fchmod", fchmod)
    store = case.store(filesystem_store_file_perm="0644")
    store.add(KEY, [b"x"], None)
    assert read(store, KEY) == b"x"
    assert "mode 0644 not set" in caplog.text


def test_thin_provisioning_writes_holes(case: FileCase):
    pieces = [bytes(4 * 1024 * 1024), b"data", bytes(4 * 1024 * 1024)]
    case.store("a", filesystem_thin_provisioning="true").add(KEY, pieces, None)
    case.store("b").add(KEY, pieces, None)
    thin, thick = case.folder / "a" / KEY, case.folder / "b" / KEY
    assert thin.read_bytes() == thick.read_bytes() == b"".join(pieces)
    assert thin.stat().st_blocks * 512 < 1024 * 1024
    assert thick.stat().st_blocks * 512 >= 8 * 1024 * 1024


def test_metadata_of_the_closest_mountpoint(case: FileCase):
    path = case.folder / "metadata.json"
    path.write_text(
        f'[{{"id": "root", "mountpoint": "/"}}, {{"id": "near", "mountpoint": "{case.folder}/a", "type": "nfs"}},'
        f' {{"id": "string prefix", "mountpoint": "{case.folder}/a/b"}}]'
    )
    stored = case.store(filesystem_store_metadata_file=path).add(KEY, [b"x"], None)
    assert stored.metadata == {"id": "near", "mountpoint": f"{case.folder}/a", "type": "nfs"}


def test_no_mountpoint_fits(case: FileCase, caplog: pytest.LogCaptureFixture):
    path = case.folder / "metadata.json"
    path.write_text(f'{{"id": "x", "mountpoint": "{case.folder}/aa"}}')
    assert case.store(filesystem_store_metadata_file=path).add(KEY, [b"x"], None).metadata == {}
    assert "no mountpoint of filesystem_store_metadata_file" in caplog.text


# Reading


def test_the_descriptor_stands_at_the_start_of_the_range(case: FileCase):
    store = case.store()
    store.add(KEY, [b"0123456789"], None)
    with closing(store.open(KEY, 4, 3)) as blob:
        fd = blob.fileno()
        assert fd is not None
        assert os.lseek(fd, 0, os.SEEK_CUR) == 4


def test_a_file_that_became_shorter_never_ends_as_complete(case: FileCase):
    store = case.store()
    store.add(KEY, [b"x" * 200_000], None)
    with closing(store.open(KEY)) as blob:
        os.truncate(case.folder / "a" / KEY, 100_000)
        with pytest.raises(StoreUnavailable, match="100000 bytes are missing"):
            list(blob)


def test_data_directory_behind_a_symbolic_link(case: FileCase):
    (case.folder / "disk").mkdir()
    (case.folder / "a").symlink_to(case.folder / "disk")
    store = case.store()
    store.add(KEY, [b"x"], None)
    assert case.files("disk") == [KEY]
    assert store.url(KEY) == f"file://{case.folder}/a/{KEY}"


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd", "filesystem:///etc/passwd", "file://{a}/../a/{key}", "file://{a}b/{key}", "file://{a}/x/{key}",
        "file://{a}/.glance-store", "file://host{a}/{key}", "file://{a}/{key}?x", "file://{a}/{key}#x", "file://{a}/",
        "{a}/{key}", "file://{a}/%2e%2e/{key}",
    ],
)
def test_s09_urls_outside_of_the_directory_are_foreign(case: FileCase, url: str):
    assert case.store().key_of(url.format(a=case.folder / "a", key=KEY)) is None


@pytest.mark.parametrize("scheme", ["file", "FILE", "filesystem", "FileSystem"])
def test_both_schemes_in_any_spelling(case: FileCase, scheme: str):
    assert case.store().key_of(f"{scheme}://{case.folder}/a/{KEY}.3") == f"{KEY}.3"


def test_odd_characters_in_the_directory(case: FileCase):
    store = case.store("a b%20#?")
    url = store.url(KEY)
    assert url == f"file://{case.folder}/a%20b%2520%23%3F/{KEY}"
    assert store.key_of(url) == KEY
