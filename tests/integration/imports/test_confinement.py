"""What a tool cannot do under each kind of confinement, tried by a hostile one (S-18)."""

from __future__ import annotations

import json
import logging
import os
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from deploy.local import processes

import glance_api
import glance_common
from glance_api.imports import tools
from glance_api.imports.confinement import landlock, seccomp
from glance_api.imports.confinement.contract import Access, Confined, Unconfined
from glance_api.imports.confinement.landlock import Landlock
from glance_api.imports.sandbox import Sandbox, ToolLimits, ToolOutcome
from glance_common.config.loading import ConfigError

LIMITS = ToolLimits(cpu=10, memory=512 << 20, file_size=1 << 20, timeout=120.0)

HAS_LANDLOCK = pytest.mark.skipif(
    not landlock.version(), reason="the kernel of this machine has no Landlock (from Linux 5.13, lsm=landlock)"
)
MOUNT = ["unshare", "--user", "--map-root-user", "--mount", "true"]
MAY_MOUNT = subprocess.run(MOUNT, capture_output=True).returncode
HAS_BUBBLEWRAP = [
    pytest.mark.skipif(shutil.which("bwrap") is None, reason="needs bwrap: apt-get install bubblewrap"),
    pytest.mark.skipif(MAY_MOUNT != 0, reason="this machine allows no mount namespace (unshare --user --mount)"),
]

TRY = """
import json, os, socket, sys
seen = {}
for line in json.loads(sys.argv[1]):
    try:
        seen[line] = repr(eval(line))
    except OSError as error:
        seen[line] = type(error).__name__
print(json.dumps(seen))
"""


class Tool:
    """A hostile tool and the files around it: its input, its work folder, and what it is after."""

    def __init__(self, folder: Path, kind: str) -> None:
        self.secret = folder / "registry-secret"
        self.secret.write_text("secret")
        self.neighbour = folder / "staged-by-another"
        self.neighbour.write_text("data of another")
        self.input = folder / "input"
        self.input.write_text("input")
        self.work = folder / "work"
        self.work.mkdir()
        self._sandbox = Sandbox(LIMITS, tools.choose(kind))

    def run(
        self, code: str, *arguments: str, write: bool = True, watch: Callable[[], None] = lambda: None
    ) -> ToolOutcome:
        """Run Python code as the tool."""
        access = Access(read=(self.input,), write=self.work if write else None)
        command = [sys.executable, "-I", "-S", "-c", code, *arguments]
        return self._sandbox.run(command, access, self.work, watch)

    def tries(self, *lines: str, write: bool = True) -> list[Any]:
        """Evaluate each line in the tool; return the results as ``repr`` or the names of the errors."""
        outcome = self.run(TRY, json.dumps(lines), write=write)
        assert outcome.code == 0, outcome.stderr
        seen = json.loads(outcome.stdout)
        return [seen[line] for line in lines]


@pytest.fixture(params=[
    pytest.param("landlock", marks=HAS_LANDLOCK), pytest.param("bubblewrap", marks=HAS_BUBBLEWRAP),
])
def tool(tmp_path: Path, request: pytest.FixtureRequest) -> Tool:
    return Tool(tmp_path, request.param)


@pytest.fixture
def landlocked(tmp_path: Path) -> Tool:
    return Tool(tmp_path, "landlock")


def denied(result: str) -> bool:
    return result in ("PermissionError", "FileNotFoundError", "OSError")


def test_s18_a_tool_reads_its_input_and_writes_into_its_folder(tool: Tool):
    target = tool.work / "output"
    assert tool.tries(
        f"open('{tool.input}').read()", f"open('{target}', 'w').write('out')", f"open('{target}').read()",
        f"os.truncate(os.open('{target}', os.O_RDWR), 1)", f"os.listdir('{tool.work}')",
        f"os.rename('{target}', '{target}.2')", f"os.unlink('{target}.2')", "open('/dev/null', 'w').write('x')",
        "len(open('/dev/urandom', 'rb').read(3))",
    ) == ["'input'", "3", "'out'", "None", "['output']", "None", "None", "1", "3"]


