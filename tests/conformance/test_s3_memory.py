"""What uploads to S3 hold in memory, measured on a process that makes several at a time."""

import os
import subprocess
import sys
from pathlib import Path

from tests.conformance.s3_kit import MIB, MakeS3

UPLOADS = 8
SIZE = 48 * MIB
"""Bytes of an upload: below s3_store_large_object_size, and several times of what it may hold."""

_PROGRAM = """
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4
from tests.conformance.s3_kit import writer

def memory(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))

def upload(size):
    store.add(str(uuid4()), (bytes([1 + number % 9]) * 2**20 for number in range(size // 2**20)), size)

store = writer(Path(sys.argv[1]))
uploads, size = map(int, sys.argv[2:])
upload(12 * 2**20)  # loads all that an upload needs
before = memory("VmRSS")
Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
with ThreadPoolExecutor(uploads) as pool:
    list(pool.map(upload, [size] * uploads))
print(memory("VmHWM") - before)
"""


def test_s62_parallel_uploads_of_known_size_hold_a_few_parts_each(make_s3: MakeS3, tmp_path: Path):
    """Each holds the parts in flight, the one that comes in, and 8 MiB; not the image."""
    harness = make_s3(s3_store_large_object_size=100)
    # What is given back goes to the system at once: so the peak is what was held, not what the heap keeps.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "131072"}
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, tmp_path, str(UPLOADS), str(SIZE)], cwd=Path(__file__).parents[2],
        check=True, capture_output=True, text=True, env=environment,
    )
    parts_in_flight, part = 2, harness.part
    assert int(done.stdout) < UPLOADS * ((parts_in_flight + 1) * part + 8 * MIB)
    assert [entry.size for entry in harness.store.walk()].count(SIZE) == UPLOADS
