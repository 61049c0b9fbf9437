"""The disk that fails: a program meets each fault as it would meet a real one, and no other file is touched."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.faulty_disk import Fault, FaultyDisk, Operation
from tests.support.faulty_disk.disk import HANG

PROGRAM = """
import errno, os, sys, threading
def tried(call, *arguments, **named):
    try:
        return call(*arguments, **named)
    except OSError as error:
        return errno.errorcode[error.errno]
def made(name, data=b""):
    fd = os.open(name, os.O_RDWR | os.O_CREAT)
    os.write(fd, data)
    return fd
def synced(name, data=b""):
    fd = made(name, data)
    os.fsync(fd)
    return fd
def sync_folder(name="."):
    fd = os.open(name, os.O_RDONLY)
    os.fsync(fd)
"""


class Place:
    """A directory on the disk, and the programs that run there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "data"
        self.folder.mkdir()
        self.disk = FaultyDisk(folder / "control", self.folder, records=True)

    def start(self, code: str) -> subprocess.Popen[str]:
        """Start a program in the directory, which prints what ``code`` puts into ``seen``."""
        return subprocess.Popen(
            [sys.executable, "-P", "-c", f"{PROGRAM}\nseen = []\n{code}\nprint(repr(seen))"], cwd=self.folder,
            stdout=subprocess.PIPE, text=True, env={**os.environ, **self.disk.environment},
        )

    def run(self, code: str) -> object:
        """Run a program in the directory and return what it has seen."""
        with self.start(code) as program:
            output = program.communicate(timeout=60)[0]
        assert program.returncode == 0, program.returncode
        return eval(output)

    def files(self) -> dict[str, bytes]:
        """Return what is in the directory."""
        return {
            str(path.relative_to(self.folder)): path.read_bytes() for path in self.folder.rglob("*") if path.is_file()
        }


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


WRITES = {
    "write": "os.write(fd, b'12345')",
    "writev": "os.writev(fd, [b'123', b'45'])",
    "pwrite": "os.pwrite(fd, b'12345', 0)",
    "pwritev": "os.pwritev(fd, [b'123', b'45'], 0)",
    "sendfile": "os.sendfile(fd, source, 0, 5)",
    "copy_file_range": "os.copy_file_range(source, fd, 5)",
}
READS = {
    "read": "len(os.read(fd, 5))",
    "readv": "os.readv(fd, [bytearray(3), bytearray(2)])",
    "pread": "len(os.pread(fd, 5, 0))",
    "preadv": "os.preadv(fd, [bytearray(3), bytearray(2)], 0)",
    "sendfile": "os.sendfile(made('/dev/null'), fd, 0, 5)",
}


@pytest.mark.parametrize("call", WRITES)
@pytest.mark.parametrize(("at", "seen"), [(0, "ENOSPC"), (2, 2), (5, 5)])
def test_full_at_a_byte(place: Place, call: str, at: int, seen: object):
    source = place.folder.parent / "source"
    source.write_bytes(b"12345")
    place.disk.arm(Fault(Operation.WRITE, errno.ENOSPC, at=at))
    code = f"fd, source = made('file'), made('{source}')\nseen = tried(lambda: {WRITES[call]})"
    assert place.run(code) == seen
    assert place.files() == {"file": b"12345"[: seen if isinstance(seen, int) else 0]}


@pytest.mark.parametrize("call", WRITES)
def test_short_writes(place: Place, call: str):
    source = place.folder.parent / "source"
    source.write_bytes(b"12345")
    place.disk.arm(Fault(Operation.SHORT, most=2))
    assert place.run(f"fd, source = made('file'), made('{source}')\nseen = {WRITES[call]}") == 2


@pytest.mark.parametrize("call", READS)
@pytest.mark.parametrize(("at", "seen"), [(0, "EIO"), (4, 4), (5, 5)])
def test_a_bad_sector(place: Place, call: str, at: int, seen: object):
    (place.folder / "file").write_bytes(b"12345")
    place.disk.arm(Fault(Operation.READ, at=at))
    assert place.run(f"fd = made('file')\nseen = tried(lambda: {READS[call]})") == seen


def test_no_room_to_reserve(place: Place):
    place.disk.arm(Fault(Operation.WRITE, errno.ENOSPC, at=9))
    code = (
        "import ctypes\nfd, c = made('file'), ctypes.CDLL(None, use_errno=True)\n"
        "seen = [c.fallocate(fd, 1, ctypes.c_int64(0), ctypes.c_int64(n)) for n in (9, 10)], ctypes.get_errno()"
    )
    assert place.run(code) == ([0, -1], errno.ENOSPC)


@pytest.mark.parametrize("call", ["fsync", "fdatasync"])
def test_a_failed_sync(place: Place, call: str):
    place.disk.arm(Fault(Operation.SYNC))
    code = f"seen = tried(os.{call}, made('file')), tried(os.{call}, os.open('.', os.O_RDONLY))"
    assert place.run(code) == ("EIO", None)
    place.disk.disarm()
    place.disk.arm(Fault(Operation.SYNC_DIRECTORY))
    assert place.run(code) == (None, "EIO")


def test_a_failed_writeback(place: Place):
    place.disk.arm(Fault(Operation.WRITEBACK))
    code = (
        "import ctypes\nc = ctypes.CDLL(None, use_errno=True)\n"
        "seen = c.sync_file_range(made('file'), ctypes.c_int64(0), ctypes.c_int64(9), 2), ctypes.get_errno()"
    )
    assert place.run(code) == (-1, errno.EIO)