def test_s18_a_tool_cannot_read_what_the_service_can(tool: Tool):
    seen = tool.tries(
        f"open('{tool.secret}').read()", f"open('{tool.neighbour}').read()",
        "open('/etc/passwd').read()", f"open('/proc/{os.getpid()}/environ').read()",
        f"open('/proc/{os.getpid()}/root{tool.secret}').read()", f"os.link('{tool.secret}', '{tool.work}/link')",
        f"open('{tool.work}/../registry-secret').read()",
        f"os.symlink('{tool.secret}', '{tool.work}/s') or open('{tool.work}/s').read()",
    )
    assert [result for result in seen if not denied(result)] == [], seen


def test_s18_a_tool_cannot_write_where_the_service_may(tool: Tool):
    outside = tool.secret.parent
    before = {path: (path.read_bytes(), path.stat().st_mode) for path in outside.iterdir() if path.is_file()}
    attempts = [
        f"open('{outside}/new', 'w')", f"open('{tool.neighbour}', 'a').write('x')", f"os.unlink('{tool.neighbour}')",
        f"os.truncate('{tool.neighbour}', 0)", f"os.open('{tool.neighbour}', os.O_RDONLY | os.O_TRUNC)",
        f"os.rename('{tool.neighbour}', '{tool.work}/mine')", f"os.mkdir('{outside}/folder')",
        f"os.chmod('{tool.neighbour}', 0o777)", f"os.utime('{tool.neighbour}', (1, 1))",
        f"os.chown('{tool.neighbour}', 1, 1)", f"os.setxattr('{tool.neighbour}', 'user.x', b'y')",
        f"open('{tool.input}', 'a').write('x')", f"os.unlink('{tool.input}')", "open('/tmp/glance-confined', 'w')",
    ]
    seen = tool.tries(*attempts)
    assert [line for line, result in zip(attempts, seen, strict=True) if not denied(result)] == []
    assert {path: (path.read_bytes(), path.stat().st_mode) for path in before} == before
    assert {path for path in outside.iterdir() if path.is_file()} == set(before)


def test_s18_a_tool_without_a_work_folder_writes_nowhere(tool: Tool):
    (result,) = tool.tries(f"open('{tool.work}/output', 'w')", write=False)
    assert denied(result)
    assert list(tool.work.iterdir()) == []


def test_s18_a_tool_reaches_no_service_of_this_host(tool: Tool):
    """Neither a database behind a socket with a path, nor what listens on loopback."""
    path = tool.secret.parent / "service.socket"
    kinds = [(socket.AF_UNIX, socket.SOCK_STREAM), (socket.AF_INET, socket.SOCK_STREAM),
             (socket.AF_INET, socket.SOCK_DGRAM)]
    with ExitStack() as stack:
        services = [stack.enter_context(socket.socket(*kind)) for kind in kinds]
        for service in services:
            service.bind(str(path) if service.family == socket.AF_UNIX else ("127.0.0.1", 0))
            service.setblocking(False)
        for stream in services[:2]:
            stream.listen()
        tcp, udp = (service.getsockname()[1] for service in services[1:])
        seen = tool.tries(
            f"socket.socket(socket.AF_UNIX).connect('{path}')", f"socket.create_connection(('127.0.0.1', {tcp}), 1)",
            f"socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', {udp}))",
        )
        assert all(result in ("PermissionError", "FileNotFoundError", "ConnectionRefusedError") for result in seen[:2])
        for stream in services[:2]:
            with pytest.raises(BlockingIOError):
                stream.accept()
        with pytest.raises(BlockingIOError):
            services[2].recv(1)


def test_s18_a_tool_cannot_end_the_service(tool: Tool):
    with subprocess.Popen(["sleep", "600"]) as victim:
        try:
            (seen,) = tool.tries(f"os.kill({victim.pid}, 9)")
            # Under bubblewrap there is no such process to be seen.
            assert seen in ("PermissionError", "ProcessLookupError")
            assert victim.poll() is None
        finally:
            victim.kill()


