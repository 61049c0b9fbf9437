"""First signal asks, second ends."""

import os
import signal
import subprocess
import sys
import threading
import time

from glance_scrubber.signals import stopping

PROGRAM = """
import sys, threading
from glance_scrubber.signals import stopping
stop = threading.Event()
worker = threading.Thread(target=lambda: (stop.wait(), print("asked", flush=True), sys.stdin.read()), daemon=True)
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
        assert process.stdout.readline() == "asked\n"
        time.sleep(0.2)
        assert process.poll() is None
        assert process.communicate("")[0] == "finished\n"
        assert process.returncode == 0


def test_the_second_signal_ends_the_process():
    process = start()
    process.send_signal(signal.SIGTERM)
    # Two signals of one kind that come before the first is taken are one.
    assert process.stdout.readline() == "asked\n"
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == -signal.SIGTERM
    process.communicate()


def test_the_handlers_are_put_back():
    before = signal.getsignal(signal.SIGTERM)
    stop = threading.Event()
    with stopping(stop):
        os.kill(os.getpid(), signal.SIGTERM)
        deadline = time.monotonic() + 60
        while not stop.is_set() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert stop.is_set()
        assert signal.getsignal(signal.SIGTERM) is before
    assert signal.getsignal(signal.SIGTERM) is before