NAMES = ["os.open('file', 0)", "os.stat('file')", "os.lstat('file')", "os.mkdir('new')", "os.link('file', 'new')",
         "os.unlink('file')", "os.rename('file', 'new')", "open('new', 'w')", "open('file')", "os.open('.', 0)"]
AT = ["os.open('file', 0, dir_fd=d)", "os.stat('file', dir_fd=d)", "os.mkdir('new', dir_fd=d)",
      "os.link('file', 'new', src_dir_fd=d, dst_dir_fd=d)", "os.unlink('file', dir_fd=d)",
      "os.rename('file', 'new', src_dir_fd=d, dst_dir_fd=d)"]


@pytest.mark.parametrize("name", ["EIO", "ESTALE", "ENOENT"])
def test_taken_away(place: Place, name: str):
    (place.folder / "file").touch()
    place.disk.arm(Fault(Operation.NAME, getattr(errno, name)))
    calls = "\n".join(f"seen.append(tried(lambda: {call}))" for call in NAMES)
    assert place.run(calls) == [name] * len(NAMES)
    place.disk.disarm()
    (place.folder / "file").touch()
    # Through a directory that was opened before, as the file store works.
    with place.start(
        "d = os.open('.', os.O_RDONLY)\nprint(flush=True)\nimport time\n"
        f"while not os.path.exists('{place.folder.parent}/armed'): time.sleep(0.01)\n"
        + "\n".join(f"seen.append(tried(lambda: {call}))" for call in AT)
    ) as program:
        assert program.stdout is not None
        program.stdout.readline()
        place.disk.arm(Fault(Operation.NAME, getattr(errno, name), part="data/"))
        (place.folder.parent / "armed").touch()
        assert eval(program.communicate(timeout=60)[0]) == [name] * len(AT)


def test_other_files_are_left_alone(place: Place):
    for operation in Operation:
        place.disk.arm(Fault(operation, most=1))
    code = f"fd = made('{place.folder}-base', b'123')\nos.fsync(fd)\nseen = os.pread(fd, 3, 0)"
    assert place.run(code) == b"123"
    assert not any(map(place.disk.strikes, Operation))


def test_strikes_one_file_a_number_of_times(place: Place):
    place.disk.arm(Fault(Operation.SYNC, times=2, part="struck"))
    code = "seen = [tried(os.fsync, made(name)) for name in ('other', 'struck', 'struck', 'struck')]"
    assert place.run(code) == [None, "EIO", "EIO", None]
    assert place.disk.strikes(Operation.SYNC) == [str(place.folder / "struck")] * 2


def test_hangs_until_the_fault_is_taken_away(place: Place):
    place.disk.arm(Fault(Operation.SYNC, HANG))
    with place.start("seen = tried(os.fsync, made('file'))") as program:
        while not place.disk.strikes(Operation.SYNC):
            assert program.poll() is None
        place.disk.disarm()
        assert eval(program.communicate(timeout=60)[0]) is None


def test_a_fault_that_nothing_met_is_told(place: Place):
    with pytest.raises(AssertionError, match="no sync met"), place.disk.failing(Fault(Operation.SYNC)):
        place.run("made('file', b'data')")


POWER = {
    "data that were never synced": ("made('file', b'12345')\nsync_folder()", {"file": b""}),
    "data and name that were synced": ("synced('file', b'12345')\nsync_folder()", {"file": b"12345"}),
    "a name that was never synced": ("synced('file', b'12345')", {}),
    "data behind the last sync": (
        "os.write(synced('file', b'12'), b'345')\nsync_folder()", {"file": b"12"}
    ),
    "data over synced ones": (
        "os.pwrite(synced('file', b'12345'), b'!', 1)\nsync_folder()", {"file": b"1\x00345"}
    ),
    "a sync that failed is not mended by the next": (
        "fd = made('file', b'12345')\nseen = tried(os.fsync, fd)\nos.fsync(fd)\nsync_folder()", {"file": bytes(5)}
    ),
    "a link without a sync": (
        "synced('one', b'12345')\nsync_folder()\nos.link('one', 'two')", {"one": b"12345"}
    ),
    "a link with a sync, from a name without one": (
        "os.mkdir('in')\nsynced('in/one', b'12345')\nos.link('in/one', 'two')\nos.unlink('in/one')\nsync_folder()",
        {"two": b"12345"},
    ),
    "a rename without a sync": (
        "synced('one', b'new')\nsynced('two', b'old')\nsync_folder()\nos.rename('one', 'two')",
        {"one": b"new", "two": b"old"},
    ),
    "a rename with a sync": (
        "synced('one', b'new')\nsynced('two', b'old')\nsync_folder()\nos.rename('one', 'two')\nsync_folder()",
        {"two": b"new"},
    ),
    "a delete without a sync": ("synced('one', b'12345')\nsync_folder()\nos.unlink('one')", {"one": b"12345"}),
    "a delete with a sync": ("synced('one', b'12345')\nsync_folder()\nos.unlink('one')\nsync_folder()", {}),
    "a directory without a sync": ("os.mkdir('in')\nsynced('in/one', b'1')\nsync_folder('in')", {}),
    "a file that was there before": ("os.write(os.open('before', os.O_WRONLY), b'!')", {}),
}


@pytest.mark.parametrize("case", POWER)
def test_a_loss_of_power(place: Place, case: str):
    code, left = POWER[case]
    (place.folder / "before").write_bytes(b"before")
    if "failed" in case:
        place.disk.arm(Fault(Operation.SYNC, times=1))
    place.run(code)
    place.disk.power_loss()
    assert place.files() == {"before": b"\x00efore" if "before" in case else b"before", **left}
    assert place.disk.power_loss() == [], "what is left is durable"
