"""What a tool that runs on an image can do, and what is left of it afterwards (S-18)."""

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from deploy.local import processes

from glance_api.imports.confinement.contract import Access
from glance_api.imports.contract import ImportFailed
from glance_api.imports.sandbox import Sandbox, ToolLimits, ToolOutcome

LIMITS = ToolLimits(cpu=10, memory=512 << 20, file_size=1 << 20, timeout=120.0)


def wanted() -> None:
    return None


def python(code: str, folder: Path, limits: ToolLimits = LIMITS, still_wanted=wanted) -> ToolOutcome:
    return Sandbox(limits).run([sys.executable, "-I", "-S", "-c", code], Access(), folder, still_wanted)


def test_a_tool_ends_with_its_code_and_words(tmp_path: Path):
    assert python("import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)", tmp_path) == ToolOutcome(
        3, "out\n", "err\n"
    )
    assert Sandbox(LIMITS).run(["/does/not/exist"], Access(), tmp_path, wanted).code == 127


def test_s18_the_environment_is_explicit_and_the_folder_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OS_PASSWORD", "secret")
    secret = os.open(tmp_path, os.O_RDONLY)
    os.set_inheritable(secret, True)
    code = "import os, json; print(json.dumps([dict(os.environ), os.getcwd(), os.listdir('/proc/self/fd')]))"
    try:
        environment, folder, files = json.loads(python(code, tmp_path).stdout)
    finally:
        os.close(secret)
    assert environment == {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8"}
    assert folder == str(tmp_path)
    # The three standard files, and the one that lists them.
    assert len(files) == 4


def test_s18_cpu_time_is_limited(tmp_path: Path):
    began = time.monotonic()
    with pytest.raises(ImportFailed, match="more CPU time"):
        python("while True: pass", tmp_path, replace(LIMITS, cpu=1))
    assert time.monotonic() - began < 60


def test_s18_address_space_is_limited(tmp_path: Path):
    outcome = python("x = bytearray(600 << 20)", tmp_path)
    assert outcome.code == 1
    assert "MemoryError" in outcome.stderr


def test_s18_files_are_limited_in_size_and_number(tmp_path: Path):
    command = ["/bin/dd", "if=/dev/zero", "of=big", "bs=65536", "count=1000"]
    with pytest.raises(ImportFailed, match="output is larger"):
        Sandbox(LIMITS).run(command, Access(), tmp_path, wanted)
    assert (tmp_path / "big").stat().st_size <= 1 << 20
    outcome = python("files = [open('/dev/null') for _ in range(100)]", tmp_path)
    assert "Too many open files" in outcome.stderr


MAY_UNSHARE = subprocess.run(["unshare", "--user", "--net", "true"], capture_output=True).returncode == 0


@pytest.mark.skipif(not MAY_UNSHARE, reason="this machine lets nobody make a network namespace (unshare --user --net)")
def test_s18_there_is_no_network(tmp_path: Path):
    code = "import socket; print(sorted(name for _, name in socket.if_nameindex()))"
    assert python(code, tmp_path).stdout == "['lo']\n"
    code = "import socket; socket.create_connection(('127.0.0.1', 9292), 1)"
    assert "Network is unreachable" in python(code, tmp_path).stderr


@pytest.mark.skipif(os.getuid() != 0, reason="only root has groups that it can give up")
def test_s18_there_are_no_supplementary_groups(tmp_path: Path):
    started = subprocess.run(
        [sys.executable, "-c", GROUPS, tmp_path], check=True, capture_output=True, text=True, extra_groups=[4, 24]
    )
    assert started.stdout == "[4, 24] []\n"


GROUPS = """
import os, sys
from pathlib import Path
from glance_api.imports.confinement.contract import Access
from glance_api.imports.sandbox import Sandbox, ToolLimits
sandbox = Sandbox(ToolLimits(cpu=10, memory=512 << 20, file_size=1 << 20, timeout=120.0))
command = [sys.executable, "-I", "-S", "-c", "import os; print(os.getgroups())"]
inside = sandbox.run(command, Access(), Path(sys.argv[1]), lambda: None).stdout
print(os.getgroups(), inside, end="")
"""


def test_what_a_tool_says_is_taken_piece_by_piece(tmp_path: Path):
    pieces: list[bytes] = []
    code = "import os; [os.write(1, bytes(100_000)) for _ in range(100)]"
    command = [sys.executable, "-I", "-S", "-c", code]
    outcome = Sandbox(LIMITS).run(command, Access(), tmp_path, wanted, pieces.append)
    assert outcome == ToolOutcome(0, "", "")
    assert b"".join(pieces) == bytes(10_000_000)
    assert max(map(len, pieces)) <= 1 << 20


def test_s40_a_tool_whose_output_is_refused_ends(tmp_path: Path):
    class Full(Exception):
        pass

    def refuse(_piece: bytes) -> None:
        # All its children are there, so that they can be seen to end.
        while not has_daemon(tmp_path):
            time.sleep(0.01)
        raise Full

    command = [sys.executable, "-I", "-S", "-c", "print('x', flush=True)\n" + DAEMON + "time.sleep(600)"]
    with pytest.raises(Full):
        Sandbox(LIMITS).run(command, Access(), tmp_path, wanted, refuse)
    assert_gone(tmp_path)


@pytest.mark.skipif(not MAY_UNSHARE, reason="this machine lets nobody make a user namespace (unshare --user --net)")
def test_s18_there_are_no_privileges(tmp_path: Path):
    lines = dict(line.split(":\t") for line in python("print(open('/proc/self/status').read())", tmp_path)
                 .stdout.splitlines() if ":\t" in line)
    assert int(lines["CapEff"], 16) == int(lines["CapPrm"], 16) == 0
    assert lines["NoNewPrivs"] == "1"


DAEMON = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        open('daemon.pid', 'w').write(os.readlink('/proc/self'))
        time.sleep(600)
    os._exit(0)
while not os.path.exists('daemon.pid') or not open('daemon.pid').read(): time.sleep(0.01)
"""


def assert_gone(folder: Path) -> None:
    """The daemon would sleep for ten minutes."""
    pid = int((folder / "daemon.pid").read_text())
    processes.wait_until(lambda: not processes.is_running(pid), what="the end of the daemon", seconds=60)


def has_daemon(folder: Path) -> bool:
    """Return whether the daemon runs and has said its number."""
    file = folder / "daemon.pid"
    return file.exists() and bool(file.read_text())


def test_s18_what_a_tool_leaves_behind_is_ended(tmp_path: Path):
    assert python(DAEMON, tmp_path).code == 0
    assert_gone(tmp_path)


def test_s18_a_tool_that_takes_too_long_is_ended_with_its_children(tmp_path: Path):
    def when_it_has_children() -> None:
        processes.wait_until(lambda: has_daemon(tmp_path), what="the tool's daemon", seconds=60)

    with pytest.raises(ImportFailed, match="longer than 1 s"):
        python(DAEMON + "time.sleep(600)", tmp_path, replace(LIMITS, timeout=1.0), when_it_has_children)
    assert_gone(tmp_path)


def test_a_tool_ends_when_nobody_wants_its_result(tmp_path: Path):
    class Cancelled(Exception):
        pass

    def cancelled() -> None:
        if has_daemon(tmp_path):
            raise Cancelled

    with pytest.raises(Cancelled):
        python(DAEMON + "time.sleep(600)", tmp_path, still_wanted=cancelled)
    assert_gone(tmp_path)


WORKER = """
import sys
from pathlib import Path
from glance_api.imports.confinement.contract import Access
from glance_api.imports.sandbox import Sandbox, ToolLimits
sandbox = Sandbox(ToolLimits(cpu=10, memory=512 << 20, file_size=1 << 20, timeout=120.0))
sandbox.run([sys.executable, "-I", "-S", "-c", sys.argv[2]], Access(), Path(sys.argv[1]), lambda: None)
"""


def test_a_tool_ends_with_the_process_that_started_it(tmp_path: Path):
    """kill -9 of a worker leaves no tool that goes on eating its CPU."""
    worker = subprocess.Popen([sys.executable, "-c", WORKER, tmp_path, DAEMON + "time.sleep(600)"])
    processes.wait_until(lambda: has_daemon(tmp_path), what="the tool's daemon", process=worker, seconds=60)
    worker.kill()
    worker.wait()
    assert_gone(tmp_path)
