"""The memory of API workers while they take parallel uploads: peak resident size per worker, and its bound.

    python tests/benchmarks/memory.py http://127.0.0.1:9292 PID [PID…]     (pids of the worker processes)

The bound is 150 MB and 8 MiB for each upload of a worker.
"""

import argparse
import os
import sys
import tempfile
import threading
import time
from pathlib import Path

from compare import MIB, Endpoint, in_threads

FIXED = 150_000_000
EACH = 8 * MIB


def resident(pid: int) -> int:
    """Return the resident bytes of a process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"no memory is told of process {pid}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("pids", nargs="+", type=int)
    parser.add_argument("--size", type=int, default=1024, help="MiB of each upload")
    parser.add_argument("--uploads", type=int, default=8)
    options = parser.parse_args()
    before = {pid: resident(pid) for pid in options.pids}
    peaks, done = dict(before), threading.Event()

    def watch() -> None:
        while not done.is_set():
            for pid in options.pids:
                peaks[pid] = max(peaks[pid], resident(pid))
            time.sleep(0.05)

    watcher = threading.Thread(target=watch)
    watcher.start()
    with tempfile.TemporaryDirectory() as folder:
        payload = Path(folder) / "payload"
        with payload.open("wb") as file:
            for _ in range(options.size):
                file.write(os.urandom(MIB))
        endpoint = Endpoint("api", options.url, options, payload)
        try:
            in_threads(options.uploads, endpoint.upload)
        finally:
            done.set()
            watcher.join()
            endpoint.clean()
    bound = FIXED + options.uploads * EACH
    for pid in options.pids:
        sizes = [f"{size / 1e6:.0f} MB" for size in (before[pid], peaks[pid], bound)]
        print("worker {}: {} before, peak {}, bound {}".format(pid, *sizes))
    return 0 if max(peaks.values()) <= bound else 1


if __name__ == "__main__":
    sys.exit(main())