@HAS_LANDLOCK
@pytest.mark.parametrize("abi", range(1, 7))
def test_s18_each_version_of_landlock_is_enough(tmp_path: Path, abi: int, monkeypatch: pytest.MonkeyPatch):
    """What an older kernel does not govern by Landlock, the filter of system calls denies."""
    if abi > landlock.version():
        pytest.skip(f"the kernel of this machine speaks Landlock only up to version {landlock.version()}")
    monkeypatch.setattr(tools, "choose", lambda _: Landlock(abi))
    test_s18_a_tool_reads_its_input_and_writes_into_its_folder(Tool(tmp_path, "landlock"))
    for test in (test_s18_a_tool_cannot_read_what_the_service_can, test_s18_a_tool_cannot_write_where_the_service_may):
        folder = tmp_path / test.__name__
        folder.mkdir()
        test(Tool(folder, "landlock"))


@HAS_LANDLOCK
@pytest.mark.skipif(platform.machine() not in ("x86_64", "aarch64"), reason="the filter has no table for this machine")
def test_s18_what_landlock_does_not_govern_is_denied_by_the_filter(landlocked: Tool):
    """Without the filter these calls would work on files that the tool may open."""
    mine = landlocked.work / "mine"
    seen = landlocked.tries(
        f"open('{mine}', 'w').close()", f"os.chmod('{mine}', 0o777)", f"os.truncate('{mine}', 0)",
        f"os.utime('{mine}', (1, 1))", "socket.socket(socket.AF_UNIX)", "os.kill(os.getpid(), 9)",
    )
    assert seen == ["None", *["PermissionError"] * 5]


def test_the_filter_has_a_jump_for_each_call():
    for machine in ("x86_64", "aarch64"):
        steps = seccomp.program(machine)
        assert len(steps) % 8 == 0
        assert len(steps) // 8 < 256
    assert seccomp.program("riscv64") == b""


@HAS_LANDLOCK
def test_s18_a_tool_that_cannot_be_confined_does_not_run(tmp_path: Path):
    class Broken(Landlock):
        """Asks for a right that no kernel has."""

        def confine(self, command: Any, access: Access) -> Confined:
            confined = super().confine(command, access)
            confined.settings["landlock"]["rules"].append((str(tmp_path), 1 << 40))
            return confined

    command = [sys.executable, "-c", "open('ran', 'w')"]
    outcome = Sandbox(LIMITS, Broken(1)).run(command, Access(write=tmp_path), tmp_path, lambda: None)
    assert outcome.code == 127
    assert "cannot be confined" in outcome.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def fresh() -> Iterator[None]:
    """Nothing was tried on this host so far, and nothing of the test is remembered."""
    tools.choose.cache_clear()
    yield
    tools.choose.cache_clear()


@pytest.mark.usefixtures("fresh")
@HAS_LANDLOCK
def test_the_strongest_confinement_is_taken_and_told_once(caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.INFO):
        assert tools.choose("auto").name == tools.choose("auto").name == "landlock"
    (line,) = [record.getMessage() for record in caplog.records if record.name == tools.__name__]
    assert line.startswith(f"image tools run under landlock ABI {landlock.version()}: read only ")


@pytest.mark.usefixtures("fresh")
def test_without_landlock_bubblewrap_is_taken(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch):
    if any(mark.args[0] for mark in HAS_BUBBLEWRAP):
        pytest.skip("needs bwrap, and leave to make namespaces")
    monkeypatch.setattr(landlock, "version", lambda: 0)
    with caplog.at_level(logging.INFO):
        assert tools.choose("auto").name == "bubblewrap"
    assert "image tools run under /" in caplog.text
    with pytest.raises(ConfigError, match="confinement = landlock: does not work on this host: the kernel has no Land"):
        tools.choose("landlock")


