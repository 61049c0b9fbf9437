"""The heaps of the C library, counted in a process of its own: threads that were started before decide about them."""

import os
import subprocess
import sys

import pytest

PROGRAM = """
import ctypes, sys, tempfile, threading
from glance_common.heap import share_heaps

if sys.argv[1] == "shared":
    share_heaps()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
all_are_here = threading.Barrier(17)

def work():
    kept = libc.malloc(100_000)
    all_are_here.wait()

threads = [threading.Thread(target=work) for _ in range(16)]
for thread in threads:
    thread.start()
all_are_here.wait()
with tempfile.NamedTemporaryFile() as file:
    libc.fopen.restype = ctypes.c_void_p
    stream = ctypes.c_void_p(libc.fopen(file.name.encode(), b"w"))
    libc.malloc_info(0, stream)
    libc.fclose(stream)
    print(file.read().count(b"<heap nr="))
"""


@pytest.mark.parametrize(
    ("how", "own", "expected"),
    [
        ("shared", {}, range(1, 3)),
        ("shared", {"MALLOC_ARENA_MAX": "5"}, range(5, 6)),
        ("shared", {"GLIBC_TUNABLES": "glibc.malloc.arena_max=5"}, range(5, 6)),
        ("library", {}, range(8, 18)),
    ],
)
def test_threads_share_few_heaps_unless_the_operator_decides(how: str, own: dict[str, str], expected: range):
    names = {"MALLOC_ARENA_MAX", "GLIBC_TUNABLES"}
    environment = {name: value for name, value in os.environ.items() if name not in names} | own
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, how], env=environment, check=True, capture_output=True, text=True, timeout=240
    )
    assert int(done.stdout) in expected
