"""The file driver: durability in the right order, errors of the disk, directories, modes, holes."""

import errno
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from tests.support.stores import FileCase, read

from glance_common import failpoints
from glance_common.stores.contract import (
    BlobExists,
    BlobNotFound,
    StoreForbidden,
    StoreFull,
    StoreUnavailable,
    WriteDenied,
)
from glance_common.stores.drivers.file import writeback
from glance_common.stores.drivers.file.directory import Handle

KEY = "11111111-2222-3333-4444-555555555555"
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def case(tmp_path: Path) -> FileCase:
    return FileCase(tmp_path)


# Durability


class Recorder:
    """Notes the calls that make data durable and lets them happen."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self.calls: list[str] = []
        for name in ("write", "fdatasync", "fchmod", "link", "unlink", "fsync"):
            monkeypatch.setattr(os, name, self._noting(name, getattr(os, name)))
        self._folder = str(folder)

    def _noting(self, name, real):
        def call(first, *args, **kwargs):
            target = os.readlink(f"/proc/self/fd/{first}") if isinstance(first, int) else first
            self.calls.append(f"{name} {os.path.basename(target).partition('.')[0] or os.path.basename(target)}")
            return real(first, *args, **kwargs)

        return call


def test_s70_data_are_on_the_disk_before_they_have_their_name(case: FileCase, monkeypatch: pytest.MonkeyPatch):
    store = case.store(filesystem_store_file_perm="0644")
    store.check()
    recorder = Recorder(monkeypatch, case.folder)
    store.add(KEY, [b"one", b"two"], None)
    start = KEY.partition(".")[0]
    assert recorder.calls == [
        f"write {start}", f"write {start}", f"fdatasync {start}", f"fchmod {start}", f"link {start}", f"unlink {start}",
        "fsync a",
    ]


def test_the_disk_works_while_the_data_come(case: FileCase, monkeypatch: pytest.MonkeyPatch):
    """Whole windows, in order, before the data end; the real call accepts them."""
    real, started, begun = writeback.start_writing, [], threading.Event()

    def start(fd: int, offset: int, count: int) -> None:
        started.append((offset, count))
        begun.set()
        assert os.fstat(fd).st_size >= offset + count
        real(fd, offset, count)

    def pieces() -> Iterator[bytes]:
        for size in (writeback.WINDOW // 2, writeback.WINDOW // 2, 1, 2 * writeback.WINDOW, 100):
            yield b"x" * size
        assert begun.wait(60), "before the last piece came"
        yield b"last"

    monkeypatch.setattr(writeback, "start_writing", start)
    stored = case.store().add(KEY, pieces(), None)
    assert stored.size == 3 * writeback.WINDOW + 105
    assert started == [(0, writeback.WINDOW), (writeback.WINDOW, 2 * writeback.WINDOW)]


def test_a_disk_that_fails_behind_the_data_ends_the_upload(case: FileCase, monkeypatch: pytest.MonkeyPatch):
    fail_once(monkeypatch, "start_writing", errno.EIO, module=writeback)
    synced = fail_once(monkeypatch, "fdatasync", errno.EIO)
    with pytest.raises(StoreUnavailable):
        case.store().add(KEY, [b"x" * writeback.WINDOW, b"more"], None)
    assert (case.files(), synced) == ([], [])


def test_writing_behind_where_the_system_cannot():
    read_end, write_end = os.pipe()
    writeback.start_writing(write_end, 0, 1)
    os.close(read_end)
    os.close(write_end)
    with pytest.raises(OSError, match="Bad file descriptor"):
        writeback.start_writing(write_end, 0, 1)


def test_delete_is_on_the_disk_also_when_nothing_was_found(case: FileCase, monkeypatch: pytest.MonkeyPatch):
    store = case.store()
    store.add(KEY, [b"x"], 1)
    recorder = Recorder(monkeypatch, case.folder)
    store.delete(KEY)
    assert recorder.calls == [f"unlink {KEY}", "fsync a"]
    with pytest.raises(BlobNotFound):
        store.delete(KEY)
    assert recorder.calls[2:] == [f"unlink {KEY}", "fsync a"]


def fail_once(monkeypatch: pytest.MonkeyPatch, name: str, number: int, module: object = os) -> list[int]:
    """Make the first call of a function of ``module`` fail; return the list that counts all calls."""
    real, calls = getattr(module, name), []

    def call(*args, **kwargs):
        calls.append(1)
        if len(calls) == 1:
            raise OSError(number, os.strerror(number))
        return real(*args, **kwargs)

    monkeypatch.setattr(module, name, call)
    return calls


def test_a_failed_sync_is_never_tried_again(case: FileCase, monkeypatch: pytest.MonkeyPatch):
    store = case.store()
    calls = fail_once(monkeypatch, "fdatasync", errno.EIO)
    with pytest.raises(StoreUnavailable):
        store.add(KEY, [b"x"], 1)
    assert calls == [1]
    assert case.files() == []


def test_a_failed_sync_of_the_directory_takes_the_name_back(case: FileCase, monkeypatch: pytest.MonkeyPatch):
    store = case.store()
    store.check()
    fail_once(monkeypatch, "fsync", errno.EIO)
    with pytest.raises(StoreUnavailable):
        store.add(KEY, [b"x"], 1)
    assert case.files() == []


@pytest.mark.parametrize(
    ("number", "error"),
    [
        (errno.ENOSPC, StoreFull), (errno.EDQUOT, StoreFull), (errno.EFBIG, StoreFull), (errno.EACCES, WriteDenied),
        (errno.EROFS, WriteDenied), (errno.EIO, StoreUnavailable), (errno.ESTALE, StoreUnavailable),
    ],
)
@pytest.mark.parametrize("function", ["write", "fdatasync"])
def test_errors_of_the_disk(case: FileCase, monkeypatch: pytest.MonkeyPatch, function: str, number: int, error: type):
    store = case.store()
    store.check()
    fail_once(monkeypatch, function, number)
    with pytest.raises(error) as caught:
        store.add(KEY, [b"x"], 1)
    assert type(caught.value) is error
    assert case.files() == []


def test_largest_file_size_of_the_process(case: FileCase):
    """EFBIG from the kernel and not from a patch; in a process of its own, because the limit counts for all files."""
    case.store().check()
    script = f"""
