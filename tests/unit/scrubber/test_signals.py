"""First signal asks, second ends; systemd is told once."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time

from glance_scrubber.signals import notify_ready, stopping

PROGRAM = """
import sys, threading
from glance_scrubber.signals import stopping
stop = threading.Event()
worker = threading.Thread(target=lambda: (stop.wait(), sys.stdin.read()), daemon=True)
with stopping(stop):
    worker.start()
    print("ready", flush=True)
    worker.join()
print("finished", flush=True)
"""


def start():
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "ready\n"
    return process


def test_after_the_first_signal_the_work_in_hand_is_finished():
    for number in (signal.SIGTERM, signal.SIGINT):
        process = start()
        process.send_signal(number)
        time.sleep(0.2)
        assert process.poll() is None
        assert process.communicate("")[0] == "finished\n"
        assert process.returncode == 0


def test_the_second_signal_ends_the_process():
    process = start()
    process.send_signal(signal.SIGTERM)
    time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    assert process.wait(5) == -signal.SIGTERM
    process.communicate()


def test_the_handlers_are_put_back():
    before = signal.getsignal(signal.SIGTERM)
    stop = threading.Event()
    with stopping(stop):
        os.kill(os.getpid(), signal.SIGTERM)
        deadline = time.monotonic() + 5
        while not stop.is_set() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert stop.is_set()
        assert signal.getsignal(signal.SIGTERM) is before
    assert signal.getsignal(signal.SIGTERM) is before


def test_systemd_hears_ready_once(tmp_path, monkeypatch):
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(address)
        sock.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        notify_ready()
        assert sock.recv(100) == b"READY=1"
        assert "NOTIFY_SOCKET" not in os.environ


def test_an_abstract_socket_works_too(monkeypatch):
    name = f"glance-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(f"\0{name}")
        sock.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
        notify_ready()
        assert sock.recv(100) == b"READY=1"


def test_a_supervisor_that_is_gone_is_no_reason_to_stop(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nobody"))
    notify_ready()
    assert "cannot be notified" in caplog.text
    notify_ready()
