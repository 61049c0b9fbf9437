"""Failpoints fire once, and only where a directory arms them."""

import os
import signal
import subprocess
import sys

from deploy.local import processes

SCRIPT = """
from glance_common.failpoints import failpoint
failpoint('here')
print('first')
failpoint('here')
print('second')
"""


def run(environment):
    return subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, env=environment, timeout=60)


def test_nothing_happens_without_a_directory():
    assert run({}).stdout == "first\nsecond\n"


def test_kill_happens_once(tmp_path):
    (tmp_path / "here").write_text("kill")
    environment = {"GLANCE_FAILPOINTS_DIR": str(tmp_path)}
    assert run(environment).returncode == -signal.SIGKILL
    assert run(environment).stdout == "first\nsecond\n"


def test_raise_and_unknown_actions(tmp_path):
    environment = {"GLANCE_FAILPOINTS_DIR": str(tmp_path)}
    (tmp_path / "here").write_text("raise")
    assert "FailpointError: here" in run(environment).stderr
    (tmp_path / "here").write_text("dance")
    assert "unknown action 'dance'" in run(environment).stderr


def test_wait_lasts_until_the_trace_is_removed(tmp_path):
    (tmp_path / "here").write_text("wait")
    command, environment = [sys.executable, "-c", SCRIPT], {**os.environ, "GLANCE_FAILPOINTS_DIR": str(tmp_path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        trace = tmp_path / f"here.{process.pid}.fired"
        processes.wait_until(trace.exists, what="the failpoint", process=process)
        try:
            process.wait(0.3)
        except subprocess.TimeoutExpired:
            trace.unlink()
        assert process.communicate(timeout=60)[0] == "first\nsecond\n"
    assert not trace.exists(), "it ended before it was told to"
