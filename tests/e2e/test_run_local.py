"""``deploy/run-local`` as its user sees it: start, use, stop, start again, and every way in which it may not start."""

import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path

import pytest
import requests
from deploy.local import accounts, processes
from tests.support.run_local import CHECKOUT, FREE_PORTS, RunLocal, running_below


@pytest.mark.slow
def test_data_stay_and_ctrl_c_stops_all_in_order(run_local, data_dir):
    run_local.start().wait_for("Ctrl-C stops everything")
    assert len(run_local.pids()) == 4
    image = {"name": "kept", "disk_format": "raw", "container_format": "bare"}
    made = requests.post(f"{run_local.url}/v2/images", json=image, timeout=30).json()["id"]
    run_local.signal(signal.SIGINT)
    assert run_local.end() == 0
    stops = [line.split(" (")[0] for line in run_local.said().splitlines() if line.startswith("stopped")]
    assert stops == [
        "stopped glance-api",
        "stopped glance-scrubber",
        "stopped glance-registry",
        "stopped the database",
    ]
    assert not any(map(processes.is_running, run_local.pids()))
    assert "glance-registry.log" in {path.name for path in (data_dir / "log").iterdir()}

    run_local.start().wait_for("Ctrl-C stops everything")
    assert requests.get(f"{run_local.url}/v2/images/{made}", timeout=30).json()["name"] == "kept"
    run_local.signal(signal.SIGTERM)
    assert run_local.end() == 0


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
def test_two_that_are_started_at_once_work_side_by_side(run_local, data_dir, tmp_path):
    second = RunLocal(data_dir.with_name("second"), tmp_path / "second.log")
    try:
        run_local.start()
        second.start()
        for program in (run_local, second):
            program.wait_for("Ctrl-C stops everything")
        metrics = [re.findall(r"(http\S+)/metrics ", program.said()) for program in (run_local, second)]
        assert len({*metrics[0], *metrics[1]}) == 6
        for program, addresses in zip((run_local, second), metrics, strict=True):
            assert requests.get(f"{program.url}/v2/images", timeout=30).status_code == 200
            for address in addresses:
                assert requests.get(f"{address}/metrics", timeout=30).status_code == 200
    finally:
        second.stop()


@pytest.mark.slow
def test_a_second_one_on_the_same_data(run_local, data_dir, tmp_path):
    run_local.start().wait_for("ready: database")
    second = RunLocal(data_dir, tmp_path / "second.log").start()
    assert second.end() == 1
    said = second.said().splitlines()
    assert len(said) == 1
    assert said[0].startswith(f"run-local: run-local is already running on {data_dir} (process ")


def test_a_port_that_is_taken(run_local):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert run_local.start("--api-port", str(port)).end() == 1
    assert run_local.said() == (
        f"run-local: port {port} is in use; stop what listens there, or choose another with --api-port\n"
    )


@pytest.mark.slow
def test_ctrl_c_while_the_database_is_made_leaves_nothing_running(run_local, data_dir):
    run_local.start()
    unfinished = data_dir / "postgres" / "data.unfinished"
    # On a machine that stands still initdb may have come and gone; what is asked for then holds as well.
    run_local.wait_until(lambda: running_below(unfinished) != [] or "ready: " in run_local.said(), "initdb")
    run_local.ctrl_c()
    assert run_local.end() == 0
    assert run_local.said().splitlines()[-1] == "stopped the database"
    assert running_below(data_dir) == []
    run_local.start().wait_for("ready: database")


@pytest.mark.slow
def test_ctrl_c_while_the_database_starts_leaves_nothing_running(run_local, data_dir):
    run_local.start()
    run_local.wait_until((data_dir / "postgres" / "data" / "postmaster.pid").exists, "the database server")
    run_local.ctrl_c()
    assert run_local.end() == 0
    assert running_below(data_dir) == []


@pytest.mark.slow
def test_the_end_may_be_asked_for_while_it_starts(run_local, data_dir):
    run_local.start().wait_for("ready: database")
    run_local.ctrl_c()
    assert run_local.end() == 0
    assert run_local.said().splitlines()[-1] == "stopped the database"
    assert running_below(data_dir) == []


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
        said = log.read_text().splitlines()
        assert said[0] == f"installing into {checkout}/.venv; this takes a minute"
        assert re.fullmatch(r"installed in \d+ s", said[1])
        assert said[2] == f"starting in {checkout}/.local"
        assert "deleted; the scrubber removed the file" in said
        assert said[-1] == "stopped the database"
    finally:
        shutil.rmtree(home)


def pip_settings():
    return {name: value for name, value in os.environ.items() if name.startswith("PIP_") or name.endswith("_proxy")}