@pytest.mark.usefixtures("fresh")
def test_a_host_without_any_confinement_is_told_so(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setattr(landlock, "version", lambda: 0)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert tools.choose("auto").name == "none"
    assert "image tools are not confined" in caplog.text
    assert "the kernel has no Landlock" in caplog.text
    assert "bubblewrap is not installed" in caplog.text
    with pytest.raises(ConfigError, match="confinement = bubblewrap: does not work on this host: bubblewrap is not"):
        tools.choose("bubblewrap")


@pytest.mark.usefixtures("fresh")
def test_a_confinement_that_does_not_hold_is_not_taken(monkeypatch: pytest.MonkeyPatch):
    class Open(Unconfined):
        """As if the kernel had said yes and done nothing."""

        def __init__(self, *_: Any) -> None:
            pass

    monkeypatch.setattr(landlock, "version", lambda: 7)
    monkeypatch.setattr(tools, "Landlock", type("Landlock", (Open,), {"name": "landlock"}))
    with pytest.raises(ConfigError, match="was tried and does not hold"):
        tools.choose("landlock")


def test_s18_a_tool_that_is_not_wanted_any_more_ends(tool: Tool):
    class Cancelled(Exception):
        pass

    def cancelled() -> None:
        if (tool.work / "runs").exists():
            raise Cancelled

    mark = f"mark-{uuid4()}"
    with pytest.raises(Cancelled):
        tool.run("open('runs', 'w').close(); import time; time.sleep(600)", mark, watch=cancelled)
    processes.wait_until(lambda: not running(mark), what="the end of the tool", seconds=60)


def running(mark: str) -> list[str]:
    """Return the processes that have this word in their command line."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            found += [path.parent.name] if mark in path.read_text() else []
    return found


ANOTHER = 65534
"""A user without any privilege, as the service has."""

AS_ANOTHER = """
import json, sys
from pathlib import Path
from glance_api.imports.confinement import landlock
from glance_api.imports.confinement.bubblewrap import Bubblewrap
from glance_api.imports.confinement.contract import Access
from glance_api.imports.sandbox import Sandbox, ToolLimits
kind, folder, code = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
confinement = landlock.Landlock(landlock.version()) if kind == "landlock" else Bubblewrap(Path(sys.argv[4]))
sandbox = Sandbox(ToolLimits(cpu=10, memory=512 << 20, file_size=1 << 20, timeout=120.0), confinement)
command = [sys.executable, "-I", "-S", "-c", code, str(folder)]
outcome = sandbox.run(command, Access(write=folder / "work"), folder / "work", lambda: None)
print(outcome.code, outcome.stdout, outcome.stderr)
"""

STEAL = """
import os, sys
folder = sys.argv[1]
open(folder + "/work/output", "w").write("x")
for name in (folder + "/secret", "/etc/passwd"):
    try:
        open(name)
    except OSError as error:
        print(type(error).__name__, end=" ")
print(os.getuid())
"""


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user, and tests as one otherwise")
@pytest.mark.parametrize("kind", [
    pytest.param("landlock", marks=HAS_LANDLOCK), pytest.param("bubblewrap", marks=HAS_BUBBLEWRAP),
])
def test_s18_the_confinement_needs_no_root(kind: str):
    other: dict[str, Any] = {"user": ANOTHER, "group": ANOTHER, "extra_groups": []}
    if kind == "bubblewrap" and subprocess.run(MOUNT, capture_output=True, **other).returncode:
        pytest.skip("this machine allows mount namespaces to root only")
    python, paths = python_of_another(), os.pathsep.join(SOURCES)
    folder = Path(tempfile.mkdtemp(prefix="glance-other-"))
    try:
        (folder / "work").mkdir()
        (folder / "secret").write_text("secret")
        for path in (folder, folder / "work", folder / "secret"):
            os.chown(path, ANOTHER, ANOTHER)
        started = subprocess.run(
            [python, "-c", AS_ANOTHER, kind, folder, STEAL, shutil.which("bwrap") or ""], env={"PYTHONPATH": paths},
            capture_output=True, text=True, **other,
        )
        error = {"landlock": "PermissionError", "bubblewrap": "FileNotFoundError"}[kind]
        assert started.stdout.split() == ["0", error, error, str(ANOTHER)], started
        assert (folder / "work" / "output").stat().st_uid == ANOTHER
    finally:
        shutil.rmtree(folder)


SOURCES = [str(Path(package.__file__ or "").parents[1]) for package in (glance_api, glance_common)]


def python_of_another() -> str:
    """Return a Python that another user can run with our code; skip the test without one."""
    for python in (sys.executable, "/usr/bin/python3"):
        with suppress(OSError):
            tried = subprocess.run(
                [python, "-c", "import glance_api.imports.sandbox"], env={"PYTHONPATH": os.pathsep.join(SOURCES)},
                capture_output=True, user=ANOTHER, group=ANOTHER, extra_groups=[],
            )
            if tried.returncode == 0:
                return python
    pytest.skip("this machine has no Python that another user may run with the sources of this project")
