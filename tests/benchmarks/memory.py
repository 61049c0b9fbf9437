"""The memory of API workers while they take parallel uploads: peak resident size per worker, and its bound.

    python -m tests.benchmarks.memory http://127.0.0.1:9292 PID [PID…]     (pids of the worker processes)

The bound is 150 MB and 8 MiB for each upload of a worker.
"""

import argparse
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.benchmarks.cpu import resident
from tests.benchmarks.endpoint import MIB, Endpoint, in_threads, write_payload

FIXED = 150_000_000
EACH = 8 * MIB


@contextmanager
def watching(pids: Sequence[int]) -> Iterator[dict[int, int]]:
    """Give the highest resident bytes of each process, now and until the block ends."""
    peaks, done = {pid: resident(pid) for pid in pids}, threading.Event()

    def watch() -> None:
        while not done.wait(0.05):
            for pid in pids:
                peaks[pid] = max(peaks[pid], resident(pid))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield peaks
    finally:
        done.set()
        watcher.join()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("pids", nargs="+", type=int)
    parser.add_argument("--size", type=int, default=1024, help="MiB of each upload")
    parser.add_argument("--uploads", type=int, default=8)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, watching(options.pids) as peaks:
        before = dict(peaks)
        payload = write_payload(Path(folder) / "payload", options.size)
        endpoint = Endpoint("api", options.url)
        try:
            in_threads(options.uploads, lambda: endpoint.upload(payload))
        finally:
            endpoint.remove_uploads()
    bound = FIXED + options.uploads * EACH
    for pid in options.pids:
        sizes = [f"{size / 1e6:.0f} MB" for size in (before[pid], peaks[pid], bound)]
        print("worker {}: {} before, peak {}, bound {}".format(pid, *sizes))
    return 0 if max(peaks.values()) <= bound else 1


if __name__ == "__main__":
    sys.exit(main())
