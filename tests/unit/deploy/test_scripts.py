"""The shell scripts around the Python: what they say before anything is installed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[3]
SCRIPTS = ["deploy/run-local", "deploy/test", "deploy/environment.sh", ".ci/run"]
TOOLS = ["bash", "cat", "dirname", "env", "ls", "readlink", "sha256sum"]


@pytest.fixture
def bare_machine(tmp_path):
    """A PATH with the given programs only; a text is a shell script, None a link to the real one."""
    folder = tmp_path / "bin"
    folder.mkdir()

    def make(**programs):
        for name in TOOLS:
            (folder / name).symlink_to(str(shutil.which(name)))
        for name, script in programs.items():
            path = folder / name.replace("_", "-")
            path.write_text(f"#!/bin/sh\n{script}\n")
            path.chmod(0o755)
        return {"PATH": str(folder), "HOME": str(tmp_path)}

    return make


def run(env, *command):
    return subprocess.run(
        command, cwd="/", env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )


def python(version_ok=True, venv_ok=True):
    old, bare = int(not version_ok), int(not venv_ok)
    return f'case "$*" in *version_info*) exit {old} ;; *ensurepip*) exit {bare} ;; esac'


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_shell_understands_the_script(script):
    assert run(None, "bash", "-n", str(CHECKOUT / script)).returncode == 0


@pytest.mark.parametrize("script", ["deploy/run-local", "deploy/test", ".ci/run"])
def test_the_script_can_be_executed(script):
    assert os.access(CHECKOUT / script, os.X_OK)


@pytest.mark.parametrize("script", ["run-local", "test"])
def test_help_needs_nothing_installed(script, bare_machine):
    env = bare_machine(python3=f'exec {sys.executable} "$@"', sed='exec /bin/sed "$@"')
    done = run(env, str(CHECKOUT / "deploy" / script), "--help")
    assert done.returncode == 0
    assert "usage: " in done.stdout


def test_a_wrong_option_is_told_before_anything_is_installed(bare_machine, tmp_path):
    env = bare_machine(python3=f'exec {sys.executable} "$@"') | {"GLANCE_LOCAL_VENV": str(tmp_path / "venv")}
    done = run(env, str(CHECKOUT / "deploy/run-local"), "--no-such-option")
    assert done.returncode == 2
    assert "unrecognized arguments: --no-such-option" in done.stderr
    assert not (tmp_path / "venv").exists()


def test_no_python(bare_machine):
    done = run(bare_machine(), str(CHECKOUT / "deploy/run-local"))
    assert done.returncode == 2
    assert done.stderr == "Python 3.11 or newer is needed: apt-get install python3 python3-venv\n"


def test_only_an_old_python(bare_machine):
    done = run(bare_machine(python3=python(version_ok=False)), str(CHECKOUT / "deploy/run-local"))
    assert done.returncode == 2
    assert "Python 3.11 or newer is needed (too old: python3)" in done.stderr


def test_a_python_without_venv(bare_machine):
    done = run(bare_machine(python3=python(venv_ok=False)), str(CHECKOUT / "deploy/run-local"))
    assert done.returncode == 2
    assert done.stderr == "Python's venv module is missing for python3: apt-get install python3-venv\n"


def test_a_folder_with_other_files_does_not_become_a_virtual_environment(bare_machine, tmp_path):
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").touch()
    env = bare_machine(python3=f'exec {sys.executable} "$@"') | {"GLANCE_LOCAL_VENV": str(precious)}
    done = run(env, str(CHECKOUT / "deploy/run-local"))
    assert done.returncode == 2
    assert f"{precious} holds other files" in done.stderr
    assert [path.name for path in precious.iterdir()] == ["file"]


def test_whoever_is_not_root_is_told_what_is_missing(bare_machine):
    env = bare_machine(python3=python(venv_ok=False), id="echo 1000")
    done = run(env, str(CHECKOUT / "deploy/test"))
    assert done.returncode == 2
    assert "as root: apt-get install" in done.stderr
    assert "qemu-utils" in done.stderr
    assert "python3-venv" in done.stderr
