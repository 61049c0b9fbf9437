"""The shell scripts around the Python: what they say before anything is installed."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from deploy.local import processes

CHECKOUT = Path(__file__).resolve().parents[3]
SCRIPTS = ["deploy/run-local", "deploy/test", "deploy/environment.sh", ".ci/run"]
TOOLS = [
    "bash", "cat", "dirname", "env", "find", "flock", "grep", "id", "ls", "mkdir", "mktemp", "readlink", "rm", "sed",
    "setsid", "sha256sum", "sleep", "tail", "tee", "touch",
]  # fmt: skip


@pytest.fixture
def bare_machine(tmp_path):
    """A PATH with the given programs only; a text is a shell script, None a link to the real one."""
    folder = tmp_path / "bin"
    folder.mkdir()

    def make(**programs):
        for name in set(TOOLS) - set(programs):
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
    env = bare_machine(python3=f'exec {sys.executable} "$@"')
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


def test_a_user_who_is_not_root_is_told_what_is_missing(bare_machine):
    env = bare_machine(python3=python(venv_ok=False), id="echo 1000")
    done = run(env, str(CHECKOUT / "deploy/test"))
    assert done.returncode == 2
    assert "as root: apt-get install" in done.stderr
    assert "qemu-utils" in done.stderr
    assert "python3-venv" in done.stderr


# A Python that makes virtual environments of links to itself; what was installed where stands in $HOME/installed, and
# a step whose command line holds $HANGS_AT stays, with a child of its own, until it is ended.
PYTHON = """
case "$*" in
    *version_info* | *ensurepip*) exit 0 ;;
    *deploy.local.arguments*) ;;
    -VV) echo 'Python 3' ;;
    '-m venv '*) mkdir -p "$3/bin"; for each in bash cat python mkdir touch; do ln -sf "$(command -v $each)" "$3/bin/"
        done; ln -sf "$HOME/bin/python3" "$3/bin/python"; touch "$3/made" ;;
    '-m pip '*) [ -e "${0%/bin/python}/made" ] || exit 1; echo "$*" >>"$HOME/installed" ;;
esac
echo "$*" >>"$HOME/ran"
case "$*" in
    *"${HANGS_AT:-nowhere}"*) sleep 600 & trap "kill $!; exit 0" INT; echo "$$ $!" >"$HOME/pids"; wait ;;
esac
"""


def default_signals() -> None:
    """Undo what a shell in the background or nohup ignores."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)


@pytest.fixture
def machine(bare_machine, tmp_path):
    """A function that starts a script on a machine with the fake Python, in a session of its own."""
    env = bare_machine(python3=PYTHON, ln='exec /bin/ln "$@"', qemu_img="exit 0", systemd_analyze="exit 0")
    for name in ("LOCAL", "TEST"):
        env[f"GLANCE_{name}_VENV"] = str(tmp_path / "venv")
    started = []

    def start(command, **more):
        script, *arguments = command.split()
        process = subprocess.Popen(
            [CHECKOUT / "deploy" / script, *arguments], cwd="/", env=env | more, start_new_session=True, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            # A shell that runs the tests in the background has Ctrl-C ignored, and no shell can undo that.
            preexec_fn=default_signals,
        )  # fmt: skip
        started.append(process)
        return process

    yield start
    for process in started:
        processes.signal_group(process, signal.SIGKILL)
        process.communicate()


def lines(path):
    return path.read_text().splitlines() if path.exists() else []


def hanging(home, process):
    """Wait for the step that hangs; return its processes."""
    processes.wait_until(lambda: any(lines(home / "pids")), what="the step", process=process)
    return [int(pid) for pid in lines(home / "pids")[0].split()]


@pytest.mark.parametrize("script", ["run-local", "test --quick"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_installation_that_is_interrupted_leaves_nothing_running_and_is_done_again(
    script, number, machine, tmp_path
):
    """Ctrl-C reaches the whole foreground group, TERM only the script."""
    process = machine(script, HANGS_AT="-m pip install")
    pids = hanging(tmp_path, process)
    if number == signal.SIGINT:
        processes.signal_group(process, number)
    else:
        process.send_signal(number)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert said.splitlines()[-1] == "interrupted; the next start begins the installation again"
    assert not any(map(processes.is_running, pids))
    before = len(lines(tmp_path / "installed"))
    machine(script).communicate(timeout=60)
    assert len(lines(tmp_path / "installed")) == before + 1


def test_two_first_starts_at_once_install_once(machine, tmp_path):
    first = machine("run-local", HANGS_AT="-m pip install")
    sleeping = hanging(tmp_path, first)[1]
    second = machine("run-local")
    assert second.stdout.readline() == f"another start is installing into {tmp_path / 'venv'}; waiting for it\n"
    os.kill(sleeping, signal.SIGTERM)  # the first installation gets on
    assert "installed in " in first.communicate(timeout=60)[0]
    second.communicate(timeout=60)
    assert (first.returncode, second.returncode) == (0, 0)
    assert len(lines(tmp_path / "installed")) == 1
    assert sum("deploy.local.main" in line for line in lines(tmp_path / "ran")) == 2


def test_a_changed_project_replaces_what_was_installed(machine, tmp_path):
    machine("run-local").communicate(timeout=60)
    (tmp_path / "venv" / "old").touch()
    (tmp_path / "venv" / ".installed").write_text("another version\n")
    machine("run-local").communicate(timeout=60)
    assert len(lines(tmp_path / "installed")) == 2
    assert not (tmp_path / "venv" / "old").exists()
    machine("run-local").communicate(timeout=60)
    assert len(lines(tmp_path / "installed")) == 2


@pytest.mark.parametrize(("script", "step"), [
    ("test --quick", "deploy/leftovers.py"), ("run-local", "deploy.local.arguments"),
])
def test_nothing_follows_a_step_that_answers_ctrl_c_with_an_exit_code(script, step, machine, tmp_path):
    process = machine(script, HANGS_AT=step)
    pids = hanging(tmp_path, process)
    processes.signal_group(process, signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert step in lines(tmp_path / "ran")[-1]
    assert "== summary" not in said
    processes.wait_until(lambda: not any(map(processes.is_running, pids)), what="the end of the step")
