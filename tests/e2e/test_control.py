"""glance-control with the real daemons: by pid files, and through systemctl where systemd runs the units (TOO-04)."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from deploy.local import processes
from tests.support.daemons import PROGRAMS, Daemon, Services, WebDaemon
from tests.support.waiting import wait_for

from glance_common.control import launching, main, pid_file, systemd

pytestmark = pytest.mark.timeout(600)


@dataclass
class Host:
    """A host whose daemons only glance-control starts."""

    services: Services
    run_dir: Path

    def pid_file(self, daemon: Daemon) -> Path:
        """Return the pid file of a daemon."""
        return self.run_dir / f"{daemon.program}.pid"

    def argv(self, daemon: Daemon, command: str, *options: str) -> list[str]:
        """Return the command line for one daemon."""
        config = [str(daemon.folder / "etc")] if command in ("start", "restart") else []
        own = ["--pid-file", str(self.pid_file(daemon))]
        return [str(PROGRAMS / "glance-control"), *own, *options, daemon.program, command, *config]

    def run(self, daemon: Daemon, command: str, *options: str) -> subprocess.CompletedProcess[str]:
        """Do one command."""
        return subprocess.run(
            self.argv(daemon, command, *options), env=daemon.environment(), capture_output=True, text=True,
            stdin=subprocess.DEVNULL, timeout=300, check=False,
        )

    def pid(self, daemon: Daemon) -> int:
        """Return the id in the pid file."""
        return int(self.pid_file(daemon).read_text())

    def started(self, daemon: Daemon, *options: str) -> int:
        """Start a daemon and return its process id once it answers."""
        done = self.run(daemon, "start", *options)
        assert done.returncode == 0, done.stderr
        wait_for(lambda: self.answers(daemon), f"an answer of {daemon.program}", 180)
        return self.pid(daemon)

    def answers(self, daemon: Daemon) -> bool:
        """Tell whether a daemon serves, with all its workers; the scrubber does when it says so."""
        if not isinstance(daemon, WebDaemon):
            return "started; stores" in daemon.said()
        return "Ready: 2 workers" in daemon.said() and daemon.status() in (200, 300)


@pytest.fixture
def host(database: str, tmp_path: Path) -> Iterator[Host]:
    """A host with nothing running; what a test leaves running is killed."""
    made = Host(Services(tmp_path / "services", database), tmp_path / "run")
    made.run_dir.mkdir()
    yield made
    for path in made.run_dir.glob("*.pid"):
        text = path.read_text().strip()
        if text and pid_file.PidFile(path, path.stem).running():
            os.killpg(int(text), signal.SIGKILL)


def test_too04_the_three_daemons_start_tell_their_state_and_stop(host: Host):
    for daemon in (host.services.registry, host.services.api, host.services.scrubber):
        told = host.run(daemon, "status")
        assert (told.returncode, told.stdout) == (3, f"{daemon.program} is stopped\n")
        pid = host.started(daemon)
        told = host.run(daemon, "status")
        assert (told.returncode, told.stdout) == (0, f"{daemon.program} (pid {pid}) is running...\n")
        assert os.getsid(pid) == pid  # a session of its own
        again = host.run(daemon, "start")
        assert again.returncode == 1
        assert again.stderr == f"ERROR: {daemon.program} (pid {pid}) is running already.\n"
        assert host.pid(daemon) == pid
    for daemon in (host.services.scrubber, host.services.api, host.services.registry):
        pid = host.pid(daemon)
        done = host.run(daemon, "shutdown")
        assert (done.returncode, done.stderr) == (0, "")
        assert not processes.is_running(pid)
        assert not host.pid_file(daemon).exists()
        assert host.run(daemon, "stop").returncode == 0  # it is stopped already


def test_too04_reload_brings_new_workers_and_restart_a_new_master(host: Host):
    registry = host.services.registry
    pid = host.started(registry)
    before = set(processes.children_of(pid))
    assert host.run(registry, "reload").returncode == 0
    wait_for(lambda: registry.said().count("Ready: 2 workers") == 2, "the new workers")
    assert not before >= set(processes.children_of(pid))
    assert host.run(registry, "restart").returncode == 0
    wait_for(lambda: host.answers(registry), "the new master")
    assert host.pid(registry) != pid
    assert not processes.is_running(pid)
    # A stop does not wait for long; a shutdown does.
    stopped = host.run(registry, "stop")
    assert stopped.returncode == 0 or "it finishes what runs" in stopped.stderr
    assert host.run(registry, "shutdown").returncode == 0
    refused = host.run(registry, "force-reload")
    assert (refused.returncode, refused.stderr) == (1, "ERROR: glance-registry: it is stopped.\n")


def test_too04_the_scrubber_cannot_reload(host: Host):
    done = host.run(host.services.scrubber, "reload")
    assert done.returncode == 1
    assert "only glance-registry and glance-api can" in done.stderr


def test_too04_what_a_foreign_process_has_by_now_is_never_signalled(host: Host):
    registry = host.services.registry
    bystander = subprocess.Popen(["sleep", "600"])
    try:
        host.pid_file(registry).write_text(f"{bystander.pid}\n")
        assert host.run(registry, "status").stdout == "glance-registry is stopped\n"
        assert host.run(registry, "stop").returncode == 0
        host.pid_file(registry).write_text(f"{bystander.pid}\n")
        assert host.run(registry, "reload").returncode == 1
        assert host.started(registry) != bystander.pid  # the stale file did not keep it from starting
        assert host.run(registry, "shutdown").returncode == 0
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_too04_a_daemon_of_another_origin_is_left_alone(host: Host):
    registry = host.services.registry
    host.services.start(registry)
    try:
        host.pid_file(registry).write_text(f"{registry.pid}\n")
        for command in ("status", "stop", "start"):
            done = host.run(registry, command)
            assert done.returncode == 1, command
            assert "was not started with this file" in done.stderr
        assert registry.running
    finally:
        host.pid_file(registry).unlink()
        registry.stop()


def test_too04_an_early_end_is_awaited_and_its_code_reported(host: Host):
    registry = host.services.registry
    (registry.folder / "etc" / "zz-bad.conf").write_text("[DEFAULT]\nbind_port = none\n")
    done = host.run(registry, "start", "--await-child", "60")
    assert (done.returncode, done.stderr) == (1, "ERROR: glance-registry ended early with exit code 1.\n")
    assert not host.pid_file(registry).exists()
    (registry.folder / "etc" / "zz-bad.conf").unlink()
    host.started(registry, "--await-child", "1")
    assert host.run(registry, "shutdown").returncode == 0


def test_too04_a_daemon_that_dies_is_started_again_until_it_is_stopped(host: Host):
    registry = host.services.registry
    watching = subprocess.Popen(
        host.argv(registry, "start", "--respawn"), env=registry.environment(), stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )
    try:
        wait_for(lambda: host.answers(registry), "the daemon")
        begun = time.monotonic()
        first = host.pid(registry)
        wait_for(lambda: time.monotonic() - begun > launching.BOUNCE_SECONDS + 1, "a daemon older than a second")
        os.killpg(first, signal.SIGKILL)
        wait_for(lambda: host.pid(registry) != first and registry.said().count("Ready: 2") == 2, "the daemon again")
        assert host.run(registry, "shutdown").returncode == 0
        assert watching.wait(120) == 0
        assert watching.stderr is not None
        assert watching.stderr.read() == "ERROR: glance-registry ended with exit code 137 and is started again.\n"
    finally:
        watching.kill()
        watching.communicate()


def test_too04_a_daemon_that_ends_within_a_second_is_not_started_again(host: Host, tmp_path: Path):
    short = tmp_path / "bin"
    short.mkdir()
    # The programs beside the interpreter come first, so it runs under another one.
    (short / "python").symlink_to(sys.executable)
    (short / "glance-registry").write_text("#!/bin/sh\nexit 7\n")
    (short / "glance-registry").chmod(0o755)
    program = (
        f"import sys; sys.executable = {str(short / 'python')!r}; "
        # A busy machine may take longer than a second for it.
        "from glance_common.control import launching; launching.BOUNCE_SECONDS = 60.0; "
        "from glance_common.control.main import main; sys.exit(main(sys.argv[1:]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "--pid-file", host.run_dir / "r.pid", "--respawn", "registry", "start"],
        capture_output=True, text=True, timeout=120, check=False,
    )
    assert done.returncode == 1
    text = "ERROR: glance-registry ended with exit code 7 within a second of its start and is not started again.\n"
    assert done.stderr == text


def test_too04_output_goes_to_syslog(host: Host, tmp_path: Path):
    registry = host.services.registry
    tools, seen = tmp_path / "bin", tmp_path / "syslog"
    tools.mkdir()
    (tools / "logger").write_text(f'#!/bin/sh\necho "tag: $2" >{seen}\nexec cat >>{seen}\n')
    (tools / "logger").chmod(0o755)
    (registry.folder / "etc" / "zz-bad.conf").write_text("[DEFAULT]\nbind_port = none\n")
    environment = registry.environment()
    subprocess.run(
        host.argv(registry, "start", "--capture-output"), check=True, stdin=subprocess.DEVNULL, timeout=120,
        env={**environment, "PATH": f"{tools}:{environment['PATH']}"},
    )
    wait_for(lambda: seen.exists() and "bind_port = none" in seen.read_text(), "the words of the daemon")
    assert seen.read_text().startswith("tag: glance-registry\n")


SYSTEMCTL = """#!/bin/sh
echo "$*" >>{log}
case "$*" in
    *LoadState*scrubber*) echo not-found;;
    *LoadState*) echo loaded;;
    *MainPID*registry*) echo 0;;
    *MainPID*) echo 4711;;
