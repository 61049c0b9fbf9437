"""The parts of the drill that judge: its clients, its table, and what it refuses to touch."""

from __future__ import annotations

import argparse
import fcntl
import itertools
import os
import signal
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tests.cluster import load, main, table
from tests.cluster.callers import Failure
from tests.cluster.cluster import MARKER, Cluster, FolderError
from tests.cluster.crowd import Told
from tests.cluster.plain_calls import PlainCalls
from tests.cluster.table import StepResult


class Moody:
    """A service whose next answers are told; it remembers what it was asked."""

    def __init__(self, *answers: int | None, shown: tuple[str, ...] = ()) -> None:
        self.asked: list[str] = []
        self.digest = ""
        self._answers, self._shown = list(answers), list(shown)

    def _answer(self, name: str) -> None:
        self.asked.append(name)
        status = self._answers.pop(0) if self._answers else 200
        if status != 200:
            raise Failure(status, "moody")

    def create(self, image: str, name: str) -> None:
        self._answer("create")

    def upload(self, image: str, data: bytes) -> None:
        self._answer("upload")

    def show(self, image: str) -> dict[str, Any]:
        self.asked.append("show")
        return {"status": self._shown.pop(0), "os_hash_value": self.digest}

    def download(self, image: str) -> bytes:
        self._answer("download")
        return b""

    def list(self) -> int:
        self._answer("list")
        return 0

    def rename(self, image: str, name: str) -> None:
        self._answer("rename")

    def delete(self, image: str) -> None:
        self._answer("delete")

    def import_web(self, image: str, uri: str, request: str) -> None:
        self._answer("import")


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch):
    """A clock that goes on by ten seconds whenever it is asked, and on which no pause takes time."""
    seconds = itertools.count(time.monotonic(), 10)
    monkeypatch.setattr(load, "time", SimpleNamespace(monotonic=lambda: next(seconds), sleep=lambda _seconds: None))


