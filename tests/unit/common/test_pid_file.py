"""Pid files of glance-control: whose directory is trusted, and what a reader sees of a write (tools section 5)."""

import os
import tempfile
from pathlib import Path

import pytest

from glance_common.control import pid_file
from glance_common.control.pid_file import PidFile, default_path
from glance_common.control.servers import ControlError

PROGRAM = "glance-api"


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A host without the usual directory; returns where the pid files are instead."""
    monkeypatch.setattr(pid_file, "DIRECTORY", tmp_path / "absent")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return default_path(PROGRAM).parent


def looked() -> int | None:
    """Return which process the pid file names."""
    return PidFile(default_path(PROGRAM), PROGRAM).running()


def test_too04_nothing_runs_without_the_directory_and_in_an_own_one(temporary: Path):
    assert looked() is None
    temporary.mkdir(mode=0o700)
    assert looked() is None
    default_path(PROGRAM).write_text("0\n")
    assert looked() is None


def test_too04_no_file_is_believed_where_others_can_put_one(temporary: Path, tmp_path: Path):
    temporary.mkdir()
    default_path(PROGRAM).write_text("0\n")
    for mode in (0o777, 0o770):
        temporary.chmod(mode)
        with pytest.raises(ControlError, match="belongs to another user"):
            looked()
    temporary.chmod(0o700)
    temporary.rename(tmp_path / "elsewhere")
    temporary.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ControlError, match="belongs to another user"):
        looked()


def test_too04_no_file_of_another_user_is_believed(temporary: Path, monkeypatch: pytest.MonkeyPatch):
    me = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: me + 1)
    default_path(PROGRAM).parent.mkdir(mode=0o700)
    default_path(PROGRAM).write_text("0\n")
    with pytest.raises(ControlError, match="belongs to another user"):
        looked()


def test_too04_a_reader_finds_an_id_at_every_moment_of_a_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "x.pid"
    path.write_text("1234567\n")
    found: list[int | None] = []
    truncate, write = os.ftruncate, os.pwrite

    def truncated(descriptor: int, length: int) -> None:
        truncate(descriptor, length)
        found.append(pid_file._content(descriptor))

    def written(descriptor: int, data: bytes, at: int) -> int:
        count = write(descriptor, data, at)
        found.append(pid_file._content(descriptor))
        return count

    monkeypatch.setattr(os, "ftruncate", truncated)
    monkeypatch.setattr(os, "pwrite", written)
    with path.open("r+b") as file:
        pid_file.write(file.fileno(), 89)
    assert found == [89, 89]
    assert path.read_text() == "89\n"