import resource, sys
from pathlib import Path
from glance_common.stores.contract import StoreFull
from tests.support.stores import FileCase
case = FileCase(Path({str(case.folder)!r}))
case.identities.table.update({case.identities.table!r})
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
try:
    case.store().add({KEY!r}, [b"x" * 100_000] * 5, None)
except StoreFull:
    sys.exit(0 if case.files() == [] else "a file was left")
sys.exit("no error")
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60, cwd=ROOT)


def test_short_writes_are_continued(case: FileCase, monkeypatch: pytest.MonkeyPatch):
    store, real = case.store(), os.write
    store.check()
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, bytes(data)[:7]))
    store.add(KEY, [b"0123456789" * 10], None)
    assert read(store, KEY) == b"0123456789" * 10


# Names


def without_hard_links(monkeypatch: pytest.MonkeyPatch, number: int = errno.EPERM) -> None:
    def link(*args, **kwargs):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", link)


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK])
def test_s70_a_file_system_without_hard_links(case: FileCase, monkeypatch: pytest.MonkeyPatch, number: int):
    without_hard_links(monkeypatch, number)
    store = case.store()
    store.add(KEY, [b"first"], None)
    monkeypatch.setattr(Handle, "holds", lambda handle, key: False)
    with pytest.raises(BlobExists):
        store.add(KEY, [b"second"], None)
    assert read(store, KEY) == b"first"
    assert case.files() == [KEY]


def test_a_file_system_that_cannot_refuse_to_replace(case: FileCase, monkeypatch: pytest.MonkeyPatch):
    store = case.store()
    store.check()
    without_hard_links(monkeypatch)

    class Libc:
        @staticmethod
        def renameat2(*_: object) -> int:
            return -1

    monkeypatch.setattr("glance_common.stores.drivers.file.linking.ctypes.CDLL", lambda *args, **kwargs: Libc())
    monkeypatch.setattr("glance_common.stores.drivers.file.linking.ctypes.get_errno", lambda: errno.EINVAL)
    with pytest.raises(StoreUnavailable, match="neither hard links nor a rename that does not replace"):
        store.add(KEY, [b"x"], None)
    assert case.files() == []


