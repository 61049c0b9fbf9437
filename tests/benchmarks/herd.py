"""Measures many clients that ask at once for an image that is in the cache of no node, here and at the original.

    python -m tests.benchmarks.herd [--clients N] [--size MIB] [--rate MIB] [--out FILE]

The image lies in a radosgw, and each answer of that has ``--rate`` MiB a second. Both services have two processes,
their image cache is on and empty. A client that throws bytes away without looking at them costs next to nothing; a few
others compute the digest of what they get. Needs Ceph (Debian: ceph-mon ceph-osd ceph-common radosgw).
"""

import argparse
import hashlib
import multiprocessing
import os
import selectors
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from deploy.local import accounts
from deploy.local.configuration import Options, merged

from tests.benchmarks import cpu, machine
from tests.benchmarks.endpoint import MIB, Endpoint, write_payload
from tests.benchmarks.original import MeasuredOriginal
from tests.benchmarks.ours import Ours
from tests.benchmarks.relay import Counts, slow
from tests.benchmarks.side_by_side import database_server
from tests.servers.ceph import Ceph
from tests.support import environments

HASHING = 4
"""Clients that compute the digest of what they get."""

_READ = 1 << 20
_PATIENCE = 500.0
"""Seconds after which clients that are not done are given up."""

_HEADER = """\
| | clients with the whole image | without | reads of the store | GETs | first done, s | last done, s | last / first | \
processor, s |
|---|---|---|---|---|---|---|---|---|"""


@dataclass(frozen=True, slots=True)
class Run:
    """One service and its herd: the seconds of each client that got all, those that did not, and what it cost."""

    name: str
    seconds: Sequence[float]
    failed: int
    gets: int
    reads: float
    processor: float

    def row(self) -> str:
        """Return the run as a row of the table."""
        first, last = (min(self.seconds), max(self.seconds)) if self.seconds else (0.0, 0.0)
        ratio = f"{last / first:.2f}" if first else ""
        return (f"| {self.name} | {len(self.seconds)} | {self.failed} | {self.reads:.2f} | {self.gets} | {first:.1f} | "
                f"{last:.1f} | {ratio} | {self.processor:.1f} |")


class _Client:
    """One download on a socket that does not block. Data without a Content-Length, in chunks, are only counted."""

    def __init__(self, address: tuple[str, int], path: str, size: int, digest: str | None) -> None:
        self.sock = socket.create_connection(address)
        self.sock.setblocking(False)
        self.sock.send(f"GET {path} HTTP/1.1\r\nHost: herd\r\nConnection: close\r\n\r\n".encode())
        self._head = b""
        self._is_begun = self._is_in_chunks = False
        self._size = size
        self._count = 0
        self._expected = digest
        self._hash = hashlib.sha256() if digest else None

    def read(self, buffer: memoryview) -> bool | None:
        """Take what is there; say how it ended, None while it goes on."""
        try:
            if not self._is_begun:
                return self._begin()
            count = self.sock.recv_into(buffer, 0, 0 if self._hash else socket.MSG_TRUNC)
        except BlockingIOError:
            return None
        if self._hash:
            self._hash.update(buffer[:count])
        self._count += count
        if count and (self._is_in_chunks or self._count < self._size):
            return None
        return self._count >= self._size and (self._hash is None or self._hash.hexdigest() == self._expected)

    def _begin(self) -> bool | None:
        data = self.sock.recv(65536)
        self._head += data
        if b"\r\n\r\n" not in self._head:
            return None if data else False
        head, _, body = self._head.partition(b"\r\n\r\n")
        if b" 200 " not in head[:20]:
            print(head, flush=True)
            return False
        self._is_begun, self._is_in_chunks = True, b"content-length:" not in head.lower()
        if self._is_in_chunks:
            self._hash = None
        if self._hash:
            self._hash.update(body)
        self._count = len(body)
        return None


def _herd(url: str, wanted: tuple[int, int, str], results: "multiprocessing.Queue[list[float | None]]") -> None:
    """Download with many clients at once; put the seconds of each, None for one that did not get the image.

    ``wanted``: how many clients, the size and the digest of the image.
    """
    count, size, digest = wanted
    parts = urlsplit(url)
    address = (str(parts.hostname), parts.port or 80)
    selector, buffer = selectors.DefaultSelector(), memoryview(bytearray(_READ))
    began = time.monotonic()
    for number in range(count):
        client = _Client(address, parts.path, size, digest if number < HASHING else None)
        selector.register(client.sock, selectors.EVENT_READ, client)
    seconds: list[float | None] = []
    while len(seconds) < count and time.monotonic() - began < _PATIENCE:
        for key, _ in selector.select(1.0):
            client = key.data
            try:
                outcome = client.read(buffer)
            except ConnectionError:
                outcome = False
            if outcome is not None:
                selector.unregister(client.sock)
                client.sock.close()
                seconds.append(time.monotonic() - began if outcome else None)
    results.put(seconds + [None] * (count - len(seconds)))


