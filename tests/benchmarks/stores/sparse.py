"""Measures what zeros cost an rbd store with rbd_thin_provisioning: a sparse raw image beside its data alone.

    python -m tests.benchmarks.stores.sparse [--size GIB] [--data MIB]

uploads an image of that size whose data are spread evenly, of known and of unknown size, and tells the seconds and the
bytes that the OSD takes on its disk. The digests cover the zeros too: their time is told for comparison.
"""

import argparse
import hashlib
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from deploy.local import accounts

from tests.benchmarks import machine
from tests.benchmarks.endpoint import MIB, Endpoint
from tests.benchmarks.ours import Ours
from tests.benchmarks.side_by_side import database_server
from tests.servers.ceph import Ceph
from tests.servers.rbd import Administrator


def write_sparse(path: Path, size: int, data: int) -> Path:
    """Write a sparse file of ``size`` bytes with ``data`` bytes in 8 runs; return its path."""
    runs, piece = 8, data // 8
    with path.open("wb") as file, Path("/dev/urandom").open("rb") as random:
        file.truncate(size)
        for number in range(runs):
            file.seek(number * (size // runs))
            file.write(random.read(piece))
    return path


def hashing(path: Path) -> float:
    """Return the seconds that md5 and sha512 of a file take one after the other."""
    began = time.monotonic()
    for name in ("md5", "sha512"):
        with path.open("rb") as file:
            hashlib.file_digest(file, name)
    return time.monotonic() - began


def lines(folder: Path, size: int, data: int) -> Iterator[str]:
    """Measure and yield what is to be told."""
    payload = write_sparse(folder / "sparse", size, data)
    alone = folder / "alone"
    with payload.open("rb") as source, alone.open("wb") as target:
        for number in range(8):
            source.seek(number * (size // 8))
            target.write(source.read(data // 8))
    (folder / "ceph").mkdir()
    cluster = Ceph(folder / "ceph", store="bluestore", gateway=False)
    accounts.hand_over(folder / "database", accounts.server_account())
    try:
        cluster.start()
        owner = Administrator(cluster)
        with owner.pool() as pool, database_server(folder / "database") as database:
            database.create_database("ours")
            options = pool.options(folder, rbd_thin_provisioning="true")
            ours = Ours(folder / "ours", database.url("ours"), stores={
                "DEFAULT": {"enabled_backends": "main:rbd"}, "glance_store": {"default_backend": "main"},
                "main": options,
            })
            try:
                api = ours.api("api", {})
                endpoint = Endpoint("ours", api.url, (api.pid,), ours.scrub)
                for what, file, known in (
                    ("the data alone", alone, True), ("sparse", payload, True), ("size unknown", payload, False)
                ):
                    before = taken(cluster)
                    began = time.monotonic()
                    endpoint.upload(file, known=known)
                    seconds = time.monotonic() - began
                    yield f"| {what} | {seconds:.1f} | {(taken(cluster) - before) / MIB:.0f} |"
            finally:
                ours.stop()
        owner.close()
    finally:
        cluster.stop()
    yield f"| md5 and sha512 of the sparse file, one after the other | {hashing(payload):.1f} | |"


def taken(cluster: Ceph) -> int:
    """Return the bytes that the OSD takes on its disk."""
    return (cluster.folder / "osd" / "block").stat().st_blocks * 512


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=10, help="GiB of the image")
    parser.add_argument("--data", type=int, default=512, help="MiB of its data")
    parser.add_argument("--folder", type=Path, default=Path("/var/tmp"), help="a folder with room for 5 x data")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="sparse-") as folder:
        Path(folder).chmod(0o711)
        print(f"{machine.describe()}; {options.size} GiB with {options.data} MiB of data")
        print("\n| upload | s | MiB that the OSD takes |\n|---|---|---|")
        for line in lines(Path(folder), options.size << 30, options.data * MIB):
            print(line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
