"""Children end when they are told to, and when the process that started them is gone."""

import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from deploy.local import processes

CHECKOUT = Path(__file__).resolve().parents[3]


def sleeper(seconds: int = 60) -> list[str]:
    return ["sleep", str(seconds)]


def test_a_child_dies_with_a_parent_that_is_killed():
    program = (
        "import subprocess, time\n"
        "from deploy.local import processes\n"
        "child = processes.spawn(['sleep', '60'], output=subprocess.DEVNULL)\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=CHECKOUT) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        # Until it has become its command it has not yet told the kernel what shall happen at its parent's end.
        command = Path(f"/proc/{child}/cmdline")
        processes.wait_until(lambda: command.read_bytes().startswith(b"sleep"), what="the child")
        parent.kill()
    processes.wait_until(lambda: not processes.is_running(child), what="the child's end")


def test_a_child_lives_on_when_the_thread_that_started_it_ends():
    started: list[subprocess.Popen[bytes]] = []
    thread = threading.Thread(target=lambda: started.append(processes.spawn(sleeper(), output=subprocess.DEVNULL)))
    thread.start()
    thread.join()
    time.sleep(0.3)
    assert started[0].poll() is None
    processes.stop(started[0])


def test_stop_returns_the_exit_code(tmp_path):
    script = "trap 'exit 7' TERM; echo up; while :; do sleep 0.05; done"
    log = tmp_path / "log"
    with log.open("wb") as output:
        child = processes.spawn(["sh", "-c", script], output=output)
    processes.wait_until(lambda: processes.last_lines(log) == ["up"], what="the trap", process=child)
    assert processes.stop(child) == 7
    assert processes.stop(child) == 7  # again does no harm


def test_stop_kills_what_does_not_listen_and_the_rest_of_its_group(tmp_path):
    log = tmp_path / "log"
    script = "trap '' TERM; sleep 60 & echo $!; while :; do sleep 0.05; done"
    with log.open("wb") as output:
        child = processes.spawn(["sh", "-c", script], output=output)
    processes.wait_until(lambda: bool(processes.last_lines(log)), what="the trap", process=child)
    grandchild = int(processes.last_lines(log)[0])
    assert processes.stop(child, seconds=0.2) == -signal.SIGKILL
    assert not processes.is_running(grandchild)


def test_a_killed_group_is_gone_afterwards():
    children = 20
    child = processes.spawn(["sh", "-c", "sleep 60 & " * children + "wait"], output=subprocess.DEVNULL)
    processes.wait_until(lambda: len(processes.members_of(child.pid)) == children + 1, what="all children")
    members = processes.members_of(child.pid)
    assert processes.kill_group(child) == -signal.SIGKILL
    assert not any(map(processes.is_running, members))
    assert processes.kill_group(child) == -signal.SIGKILL  # again does no harm


def test_stop_ends_a_process_that_is_stopped():
    child = processes.spawn(sleeper(), output=subprocess.DEVNULL)
    processes.signal_group(child, signal.SIGSTOP)
    assert processes.stop(child) == -signal.SIGTERM


def test_waiting_for_a_process_that_ends_shows_its_last_words(tmp_path):
    log = tmp_path / "log"
    with log.open("wb") as output:
        child = processes.spawn(["sh", "-c", "echo no such option; exit 3"], output=output)
    with pytest.raises(processes.StartError, match=r"the thing ended with code 3; end of .*\n    no such option"):
        processes.wait_until(lambda: False, what="the thing", process=child, log=log)


def test_waiting_ends_when_the_time_is_over():
    with pytest.raises(processes.StartError, match=r"^the thing: not ready after 0\.1 s$"):
        processes.wait_until(lambda: False, what="the thing", seconds=0.1)


def test_children_are_found_and_a_zombie_is_not_running():
    child = processes.spawn(["sh", "-c", "sleep 60 & wait"], output=subprocess.DEVNULL)
    processes.wait_until(lambda: len(processes.children_of(child.pid)) == 1, what="the grandchild")
    assert processes.is_running(child.pid)
    child.kill()
    processes.wait_until(lambda: not processes.is_running(child.pid), what="the end")  # not reaped yet
    processes.stop(child)


def test_free_ports_differ_and_lie_below_those_of_outgoing_connections():
    ports = [processes.free_port() for _ in range(20)]
    assert len(set(ports)) == 20
    lowest_outgoing = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert max(ports) < lowest_outgoing


def test_two_processes_never_choose_the_same_port():
    """Nothing listens on the ports of the first one yet, and the second one has no others to choose from."""
    ports = [processes.free_port() for _ in range(4)]
    script = (
        "from types import SimpleNamespace\n"
        "from deploy.local import processes\n"
        f"processes._chance = SimpleNamespace(sample=lambda *_: {ports})\n"
        "print(processes.free_port())\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert "no free TCP port found" in done.stderr, done.stdout


def test_last_lines_of_a_long_log(tmp_path):
    log = tmp_path / "log"
    log.write_text("".join(f"line {n}\n" for n in range(100_000)))
    assert processes.last_lines(log, 2) == ["line 99998", "line 99999"]
    assert processes.last_lines(tmp_path / "none") == []
