"""The command line of run-local."""

from pathlib import Path

import pytest
from deploy.local import arguments


def test_nothing_said():
    asked = arguments.parse([])
    assert asked == arguments.Arguments(api_port=9292, registry_port=9191, data_dir=None, check=False, verbose=False)


def test_everything_said(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    ports = ["--api-port", "0", "--registry-port", "65535"]
    asked = arguments.parse([*ports, "--data-dir", "here", "--check", "--verbose"])
    assert asked == arguments.Arguments(0, 65535, tmp_path / "here", True, True)
    assert asked.data_dir == Path.cwd() / "here"


@pytest.mark.parametrize("port", ["65536", "-1", "x", "", "\uff19\uff12"])
def test_what_is_no_port(port, capsys):
    with pytest.raises(SystemExit) as ended:
        arguments.parse([f"--api-port={port}"])
    assert ended.value.code == 2
    assert "is not a port number from 0 to 65535" in capsys.readouterr().err


def test_both_services_on_one_port(capsys):
    with pytest.raises(SystemExit) as ended:
        arguments.parse(["--api-port", "9191"])
    assert ended.value.code == 2
    assert "--api-port and --registry-port are both 9191" in capsys.readouterr().err
    assert arguments.parse(["--api-port", "0", "--registry-port", "0"]).api_port == 0