@pytest.fixture(autouse=True)
def _uploads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Data come by uploads."""
    monkeypatch.setattr(load, "IMPORTED", 0)


@pytest.fixture
def _imports(monkeypatch: pytest.MonkeyPatch, _uploads: None) -> None:
    """Data come by imports."""
    monkeypatch.setattr(load, "IMPORTED", 1)


def first_calls(service: Moody) -> list[dict[str, Any]]:
    """Return what a client tells until it has done its first two calls: a create, and an upload or an import."""
    told: list[dict[str, Any]] = []
    sources = [{"uri": "http://127.0.0.1/0", "size": 1, "sha512": service.digest}]
    client = load.Client(service, cast(PlainCalls, service), 1, sources, told.append)
    client.run(lambda: bool(told))
    return told


@pytest.mark.usefixtures("_imports")
def test_an_import_is_asked_for_once_and_waited_for():
    service = Moody(200, 200, shown=("importing", "importing", "active"))
    _, imported = first_calls(service)
    assert imported["done"]
    assert service.asked == ["create", "import", "show", "show", "show"]
    assert [status for _, status in imported["asked"]] == [202]
    assert [status for _, status in imported["tries"]] == [200]
    assert imported["reads"] == []


@pytest.mark.usefixtures("_imports")
def test_an_import_is_asked_for_again_after_no_answer_and_after_a_task_that_failed():
    service = Moody(200, None, 200, 200, shown=("queued", "importing", "queued", "active"))
    _, imported = first_calls(service)
    assert imported["done"]
    assert [status for _, status in imported["asked"]] == [None, 202, 202]
    assert len({request for request, _ in imported["asked"]}) == 3
    assert [status for _, status in imported["tries"]] == [None, 200]
    assert [status for _, status in imported["reads"]] == [None], "the failed task was noticed"


@pytest.mark.usefixtures("_imports")
def test_an_import_that_an_earlier_request_began_is_waited_for():
    service = Moody(200, 503, 409, shown=("queued", "importing", "active"))
    _, imported = first_calls(service)
    assert imported["done"]
    assert [status for _, status in imported["asked"]] == [503, 409]


def test_a_create_that_an_earlier_try_did_is_done():
    service = Moody(503, 409, shown=("queued",))
    create, _ = first_calls(service)
    assert create["done"]
    assert [status for _, status in create["tries"]] == [503, 200]
    assert service.asked[:3] == ["create", "create", "show"]


def test_a_refusal_is_not_repeated():
    service = Moody(409)
    (create,) = first_calls(service)
    assert not create["done"]
    assert service.asked == ["create"]


def test_an_upload_is_repeated_when_nothing_of_the_first_one_is_left():
    service = Moody(200, None, shown=("saving", "queued"))
    _, upload = first_calls(service)
    assert upload["done"]
    assert service.asked == ["create", "upload", "show", "show", "upload"]


def test_data_of_another_upload_are_not_taken_for_ones_own():
    service = Moody(200, 503, shown=("active",) * 20)
    _, upload = first_calls(service)
    assert not upload["done"]
    assert service.asked.count("show") > 1
    assert service.asked.count("upload") == 1


def told(*statuses: int | None, done: bool = True) -> Told:
    return Told("sdk", "show", "an-image", 1.0, 3.5, done, statuses, len(statuses) > 1, "")


def test_a_row_of_the_table():
    step = StepResult("kill -9 api-1", False, 7.0, [told(200), told(502, None, 200), told(503, done=False)])
    assert table.rows([step]).splitlines()[-1] == "| kill -9 api-1 | 3 | 1 | 1 | 2 | 1 | 2.5 | 7.0 |"
    assert len(step.faults()) == 1
    assert "could not" in step.faults()[0]


def test_a_step_that_no_client_may_notice():
    assert StepResult("roll", True, 1.0, [told(200)]).faults() == []
    assert "had to repeat" in StepResult("roll", True, 1.0, [told(503, 200)]).faults()[0]
    assert StepResult("kill", False, 1.0, [told(503, 200)]).faults() == []


def test_a_step_without_calls_shows_nothing():
    assert StepResult("roll", True, 1.0, []).faults()


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("tests.cluster.cluster.accounts.can_reach", lambda *_: True)
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(FolderError, match="other files"):
        Cluster(tmp_path, store="seaweedfs")
    assert (tmp_path / "thesis.tex").exists()


def test_a_folder_in_use_is_left_alone_and_an_old_one_is_emptied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("tests.cluster.cluster.accounts.can_reach", lambda *_: True)
    (tmp_path / MARKER).touch()
    (tmp_path / "old.log").touch()
    first = Cluster(tmp_path, store="seaweedfs")
    assert not (tmp_path / "old.log").exists()
    with pytest.raises(FolderError, match="runs in"):
        Cluster(tmp_path, store="seaweedfs")
    first.stop()
    second = Cluster(tmp_path, store="seaweedfs")
    second.stop()


@pytest.fixture
def bystander():
    """A process that has nothing to do with a cluster."""
    with subprocess.Popen(["sleep", "600"]) as process:
        yield process
        process.kill()


def test_an_id_that_an_up_left_behind_is_not_signalled(tmp_path: Path, bystander: subprocess.Popen[bytes]):
    asked = argparse.Namespace(folder=tmp_path)
    (tmp_path / "up.pid").write_text(f"{bystander.pid}\n")
    assert main._down(asked) == 1
    (tmp_path / MARKER).touch()
    assert main._down(asked) == 1
    assert main._down(argparse.Namespace(folder=tmp_path / "absent")) == 1
    assert bystander.poll() is None


def test_down_ends_what_holds_the_folder(tmp_path: Path, bystander: subprocess.Popen[bytes]):
    asked = argparse.Namespace(folder=tmp_path)
    with (tmp_path / MARKER).open("a") as marker:
        fcntl.flock(marker, fcntl.LOCK_EX)
        with pytest.raises(FolderError, match="not by deploy/cluster/up"):
            main._down(asked)
        (tmp_path / "up.pid").write_text(f"{bystander.pid}\n")
        assert main._down(asked) == 0
    assert bystander.wait(60) == -signal.SIGTERM


def test_a_folder_of_another_user_is_left_alone(
    tmp_path: Path, bystander: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("tests.cluster.cluster.accounts.can_reach", lambda *_: True)
    (tmp_path / "up.pid").write_text(f"{bystander.pid}\n")
    with (tmp_path / MARKER).open("a") as marker:
        fcntl.flock(marker, fcntl.LOCK_EX)
        me = os.geteuid()
        monkeypatch.setattr(os, "geteuid", lambda: me + 1)
        with pytest.raises(FolderError, match="another user"):
            main._down(argparse.Namespace(folder=tmp_path))
    monkeypatch.setattr("tests.cluster.cluster.accounts.server_account", lambda: None)
    with pytest.raises(FolderError, match="another user"):
        Cluster(tmp_path, store="seaweedfs")
    assert (tmp_path / "up.pid").exists()
    assert bystander.poll() is None
