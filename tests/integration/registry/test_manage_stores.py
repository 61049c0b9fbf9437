"""glance-manage store check: a small object goes through each store."""

from pathlib import Path

import pytest

from glance_common.stores.contract import StoreError, StoreUnavailable
from glance_common.stores.drivers.file.driver import FileStore
from glance_registry.db import schema
from glance_registry.manage import main


@pytest.fixture
def check(tmp_path: Path, empty_database: str):
    """Run the command over two file stores and one on the web; return its code."""
    schema.upgrade(empty_database)
    for name in ("fast", "slow"):
        (tmp_path / name).mkdir()
    path = tmp_path / "glance-manage.conf"
    path.write_text(
        f"[DEFAULT]\nenabled_backends = fast:file,slow:file,web:http\n[database]\nconnection = {empty_database}\n"
        f"[glance_store]\ndefault_backend = fast\n[fast]\nfilesystem_store_datadir = {tmp_path}/fast\n"
        f"[slow]\nfilesystem_store_datadir = {tmp_path}/slow\n"
    )
    return lambda *stores: main.main(["--config-file", str(path), "store", "check", *stores])


def rows(text: str) -> list[list[str]]:
    return [line.split(maxsplit=4) for line in text.splitlines()[1:]]


def left(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*") if path.is_file() and path.name != ".glance-store"]


def test_every_step_in_every_store(check, tmp_path: Path, capsys):
    assert check() == 0
    text = capsys.readouterr().out
    assert text.split()[:5] == ["store", "kind", "step", "ms", "result"]
    steps = ["check", "write", "read", "range", "list", "delete"]
    assert [row[:3] for row in rows(text)] == [
        *(["fast", "file", step] for step in steps), *(["slow", "file", step] for step in steps),
        ["web", "http", "check"],
    ]
    assert {row[4] for row in rows(text)} == {"ok"}
    assert all(float(row[3]) >= 0 for row in rows(text))
    assert left(tmp_path / "fast") == left(tmp_path / "slow") == []


def test_one_store(check, capsys):
    assert check("slow") == 0
    assert {row[0] for row in rows(capsys.readouterr().out)} == {"slow"}
    assert check("none") == 1
    assert "no store 'none' is configured" in capsys.readouterr().err


def test_one_directory_by_two_paths_is_the_place_of_one_store(check, tmp_path: Path, capsys):
    (tmp_path / "slow").rmdir()
    (tmp_path / "slow").symlink_to(tmp_path / "fast")
    assert check("fast") == 0
    assert check("slow") == 1
    assert f"{tmp_path}/slow is the place of the store fast" in capsys.readouterr().out
    assert check("fast") == 0


def test_a_store_that_is_down_is_told_and_the_others_are_checked(check, tmp_path: Path, capsys):
    assert check() == 0
    (tmp_path / "fast").rename(tmp_path / "away")
    capsys.readouterr()
    assert check() == 1
    found = rows(capsys.readouterr().out)
    assert [row[2] for row in found if row[0] == "fast"] == ["check", "write", "delete"]
    assert all("No such file" in row[4] for row in found if row[0] == "fast")
    assert {row[4] for row in found if row[0] != "fast"} == {"ok"}


@pytest.mark.parametrize(
    ("method", "step"), [("open", "read"), ("walk", "list"), ("delete", "delete"), ("check", "check")]
)
def test_what_fails_is_named(check, tmp_path: Path, capsys, monkeypatch, method: str, step: str):
    def fail(self, *args, **kwargs):
        raise StoreUnavailable("the server is away")

    monkeypatch.setattr(FileStore, method, fail)
    assert check("fast") == 1
    problems = {row[2]: row[4] for row in rows(capsys.readouterr().out)}
    assert "StoreUnavailable: the server is away" in problems[step]
    assert "delete" in problems
    monkeypatch.undo()
    assert method == "delete" or left(tmp_path / "fast") == []


def test_bytes_that_come_back_changed_are_told(check, capsys, monkeypatch):
    add = FileStore.add
    monkeypatch.setattr(FileStore, "add", lambda self, key, pieces, size: add(self, key, [b"others"], 6))
    assert check("fast") == 1
    problems = {row[2]: row[4] for row in rows(capsys.readouterr().out)}
    assert "not those that were written" in problems["read"]
    assert StoreError.__name__ in problems["list"]
