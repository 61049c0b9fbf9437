"""What transfers of S3 hold in memory, measured on a process that makes several at a time."""

import os
import subprocess
import sys
from pathlib import Path

from tests.conformance.s3_kit import MIB, MakeS3, S3Harness

from glance_common.stores.sections import AHEAD

TRANSFERS = 8
UPLOAD = 48 * MIB
"""Bytes of an upload: below s3_store_large_object_size, and several times of what it may hold."""

DOWNLOAD = 144 * MIB
"""Bytes of an object that is read: several sections."""

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
    key = str(uuid4())
    store.add(key, (bytes([1 + number % 9]) * 2**20 for number in range(size // 2**20)), size)
    return key

def download(key):
    assert sum(map(len, store.open(key))) == store.size(key)

def peak(act, argument):
    before = memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    with ThreadPoolExecutor(transfers) as pool:
        list(pool.map(act, [argument] * transfers))
    return memory("VmHWM") - before

store = writer(Path(sys.argv[1]))
transfers, size = int(sys.argv[3]), int(sys.argv[4])
download(upload(12 * 2**20))  # loads all that a transfer needs
print(peak(upload, size) if sys.argv[2] == "upload" else peak(download, upload(size)))
"""


def _peak(harness: S3Harness, action: str, size: int) -> int:
    """Return the bytes that a process needed for all transfers together."""
    # What is given back goes to the system at once: so the peak is what was held, not what the heap keeps.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "131072"}
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, harness.folder, action, str(TRANSFERS), str(size)],
        cwd=Path(__file__).parents[2], check=True, capture_output=True, text=True, env=environment,
    )
    return int(done.stdout)


def test_s62_parallel_uploads_of_known_size_share_the_room_for_parts(make_s3: MakeS3):
    """Each holds a part that is sent, the one that comes in, and 8 MiB; together they hold those of one upload more."""
    at_once = 10
    harness = make_s3(s3_store_large_object_size=100, s3_store_thread_pools=at_once)
    assert _peak(harness, "upload", UPLOAD) < at_once * harness.part + TRANSFERS * (2 * harness.part + 8 * MIB)
    assert [entry.size for entry in harness.store.walk()].count(UPLOAD) == TRANSFERS


def test_parallel_downloads_share_the_room_for_sections(make_s3: MakeS3):
    assert _peak(make_s3(), "download", DOWNLOAD) < AHEAD + TRANSFERS * 8 * MIB
