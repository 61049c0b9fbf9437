"""What deploy/test says about processes that its tests forgot."""

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from deploy.local import processes

LEFTOVERS = Path(__file__).resolve().parents[3] / "deploy" / "leftovers.py"


def run(*command):
    return subprocess.run([sys.executable, LEFTOVERS, *command], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("code", [0, 3])
def test_the_exit_code_of_the_command(code):
    done = run("sh", "-c", f"echo said; exit {code}")
    assert (done.returncode, done.stdout, done.stderr) == (code, "said\n", "")


def test_a_command_that_is_killed():
    assert run("sh", "-c", "kill -KILL $$").returncode == 128 + signal.SIGKILL


@pytest.mark.slow
def test_a_process_that_hid_in_a_session_of_its_own_is_named_and_killed():
    done = run("sh", "-c", "setsid sleep 61 >/dev/null 2>&1 & echo $!")
    assert done.returncode == 1
    found = re.fullmatch(r"left running, killed: (\d+) sleep 61\n", done.stderr)
    assert found is not None, done.stderr
    assert not processes.is_running(int(found[1]))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_nothing_outlives_the_shell_that_started_it(number, tmp_path):
    script = f"{sys.executable} {LEFTOVERS} sh -c 'echo $$ >{tmp_path}/pid; exec sleep 62'; true"
    shell = subprocess.Popen(["sh", "-c", script], start_new_session=True)
    try:
        pid = tmp_path / "pid"
        processes.wait_until(lambda: pid.exists() and pid.read_text(), what="the command", process=shell)
        shell.send_signal(number)
        shell.wait(60)
        processes.wait_until(lambda: not processes.members_of(shell.pid), what="the end of the group")
        assert not processes.is_running(int(pid.read_text()))
    finally:
        processes.signal_group(shell, signal.SIGKILL)
