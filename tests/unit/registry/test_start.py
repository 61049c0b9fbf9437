"""Starting glance-registry: what stops it, and in which words."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import pytest

from glance_common.config import loading
from glance_common.config.findings import findings
from glance_registry import cli, wsgi
from glance_registry.config import list_opts
from glance_registry.housekeeping import Ages
from glance_registry.manage import main

SECRET = "s" * 32
BAD_PORT = "postgresql://u:a@b:hunter2@h/d"
"""A password with characters that are not escaped: a part of it is read as the port."""


pytestmark = pytest.mark.usefixtures("root_logger")


def config_file(folder: Path, connection: str = "postgresql://glance@127.0.0.1:1/none", more: str = "") -> str:
    secret = folder / "secret"
    secret.write_text(SECRET)
    secret.chmod(0o600)
    path = folder / "glance-registry.conf"
    path.write_text(
        f"[DEFAULT]\n{more}\n[database]\nconnection = {connection}\n[registry]\ncontext_secret_file = {secret}\n"
    )
    return str(path)


def test_a_right_configuration_passes_the_check_although_the_database_is_away(tmp_path: Path) -> None:
    assert cli.main(["--config-file", config_file(tmp_path), "--check-config"]) == 0


@pytest.mark.parametrize(
    "connection", ["", "sqlite:///x", "mysql://u:hunter2@h/d", "postgresql//u:hunter2@h", BAD_PORT]
)
def test_only_postgresql_and_no_password_in_the_message(
    tmp_path: Path, connection: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["--config-file", config_file(tmp_path, connection), "--check-config"]) == 1
    told = capsys.readouterr().err
    assert "[database] connection" in told
    assert "hunter2" not in told


def test_a_password_that_is_read_as_a_port_is_not_shown_for_the_replica_either(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = config_file(tmp_path)
    Path(text).write_text(Path(text).read_text().replace("[database]", f"[database]\nslave_connection = {BAD_PORT}"))
    assert cli.main(["--config-file", text, "--check-config"]) == 1
    told = capsys.readouterr().err
    assert "[database] slave_connection" in told
    assert "hunter2" not in told


@pytest.mark.parametrize(
    ("options", "pool"),
    [
        ("", (8, 0, 3.0, 3600)),
        ("max_pool_size = 3", (3, 5, 3.0, 3600)),
        ("max_pool_size = 50", (8, 0, 3.0, 3600)),
        ("max_pool_size = 2\nmax_overflow = 1\npool_timeout = 30\nidle_timeout = 60", (2, 1, 30.0, 60)),
        ("max_overflow = 50\nconnection_recycle_time = -1", (8, 0, 3.0, -1)),
    ],
)
def test_the_pool_has_a_connection_for_each_thread_unless_told_otherwise(
    tmp_path: Path, options: str, pool: tuple[int, int, float, int]
) -> None:
    path = config_file(tmp_path, more=f"threads = 8\n[database]\n{options}")
    conf = loading.load("glance-registry", ["--config-file", path], list_opts())
    found = wsgi.worker_settings(conf)
    assert (found.pool_size, found.overflow, found.pool_timeout, found.recycle) == pool


def test_the_oldest_names_of_the_database_are_read(tmp_path: Path) -> None:
    path = tmp_path / "glance-registry.conf"
    path.write_text("[DEFAULT]\nsql_connection = postgresql://old/name\nsql_idle_timeout = 7\n")
    conf = loading.load("glance-registry", ["--config-file", str(path)], list_opts())
    assert wsgi.database_url(conf) == "postgresql://old/name"
    assert conf.database.connection_recycle_time == 7
    assert findings(conf, list_opts()) == []


@pytest.mark.parametrize("url", ["sqlite:///x", "mysql://u:hunter2@h/d"])
def test_a_replica_is_postgresql_too(tmp_path: Path, url: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = config_file(tmp_path, more=f"[database]\nslave_connection = {url}")
    assert cli.main(["--config-file", path, "--check-config"]) == 1
    told = capsys.readouterr().err
    assert "[database] slave_connection = ***" in told
    assert "hunter2" not in told


def test_a_replica_that_is_away_does_not_stop_the_start(tmp_path: Path) -> None:
    path = config_file(tmp_path, more="[database]\nslave_connection = postgresql://u@127.0.0.1:1/none")
    assert cli.main(["--config-file", path, "--check-config"]) == 0


@pytest.mark.parametrize("names", ["max_retries = 2\nretry_interval = 0.1", "[DATABASE]\nsql_max_retries = 2"])
def test_manage_waits_for_the_database_as_long_as_it_is_told(
    tmp_path: Path, names: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr("time.sleep", waits.append)
    path = config_file(tmp_path, more=f"[database]\n{names}")
    assert main.main(["--config-file", path, "db", "version"]) == 1
    assert waits == ([0.1, 0.1] if "retry_interval" in names else [10.0, 10.0])
    told = capsys.readouterr().err.splitlines()
    assert [line for line in told if line.startswith("The database does not answer; next try in ")] == told[:2]
    assert told[2].startswith("ERROR: the database does not answer")


def test_a_secret_that_everybody_reads_stops_the_start(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = config_file(tmp_path)
    (tmp_path / "secret").chmod(0o644)
    assert cli.main(["--config-file", path, "--check-config"]) == 1
    assert "[registry] context_secret_file" in capsys.readouterr().err


@pytest.mark.parametrize("line", ["bind_port = 99999", "threads = many"])
def test_a_bad_value_is_named(tmp_path: Path, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--config-file", config_file(tmp_path, more=line), "--check-config"]) == 1
    assert line.split()[0] in capsys.readouterr().err


def test_an_unknown_name_fails_the_check(tmp_path: Path) -> None:
    assert cli.main(["--config-file", config_file(tmp_path, more="bind_prot = 9191"), "--check-config"]) == 1


@pytest.mark.parametrize(("arguments", "listed"), [
    ([], ("db_sync", "store", "deletions")), (["db"], ("sync", "purge_images_table", "load_metadefs")),
    (["store"], ("init", "rename")), (["deletions"], ("replay",)),
])
def test_manage_without_a_command_lists_the_commands_and_exits_2(
    arguments: list[str], listed: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main(arguments) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert all(re.search(rf"^ +{name}\s", told.err, re.MULTILINE) for name in listed)


@pytest.mark.parametrize("arguments", [["nothing"], ["db", "nothing"], ["db_nothing"], ["db", "sync", "--nothing"]])
def test_manage_with_a_wrong_command_shows_usage_and_exits_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main.main(arguments)
    assert caught.value.code == 2
    assert "usage" in capsys.readouterr().err


def test_manage_checks_the_configuration_and_does_nothing_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main(["--config-file", config_file(tmp_path), "--check-config", "db", "sync"]) == 0
    assert main.main(["--config-file", config_file(tmp_path, more="bind_prot = 1"), "--check-config"]) == 1
    assert "bind_prot is not a known option" in capsys.readouterr().err


def test_manage_logs_into_a_file_of_the_command_line_and_never_into_that_of_a_service(
    tmp_path: Path, root_logger: logging.Logger
) -> None:
    service, own = tmp_path / "service.log", tmp_path / "own.log"
    path = config_file(tmp_path, more=f"log_file = {service}\nlog_dir = {tmp_path}")
    before = root_logger.handlers[:]
    assert main.main(["--config-file", path, "db", "version"]) == 1
    assert root_logger.handlers == before
    assert main.main(["--config-file", path, "--debug", "db", "version"]) == 1
    logging.getLogger("glance_registry").error("to the terminal")
    assert main.main(["--config-file", path, "--log-file", str(own), "db", "version"]) == 1
    logging.getLogger("glance_registry").error("to the file")
    assert "to the file" in own.read_text()
    assert not service.exists()


@pytest.mark.parametrize("command", ["sync", "check", "version"])
def test_manage_with_the_database_away_exits_1(
    tmp_path: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main(["--config-file", config_file(tmp_path), "db", command]) == 1
    assert "the database does not answer" in capsys.readouterr().err


def test_s80_without_a_word_the_registry_is_reached_from_its_own_machine_only(tmp_path: Path) -> None:
    conf = loading.load(cli.PROG, ["--config-file", config_file(tmp_path)], list_opts())
    settings, _ = cli.prepare(conf)
    assert settings.host == "127.0.0.1"


@pytest.mark.parametrize(("options", "ages"), [
    ("", Ages()), ("purge_deleted_rows_after = 30", Ages(rows=30)),
    ("purge_deleted_rows_after = 30\npurge_deleted_images_after = 180", Ages(images=180, rows=30)),
])
def test_del10_the_ages_of_deleted_rows(tmp_path: Path, options: str, ages: Ages) -> None:
    conf = loading.load(cli.PROG, ["--config-file", config_file(tmp_path, more=options)], list_opts())
    assert wsgi.kept_ages(conf) == ages


@pytest.mark.parametrize(("options", "named"), [
    ("purge_deleted_images_after = 180", "purge_deleted_images_after"),
    ("purge_deleted_rows_after = 30\npurge_deleted_images_after = 29", "purge_deleted_images_after"),
    ("purge_deleted_rows_after = -1", "purge_deleted_rows_after"),
])
def test_del10_ages_without_sense_stop_the_start(
    tmp_path: Path, options: str, named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["--config-file", config_file(tmp_path, more=options), "--check-config"]) == 1
    assert named in capsys.readouterr().err