def test_a_link_whose_answer_was_lost_succeeded(case: FileCase, monkeypatch: pytest.MonkeyPatch):
    store, real = case.store(), os.link
    store.check()

    def link(*args, **kwargs):
        real(*args, **kwargs)
        raise FileExistsError(errno.EEXIST, "File exists")

    monkeypatch.setattr(os, "link", link)
    store.add(KEY, [b"data"], None)
    assert read(store, KEY) == b"data"
    assert case.files() == [KEY]


def test_s70_the_link_decides_when_the_name_appears_during_the_upload(case: FileCase):
    store = case.store()

    def pieces() -> Iterator[bytes]:
        yield b"mine"
        (case.folder / "a" / KEY).write_bytes(b"theirs")

    with pytest.raises(BlobExists):
        store.add(KEY, pieces(), None)
    assert case.files() == [KEY]
    assert read(store, KEY) == b"theirs"


def test_delete_removes_unfinished_files_of_this_key_only(case: FileCase):
    store = case.store()
    store.add(f"{KEY}.2", [b"x"], None)
    incoming = case.folder / "a" / ".incoming"
    mine = f"{KEY}.{'a' * 32}"
    others = [f"{KEY}.1.{'b' * 32}", f"{uuid4()}.{'c' * 32}", f"{KEY}.notes"]
    for name in (mine, *others):
        (incoming / name).touch()
    with pytest.raises(BlobNotFound):
        store.delete(KEY)
    assert sorted(path.name for path in incoming.iterdir()) == sorted(others)


def test_s70_links_and_pipes_under_the_name_are_not_followed(case: FileCase):
    store = case.store()
    (case.folder / "secret").write_text("of the host")
    (case.folder / "a" / KEY).symlink_to(case.folder / "secret")
    pipe = str(uuid4())
    os.mkfifo(case.folder / "a" / pipe)
    for key in (KEY, pipe):
        with pytest.raises(StoreForbidden, match="not a regular file"):
            store.open(key)
        with pytest.raises(BlobExists):
            store.add(key, [b"x"], None)
    store.delete(KEY)
    assert (case.folder / "secret").read_text() == "of the host"


def test_a_directory_under_the_name_cannot_be_deleted(case: FileCase):
    store = case.store()
    (case.folder / "a" / KEY).mkdir()
    with pytest.raises(StoreForbidden):
        store.delete(KEY)


# Failures in the middle, by failpoint


@pytest.mark.parametrize("point", ["before-sync", "after-sync", "after-link", "after-dirsync"])
def test_an_error_at_any_point_leaves_nothing(case: FileCase, monkeypatch: pytest.MonkeyPatch, point: str):
    armed = case.folder / "failpoints"
    armed.mkdir()
    (armed / f"file.add.{point}").write_text("raise")
    monkeypatch.setattr(failpoints, "_DIRECTORY", str(armed))
    store = case.store()
    with pytest.raises(failpoints.FailpointError):
        store.add(KEY, [b"x"], None)
    assert case.files() == []
    store.add(KEY, [b"y"], None)
    assert read(store, KEY) == b"y"


@pytest.mark.parametrize(
    ("point", "left"),
    [
        ("file.add.before-sync", "unfinished"), ("file.add.after-sync", "unfinished"), ("file.add.after-link", "final"),
        ("file.add.after-dirsync", "final"), ("file.delete.before-unlink", "final"), ("file.delete.after-unlink", ""),
    ],
)
def test_what_a_killed_process_leaves_is_removed_by_delete(case: FileCase, point: str, left: str):
    armed = case.folder / "failpoints"
    armed.mkdir()
    (armed / point).write_text("kill")
    store = case.store()
    store.check()
    script = f"""
from pathlib import Path
from tests.support.stores import FileCase
case = FileCase(Path({str(case.folder)!r}))
case.identities.table.update({case.identities.table!r})
store = case.store()
store.add({KEY!r}, [b"x" * 1000], None)
store.delete({KEY!r})
"""
    environment = {**os.environ, "GLANCE_FAILPOINTS_DIR": str(armed)}
    done = subprocess.run([sys.executable, "-c", script], check=False, timeout=60, env=environment, cwd=ROOT)
    assert done.returncode == -9
    files = case.files()
    assert [("unfinished" if name.startswith(".incoming/") else "final") for name in files] == ([left] if left else [])
    if left == "final":
        assert files == [KEY]
        store.delete(KEY)
    with pytest.raises(BlobNotFound):
        store.delete(KEY)
    assert case.files() == []
