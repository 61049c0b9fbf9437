"""``deploy/run-local`` as its user sees it: start, use, stop, start again, and every way in which it may not start."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
import requests
from deploy.local import accounts, processes

CHECKOUT = Path(__file__).resolve().parents[2]
FREE_PORTS = ["--api-port", "0", "--registry-port", "0"]


@pytest.fixture
def data_dir():
    """A folder that root's database can reach too; pytest's own are closed to everybody else."""
    folder = Path(tempfile.mkdtemp(prefix="glance-run-local-"))
    folder.chmod(0o755)
    yield folder / "data"
    shutil.rmtree(folder)


class RunLocal:
    """The program of an environment that has the project installed already."""

    def __init__(self, data_dir, log):
        self.log = log
        self._arguments = [*FREE_PORTS, "--data-dir", str(data_dir)]
        self._process = None

    def start(self, *arguments):
        with self.log.open("wb") as output:
            self._process = processes.spawn(
                [sys.executable, "-m", "deploy.local.main", *self._arguments, *arguments],
                output=output,
                env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
                cwd=CHECKOUT,
            )
        return self

    def wait_for(self, words):
        processes.wait_until(
            lambda: words in self.said(), what="run-local", process=self._process, log=self.log, seconds=180
        )

    def signal(self, number):
        self._process.send_signal(number)

    def end(self, seconds=120):
        return self._process.wait(seconds)

    def said(self):
        return self.log.read_text(errors="replace")

    @property
    def url(self):
        return re.search(r"--os-image-url (\S+)", self.said())[1]

    def pid(self, name):
        return int(re.search(rf"ready: {name} \(process (\d+)\)", self.said())[1])

    def pids(self):
        return [int(pid) for pid in re.findall(r"ready: \S+ \(process (\d+)\)", self.said())]


@pytest.fixture
def run_local(data_dir, tmp_path):
    program = RunLocal(data_dir, tmp_path / "run-local.log")
    yield program
    processes.stop(program._process)


def own_lines(text):
    """Leave out what the programs below it print."""
    return [line for line in text.splitlines() if " | " not in line]


@pytest.mark.slow
def test_data_stay_and_ctrl_c_stops_all_in_order(run_local, data_dir):
    run_local.start().wait_for("Ctrl-C stops everything")
    assert len(run_local.pids()) == 4
    image = {"name": "kept", "disk_format": "raw", "container_format": "bare"}
    made = requests.post(f"{run_local.url}/v2/images", json=image, timeout=30).json()["id"]
    run_local.signal(signal.SIGINT)
    assert run_local.end() == 0
    stops = [line.split(" (")[0] for line in own_lines(run_local.said()) if line.startswith("stopped")]
    assert stops == [
        "stopped glance-api",
        "stopped glance-scrubber",
        "stopped glance-registry",
        "stopped the database",
    ]
    assert not any(map(processes.is_running, run_local.pids()))
    assert "glance-registry.log" in {path.name for path in (data_dir / "log").iterdir()}

    began = time.monotonic()
    run_local.start().wait_for("Ctrl-C stops everything")
    assert time.monotonic() - began < 60
    assert requests.get(f"{run_local.url}/v2/images/{made}", timeout=30).json()["name"] == "kept"
    run_local.signal(signal.SIGTERM)
    assert run_local.end() == 0


@pytest.mark.slow
def test_the_commands_it_prints_work(run_local, clients, tmp_path):
    run_local.start().wait_for("Ctrl-C stops everything")
    (tmp_path / "FILE").write_bytes(b"some data" * 1000)
    printed = run_local.said().split("Paste into another terminal")[1].replace("\\\n", " ")
    commands = [line.strip() for line in printed.splitlines() if line.startswith("    ")]
    assert len(commands) == 7
    env = {"PATH": f"{clients.programs}:/usr/bin:/bin", "HOME": str(clients.home), "LANG": "C.UTF-8"}
    image = ""
    for command in commands:
        ready = command.replace("ID", image).replace("disk.qcow2", "FILE").replace("qcow2", "raw")
        done = subprocess.run(
            ["bash", "-c", f"{ready} --fail" if ready.startswith("curl") else ready],
            env=env,
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == 0, (ready, done.stdout, done.stderr)
        found = re.search(r'"id": ?"([0-9a-f-]{36})"', done.stdout)
        image = found[1] if found else image
    assert (tmp_path / "COPY").read_bytes() == (tmp_path / "FILE").read_bytes()


@pytest.mark.slow
def test_a_daemon_that_dies_ends_everything_with_its_last_words(run_local):
    run_local.start().wait_for("Ctrl-C stops everything")
    os.kill(run_local.pid("glance-scrubber"), signal.SIGKILL)
    assert run_local.end() == 1
    assert "run-local: glance-scrubber ended with code -9; the end of " in run_local.said()
    assert not any(map(processes.is_running, run_local.pids()))


@pytest.mark.slow
def test_nothing_survives_a_kill_of_run_local_itself(run_local):
    run_local.start().wait_for("Ctrl-C stops everything")
    pids = run_local.pids()
    run_local.signal(signal.SIGKILL)
    run_local.end()
    processes.wait_until(lambda: not any(map(processes.is_running, pids)), what="the end of the programs", seconds=60)
    run_local.start().wait_for("Ctrl-C stops everything")


@pytest.mark.slow
def test_a_second_one_on_the_same_data(run_local, data_dir, tmp_path):
    run_local.start().wait_for("ready: database")
    second = RunLocal(data_dir, tmp_path / "second.log").start()
    assert second.end() == 1
    assert f"already running on {data_dir}" in second.said()


def test_a_port_that_is_taken(run_local):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert run_local.start("--api-port", str(port)).end() == 1
    assert own_lines(run_local.said())[-1] == (
        f"run-local: port {port} is in use; stop what listens there, or choose another with --api-port"
    )


@pytest.mark.slow
def test_the_end_may_be_asked_for_while_it_starts(run_local):
    run_local.start().wait_for("ready: database")
    run_local.signal(signal.SIGINT)
    assert run_local.end() == 0
    assert own_lines(run_local.said())[-1] == "stopped the database"


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_fresh_clone_installs_itself_and_moves_an_image_without_root(tmp_path_factory):
    """The whole way of a new user: the script, the virtual environment, the round trip of one image."""
    account = accounts.server_account()
    home = Path(tempfile.mkdtemp(prefix="glance-new-user-"))
    try:
        checkout = home / "checkout"
        for name in subprocess.check_output(["git", "ls-files"], cwd=CHECKOUT, text=True).splitlines():
            if (CHECKOUT / name).exists():
                (checkout / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(CHECKOUT / name, checkout / name)
        if account is not None:
            subprocess.run(["chown", "-R", f"{account.pw_uid}:{account.pw_gid}", home], check=True)
        log = home / "log"
        with log.open("wb") as output:
            process = processes.spawn(
                [checkout / "deploy" / "run-local", "--check", *FREE_PORTS],
                output=output,
                # The caller's Python may be one that only the caller can reach.
                env={"HOME": str(home), "PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8", **pip_settings()},
                cwd=home,
                account=account,
            )
        assert process.wait(1500) == 0, log.read_text(errors="replace")
        said = own_lines(log.read_text())
        assert said[0] == f"installing into {checkout}/.venv; this takes a minute"
        assert said[1] == f"data folder: {checkout}/.local"
        assert "deleted; the scrubber removed the file" in said
        assert said[-1] == "stopped the database"
    finally:
        shutil.rmtree(home)


def pip_settings():
    return {name: value for name, value in os.environ.items() if name.startswith("PIP_") or name.endswith("_proxy")}
