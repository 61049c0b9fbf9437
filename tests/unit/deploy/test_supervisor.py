"""The foreground supervisor: order, output, and what it says when something dies."""

import os
import sys
import time

import pytest
from deploy.local.processes import StartError, StopRequestedError
from deploy.local.supervisor import Program, Supervisor
from tests.support.waiting import wait_for

STAYS = "trap 'echo {name} goes; exit 0' TERM; echo {name} is up; while :; do sleep 0.02; done"
SAYS_READY = """
import os, socket, time
time.sleep(0.3)
name = os.environ["NOTIFY_SOCKET"]
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
    s.connect("\\0" + name[1:])
    s.send(b"STATUS=nearly")
    s.send(b"READY=1\\nSTATUS=up")
time.sleep(60)
"""


class Shown(list):
    """What a supervisor shows, in its order."""

    say = list.append

    def heard(self, program, line):
        self.append(f"{program} | {line}")


@pytest.fixture
def shown():
    return Shown()


@pytest.fixture
def asked_to_stop():
    return []


@pytest.fixture
def supervisor(tmp_path, shown, asked_to_stop):
    made = Supervisor(tmp_path, dict(os.environ), shown, lambda: bool(asked_to_stop))
    yield made
    made.stop()


def stays(name, shown):
    return Program(name, ["sh", "-c", STAYS.format(name=name)], ready=lambda: f"{name} | {name} is up" in shown)


def test_programs_stop_in_the_opposite_order_and_all_they_say_is_shown_and_kept(supervisor, shown, tmp_path):
    supervisor.start(stays("first", shown))
    supervisor.start(stays("second", shown))
    supervisor.stop()
    words = [line.split("|")[-1].split("(")[0].strip() for line in shown]
    assert words == [
        "first is up",
        "second is up",
        "second goes",
        "stopped second",
        "first goes",
        "stopped first",
    ]
    assert (tmp_path / "first.log").read_text() == "first is up\nfirst goes\n"


TALKS = """
import os, socket, time
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
    told.connect("\\0" + os.environ["NOTIFY_SOCKET"][1:])
    for _ in range(50):
        told.send(b"READY=1")
print("done", flush=True)
time.sleep(600)
"""


def test_a_program_may_say_more_than_the_kernel_keeps(supervisor, shown):
    """A daemon sends messages at each reload, and would wait for ever if the supervisor read none of them."""
    supervisor.start(Program("talker", [sys.executable, "-c", TALKS]))
    wait_for(lambda: supervisor.died() or "talker | done" in shown, "all that it says")
    assert supervisor.died() is None


def test_the_first_death_ends_the_watch_with_the_last_lines(supervisor, shown, tmp_path):
    supervisor.start(stays("healthy", shown))
    started = tmp_path / "started"
    waits = f"while [ ! -e {started} ]; do sleep 0.02; done; echo out of luck; exit 4"
    supervisor.start(Program("sick", ["sh", "-c", waits], ready=lambda: True))
    started.touch()
    told = supervisor.watch()
    assert told is not None
    assert told.startswith("sick ended with code 4; the end of ")
    assert told.endswith("\n    out of luck")


def test_the_watch_ends_when_the_user_asks(supervisor, shown, asked_to_stop):
    supervisor.start(stays("healthy", shown))
    asked_to_stop.append(2)
    assert supervisor.watch() is None


@pytest.mark.parametrize("seconds", [0, 0.5])
def test_a_program_that_ends_while_it_starts(supervisor, seconds):
    """Also while it is asked whether it works."""
    with pytest.raises(StartError, match=r"broken ended with code 1; the end of .*\n    bad option"):
        supervisor.start(Program("broken", ["sh", "-c", "echo bad option; exit 1"], ready=lambda: time.sleep(seconds)))


def test_the_user_may_ask_for_the_end_while_something_starts(supervisor, asked_to_stop):
    asked_to_stop.append(2)
    with pytest.raises(StopRequestedError):
        supervisor.start(Program("slow", ["sleep", "60"], ready=lambda: False))
    with pytest.raises(StopRequestedError):
        supervisor.run_to_end("slow too", ["sleep", "60"])


def test_a_program_without_a_question_says_itself_that_it_is_ready(supervisor):
    began = time.monotonic()
    supervisor.start(Program("speaker", [sys.executable, "-c", SAYS_READY], start_seconds=60))
    assert time.monotonic() - began > 0.3
    assert supervisor.died() is None


def test_a_program_that_runs_to_its_end(supervisor, shown):
    supervisor.run_to_end("migration", ["sh", "-c", "echo done"])
    assert shown == ["migration | done"]
    with pytest.raises(StartError, match=r"migration ended with code 5"):
        supervisor.run_to_end("migration", ["sh", "-c", "exit 5"])
