"""Failpoints fire once, and only where a directory arms them."""

import signal
import subprocess
import sys

SCRIPT = """
from glance_common.failpoints import failpoint
failpoint('here')
print('first')
failpoint('here')
print('second')
"""


def run(environment):
    return subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, env=environment, timeout=30)


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
