"""The daemons' own log files (ARC-24)."""

import logging
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.support.daemons import PROGRAMS

from glance_common.observability import log_file
from glance_common.observability.log_file import LogFile


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "glance-api.log"


@pytest.fixture
def handler(path: Path) -> Iterator[LogFile]:
    made = LogFile(path)
    yield made
    made.close()


def record(text: str) -> logging.LogRecord:
    return logging.makeLogRecord({"msg": text})


def test_lines_of_many_threads_and_handlers_stay_whole(path: Path, handler: LogFile):
    path.write_text("before\n")
    other = LogFile(path)
    lines = [f"{number} {chr(97 + number % 26) * (number % 3000)}" for number in range(2000)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda each: (handler, other)[each[0] % 2].handle(record(each[1])), enumerate(lines)))
    other.close()
    written = path.read_text().splitlines()
    assert written[0] == "before"
    assert sorted(written[1:]) == sorted(lines)


def test_a_moved_file_is_followed(path: Path, handler: LogFile, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(log_file, "LOOK_AGAIN", 1000)
    handler.handle(record("one"))
    rotated = path.rename(path.with_suffix(".1"))
    handler.handle(record("at once"))
    assert rotated.read_text() == "one\nat once\n"
    monkeypatch.setattr(log_file, "LOOK_AGAIN", 0)
    handler.handle(record("two"))
    handler.handle(record("three"))
    assert (rotated.read_text(), path.read_text()) == ("one\nat once\n", "two\nthree\n")
    path.unlink()
    path.write_text("")
    handler.handle(record("four"))
    assert path.read_text() == "four\n"


def test_the_old_file_is_kept_while_there_can_be_no_new_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(log_file, "LOOK_AGAIN", 0)
    folder = tmp_path / "log"
    folder.mkdir()
    handler = LogFile(folder / "log")
    moved = folder.rename(tmp_path / "moved")
    handler.handle(record("somewhere"))
    handler.close()
    assert (moved / "log").read_text() == "somewhere\n"


def test_nobody_waits_for_one_who_looks_for_the_file(path: Path, handler: LogFile, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(log_file, "LOOK_AGAIN", 0)
    with handler._following:
        handler.handle(record("meanwhile"))
    assert path.read_text() == "meanwhile\n"


def test_a_line_that_cannot_be_written_fails_nobody(capsys: pytest.CaptureFixture[str]):
    handler = LogFile(Path("/dev/full"))
    handler.handle(record("x"))
    handler.close()
    assert "No space left on device" in capsys.readouterr().err


def test_text_that_has_no_bytes_is_escaped(path: Path, handler: LogFile):
    handler.handle(record("a\udcffb"))
    assert path.read_text() == "a\\udcffb\n"


LEVELS = (
    "[loggers]\nkeys = root\n[handlers]\nkeys = none\n[formatters]\nkeys =\n[logger_root]\nlevel = ERROR\n"
    "handlers = none\n[handler_none]\nclass = NullHandler\nargs = ()\n"
)


@pytest.mark.parametrize("how", ["log_config_append", "default_log_levels"])
def test_the_terminal_hears_of_the_check_whatever_the_levels_of_the_log_are(tmp_path: Path, how: str):
    (tmp_path / "secret").touch(mode=0o600)
    (tmp_path / "secret").write_text("s" * 64)
    (tmp_path / "levels.conf").write_text(LEVELS)
    value = tmp_path / "levels.conf" if how == "log_config_append" else "glance_common=ERROR"
    configuration = tmp_path / "glance-registry.conf"
    configuration.write_text(
        f"[DEFAULT]\n{how} = {value}\nlog_file = {tmp_path}/x.log\nno_such_option = 1\n"
        f"[registry]\ncontext_secret_file = {tmp_path}/secret\n"
        "[database]\nconnection = postgresql://glance@127.0.0.1:1/none\n"
    )
    command: list[str | Path] = [PROGRAMS / "glance-registry", "--config-file", configuration, "--check-config"]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 1
    assert "no_such_option is not a known option" in checked.stderr


@pytest.mark.parametrize("program", ["glance-api", "glance-registry", "glance-scrubber"])
def test_arc24_a_daemon_names_its_log_after_itself(tmp_path: Path, program: str):
    secret, logs, images = tmp_path / "secret", tmp_path / "log", tmp_path / "images"
    secret.touch(mode=0o600)
    secret.write_text("s" * 64)
    logs.mkdir()
    images.mkdir()
    configuration = tmp_path / f"{program}.conf"
    configuration.write_text(
        f"[DEFAULT]\nlog_dir = {logs}\ntransport_url = filesystem://{tmp_path}/queue\nno_such_option = 1\n"
        f"[registry]\ncontext_secret_file = {secret}\n[database]\nconnection = postgresql://glance@127.0.0.1:1/none\n"
        f"[glance_store]\nstores = file\nfilesystem_store_datadir = {images}\n"
    )
    command: list[str | Path] = [PROGRAMS / program, "--config-file", configuration, "--check-config"]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 1, "an option that is not known"
    assert [path.name for path in logs.iterdir()] == [f"{program}.log"]
    for told in ((logs / f"{program}.log").read_text(), checked.stderr):
        assert "no_such_option is not a known option" in told