def run(endpoint: Endpoint, payload: Path, counts: Counts, clients: int) -> Run:
    """Upload the image, let the clients loose, and say what became of them."""
    with payload.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    path = f"/v2/images/{endpoint.upload(payload)}/file"
    wanted = (clients, payload.stat().st_size, digest)
    counts.reset()
    before = cpu.seconds(endpoint.pids)
    results: multiprocessing.Queue[list[float | None]] = multiprocessing.Queue()
    herd = multiprocessing.Process(target=_herd, args=(endpoint.url + path, wanted, results))
    herd.start()
    ended = results.get(timeout=_PATIENCE + 60)
    herd.join()
    seconds = [each for each in ended if each is not None]
    return Run(endpoint.name, seconds, len(ended) - len(seconds), counts.gets.value,
               counts.size.value / payload.stat().st_size, cpu.seconds(endpoint.pids) - before)


def stores(host: str, ceph: Ceph, bucket: str) -> Options:
    """Return the options of one S3 store behind ``host``."""
    return {
        "DEFAULT": {"enabled_backends": "measured:s3"},
        "glance_store": {"default_backend": "measured"},
        "measured": {
            "s3_store_host": host, "s3_store_access_key": ceph.keys.access, "s3_store_secret_key": ceph.keys.secret,
            "s3_store_bucket": bucket, "s3_store_bucket_url_format": "path",
        },
    }


def measure(options: argparse.Namespace, folder: Path, stack: ExitStack) -> list[Run]:
    """Start all servers and run one herd at each service."""
    accounts.hand_over(folder / "database", accounts.server_account())
    (folder / "ceph").mkdir()
    ceph = Ceph(folder / "ceph", memory=8 << 30)
    stack.callback(ceph.stop)
    ceph.start()
    bucket = stack.enter_context(ceph.bucket())
    port, counts = stack.enter_context(slow(ceph.port, options.rate * MIB))
    database = stack.enter_context(database_server(folder / "database"))
    place, payload = stores(f"http://127.0.0.1:{port}", ceph, bucket), write_payload(folder / "payload", options.size)
    runs = []
    if not options.without_ours:
        database.create_database("ours")
        ours = Ours(folder / "ours", database.url("ours"), stores=place)
        stack.callback(ours.stop)
        api = ours.api("api", {"image_cache_dir": folder / "cache"})
        runs.append(run(Endpoint("ours", api.url, (api.pid,)), payload, counts, options.clients))
        print(runs[-1].row(), flush=True)
        ours.stop()
    if not options.without_original:
        database.create_database("original")
        (folder / "original-cache").mkdir()
        caching: Options = {
            "DEFAULT": {"image_cache_dir": folder / "original-cache", "image_cache_driver": "sqlite"},
            "paste_deploy": {"flavor": "caching"},
        }
        original = MeasuredOriginal(
            folder / "original", "gunicorn", database.url("original"), merged(place, caching)
        )
        stack.callback(original.stop)
        original.start()
        runs.append(run(Endpoint("original", original.url, (original.pid,)), payload, counts, options.clients))
        print(runs[-1].row(), flush=True)
    return runs


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--size", type=int, default=512, help="MiB of the image")
    parser.add_argument("--rate", type=int, default=16, help="MiB a second of each answer of the store")
    parser.add_argument("--folder", type=Path, default=Path("/var/tmp"), help="a folder on a disk with 5 GB to spare")
    parser.add_argument("--without-original", action="store_true")
    parser.add_argument("--without-ours", action="store_true")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if not options.without_original:
        environments.environment("measured-original")
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="herd-") as folder, ExitStack() as stack:
        Path(folder).chmod(0o711)
        runs = measure(options, Path(folder), stack)
    said = (f"{datetime.now(UTC):%d %B %Y}; {machine.describe()}; {len(os.sched_getaffinity(0))} cores; "
            f"{options.clients} clients; {options.size} MiB; {options.rate} MiB/s for each answer of the store.")
    text = "\n".join([said, "", _HEADER, *(each.row() for each in runs), ""])
    print(text)
    if options.out:
        options.out.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