esac
"""


@pytest.fixture
def systemctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """A host that was booted with systemd, which knows two units; returns what systemctl was told to do."""
    log, tools = tmp_path / "systemctl.log", tmp_path / "tools"
    tools.mkdir()
    (tools / "systemctl").write_text(SYSTEMCTL.format(log=log))
    (tools / "systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    monkeypatch.setattr(systemd, "BOOTED", tmp_path)
    monkeypatch.setattr(pid_file, "DIRECTORY", tmp_path)

    def told() -> list[str]:
        return [line for line in log.read_text().splitlines() if not line.startswith("show")] if log.exists() else []

    return told


@pytest.mark.parametrize(
    ("command", "verb"), [
        ("start", "start"), ("stop", "stop"), ("shutdown", "stop"), ("restart", "restart"), ("reload", "reload"),
        ("force-reload", "reload"),
    ],
)
def test_too04_systemd_is_asked_where_it_runs_the_unit(systemctl: Callable[[], list[str]], command: str, verb: str):
    assert main.main(["api", command]) == 0
    assert systemctl() == [f"{verb} glance-api.service"]


def test_too04_units_and_pid_files_side_by_side(systemctl: Callable[[], list[str]], capsys: pytest.CaptureFixture[str]):
    assert main.main(["all", "status"]) == 3
    assert capsys.readouterr().out == (
        "glance-registry is stopped\nglance-api (pid 4711) is running...\nglance-scrubber is stopped\n"
    )
    assert main.main(["all", "stop"]) == 0
    assert systemctl() == ["stop glance-api.service", "stop glance-registry.service"]


def test_too04_systemd_is_not_asked_when_the_options_say_so(
    systemctl: Callable[[], list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert main.main(["--no-systemd", "api", "status"]) == 3
    assert main.main(["--pid-file", str(tmp_path / "own.pid"), "api", "status"]) == 3
    assert systemctl() == []
    capsys.readouterr()
    assert main.main(["--respawn", "api", "start"]) == 1
    assert capsys.readouterr().err == (
        "ERROR: systemd runs glance-api.service and has options of its own; see --no-systemd.\n"
    )


@pytest.mark.parametrize(
    ("arguments", "code", "text"), [
        (["--pid-file", "/x", "all", "status"], 1, "belong to one server"),
        (["--await-child", "1", "--respawn", "api", "start"], 2, "not allowed with"),
        (["--await-child", "nan", "api", "start"], 2, "must be a number of seconds"),
        (["glare", "start"], 2, "invalid choice"),
        (["api", "begin"], 2, "invalid choice"),
        (["api", "start", "/there/is/no/such.conf"], 1, "there is no configuration"),
    ],
)
def test_too04_wrong_words_are_refused(arguments: list[str], code: int, text: str):
    done = subprocess.run([PROGRAMS / "glance-control", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert text in done.stderr
    assert "Traceback" not in done.stderr


def test_too04_limits_are_raised():
    program = (
        "import resource; from glance_common.control import launching as l; l._raise_limits(); "
        "print(*resource.getrlimit(resource.RLIMIT_NOFILE))"
    )
    command = ["prlimit", "--nofile=4096:16384", sys.executable, "-c", program]
    soft, hard = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    # Only a user with the right to do so gets beyond the hard limit.
    assert (soft, hard) in (("32768", "32768"), ("16384", "16384"))
