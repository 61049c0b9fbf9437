"""Counts of several processes: they add up, outlive their processes, and leave nothing behind.

Every scenario runs in a process of its own: the library chooses its way of counting for the whole process.
"""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

PRELUDE = """
import os, signal, sys
from pathlib import Path
from glance_common.observability.metrics import shared
from glance_common.observability.metrics.catalog import CONNECTIONS, REMOVALS, UPLOADS, request_done

def value(numbers, name, **labels):
    return numbers.collector_registry().get_sample_value(name, labels)

def child(numbers, work, ending=lambda: os._exit(0)):
    pid = os.fork()
    if not pid:
        numbers.enter()
        work()
        ending()
    os.waitpid(pid, 0)
    return pid

parent = Path(sys.argv[1])
"""


def run(parent: Path, program: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PRELUDE + textwrap.dedent(program), str(parent)],
        capture_output=True, text=True, timeout=60, check=False,
    )
    assert done.returncode == 0, done.stderr


def test_counts_add_up_and_outlive_a_killed_process(tmp_path):
    run(tmp_path, """
        UPLOADS.labels("committed").inc(100)  # before the fork: belongs to nobody
        numbers = shared.SharedNumbers(parent)
        killed = lambda: os.kill(os.getpid(), signal.SIGKILL)
        for ending in (lambda: os._exit(0), killed, killed):
            child(numbers, lambda: UPLOADS.labels("committed").inc(), ending)
            child(numbers, lambda: request_done("GET", "/x", "200", 0.02))
        name, labels = "glance_http_request_seconds_bucket", {"method": "GET", "route": "/x", "status": "200"}
        for _ in range(2):
            assert value(numbers, "glance_uploads_total", outcome="committed") == 3
            assert value(numbers, name, le="0.01", **labels) == 0
            assert value(numbers, name, le="0.025", **labels) == 3
            assert value(numbers, name, le="+Inf", **labels) == 3
            numbers.fold_ended()
            assert {path.stem.rpartition("_")[2] for path in numbers.path.iterdir()} == {"ended"}
        child(numbers, lambda: UPLOADS.labels("committed").inc())
        numbers.fold_ended()
        assert value(numbers, "glance_uploads_total", outcome="committed") == 4
        numbers.close()
        assert not any(parent.iterdir())
    """)


def test_gauges_are_those_of_living_processes(tmp_path):
    run(tmp_path, """
        numbers = shared.SharedNumbers(parent)
        reader, writer = os.pipe()
        ready, go = os.pipe()
        pid = os.fork()
        if not pid:
            numbers.enter()
            CONNECTIONS.labels("used").set(3)
            os.write(writer, b"x")
            os.read(ready, 1)
            os._exit(0)
        os.read(reader, 1)
        child(numbers, lambda: CONNECTIONS.labels("used").set(5))
        numbers.fold_ended()
        assert value(numbers, "glance_database_connections", state="used") == 3
        os.write(go, b"x")
        os.waitpid(pid, 0)
        numbers.fold_ended()
        assert value(numbers, "glance_database_connections", state="used") is None
        numbers.close()
    """)


def test_directories_of_killed_masters_are_removed_and_those_of_others_stay(tmp_path):
    run(tmp_path, """
        running = shared.SharedNumbers(parent)
        abandoned = parent / "glance-metrics-dead"
        abandoned.mkdir()
        (abandoned / "counter_1.db").touch()
        foreign = parent / "something"
        foreign.mkdir()
        (parent / "glance-metrics-link").symlink_to(foreign)
        next_one = shared.SharedNumbers(parent)
        assert not abandoned.exists()
        assert running.path.exists() and foreign.exists()
        assert next_one.path.stat().st_mode & 0o777 == 0o700
    """)


def test_without_room_a_process_counts_for_itself(tmp_path):
    run(tmp_path, """
        numbers = shared.SharedNumbers(parent)
        def full(descriptor, offset, size):
            raise OSError(28, "No space left on device")
        os.posix_fallocate = full
        def work():
            UPLOADS.labels("aborted").inc()
            assert not [path for path in numbers.path.iterdir() if str(os.getpid()) in path.name]
        assert os.waitstatus_to_exitcode(0) == 0
        child(numbers, work)
        assert value(numbers, "glance_uploads_total", outcome="aborted") is None
        try:
            shared.SharedNumbers(parent)
        except OSError:
            assert [path for path in parent.iterdir()] == [numbers.path]
        else:
            sys.exit("a directory without room was taken")
    """)


@pytest.mark.parametrize("count", [1000])
def test_room_for_many_series_is_set_aside(tmp_path, count):
    run(tmp_path, f"""
        numbers = shared.SharedNumbers(parent)
        def work():
            before = {{path.name: path.stat().st_size for path in numbers.path.iterdir()}}
            for number in range({count}):
                REMOVALS.labels("a-store-with-quite-a-long-name", str(number)).inc()
            assert {{path.name: path.stat().st_size for path in numbers.path.iterdir()}} == before
        child(numbers, work)
    """)
