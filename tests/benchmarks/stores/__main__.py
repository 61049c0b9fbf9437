"""Measures each store through this service, through the original and with the store's own tool, in one run.

    python -m tests.benchmarks.stores [--stores rbd cinder vmware …] [--size MIB] [--rounds N]

Uploads and downloads of one file, hashed with md5 and sha512 as by default; the table holds medians and ratios.
"""

import argparse
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from deploy.local import accounts
from deploy.local.embedded_postgres import PostgresServer

from tests.benchmarks import cpu, machine, memory
from tests.benchmarks.endpoint import MIB, Endpoint, in_threads, write_payload
from tests.benchmarks.original import CALLER, MeasuredOriginal
from tests.benchmarks.ours import Ours
from tests.benchmarks.side_by_side import database_server
from tests.benchmarks.stores.peers import PEERS, Peer
from tests.benchmarks.stores.table import BESIDE, ORIGINAL, OURS, TOOL, Measure, Table
from tests.support import environments

GIB = 1024 * MIB

TRANSFERS = 8
"""Parallel transfers for the memory of the API."""

SMALLER = 256
"""MiB of each of those uploads: several parts, and room for all of them."""


class Bench:
    """One store, with everything that moves data to and from it."""

    def __init__(self, table: Table, name: str, peer: Peer, payload: Path) -> None:
        self._table = table
        self._name = name
        self._peer = peer
        self._payload = payload
        self._size = payload.stat().st_size
        self.services: dict[str, Endpoint] = {}
        self._number = 0

    def prepare(self) -> None:
        """Let each store the object that it reads."""
        self._peer.tool.upload("stored", self._payload)
        for endpoint in self.services.values():
            endpoint.stored = f"/v2/images/{endpoint.upload(self._payload)}/file"
            endpoint.uploads.clear()

    def round(self) -> None:
        """Measure everything once."""
        tool = self._peer.tool
        for column, upload in ((TOOL, tool.upload), (BESIDE, tool.upload_beside_digests)):
            self._number += 1
            key = f"tool-{self._number}"
            os.sync()
            self._note(Measure.UPLOAD, column, upload(key, self._payload))
            tool.remove(key)
            self._peer.tidy()
        for column, endpoint in self.services.items():
            for measure in (Measure.UPLOAD, Measure.UNKNOWN):
                os.sync()
                known = measure is Measure.UPLOAD
                self._move(measure, column, lambda: endpoint.upload(self._payload, known=known))  # noqa: B023 - called now
                endpoint.remove_uploads()
                self._peer.tidy()
        self._note(Measure.DOWNLOAD, TOOL, tool.download("stored"))
        self._note(Measure.DOWNLOAD, BESIDE, tool.download_through_socket("stored"))
        for column, endpoint in self.services.items():
            path = str(endpoint.stored)
            self._move(Measure.DOWNLOAD, column, lambda: endpoint.download(path, self._size))  # noqa: B023 - called now
        for _ in range(5 if self._peer.has_ranges else 0):
            self._note(Measure.FIRST, TOOL, tool.first("stored", self._size // 2))
            ours = self.services[OURS]
            self._note(Measure.FIRST, OURS, _timed(lambda: ours.first_byte(str(ours.stored), self._size // 2)))  # noqa: B023 - called now

    def _move(self, measure: Measure, column: str, act: Callable[[], object]) -> None:
        """Note the speed of a service, and what it cost."""
        pids = self.services[column].pids
        before = cpu.seconds(pids)
        self._note(measure, column, _timed(act))
        self._table.add_cost(self._name, measure, column, (cpu.seconds(pids) - before) * GIB / self._size)

    def _note(self, measure: Measure, column: str, seconds: float) -> None:
        value = seconds * 1000 if measure is Measure.FIRST else self._size / MIB / seconds
        self._table.add(self._name, measure, column, value)
        print(f"  {self._name:10} {measure.value:40} {column:24} {value:8.1f}", flush=True)

    def watch_memory(self, workers: Sequence[int], payload: Path) -> None:
        """Note the highest memory of a worker of ours while it moves several images each way."""
        ours = self.services[OURS]
        with memory.watching(workers) as peaks:
            in_threads(TRANSFERS, lambda: ours.upload(payload))
            in_threads(TRANSFERS, lambda: ours.download(str(ours.stored), self._size))
        ours.remove_uploads()
        self._peer.tidy()
        self._table.note(f"{self._name}: {TRANSFERS} uploads and {TRANSFERS} downloads at once: "
                         f"the larger API worker has {max(peaks.values()) / 1e6:.0f} MB")


def _timed(act: Callable[[], object]) -> float:
    began = time.monotonic()
    act()
    return time.monotonic() - began


@contextmanager
def services(
    folder: Path, peer: Peer, database: PostgresServer, *, original: bool
) -> Iterator[tuple[dict[str, Endpoint], list[int]]]:
    """Start ours, and the original where it knows the store; give them and the workers of our API."""
    with ExitStack() as stack:
        name = folder.name
        database.create_database(f"ours_{name}")
        ours = Ours(folder / "ours", database.url(f"ours_{name}"), stores=peer.stores())
        stack.callback(ours.stop)
        api = ours.api("api", {})
        started = {OURS: Endpoint(OURS, api.url, (api.pid,), ours.scrub)}
        if peer.original and original:
            database.create_database(f"original_{name}")
            theirs = MeasuredOriginal(
                folder / "original", "gunicorn", database.url(f"original_{name}"), peer.stores(), told=True
            )
            theirs.modules, theirs.commands = peer.modules, peer.commands
            stack.callback(theirs.stop)
            theirs.start()
            started[ORIGINAL] = Endpoint(ORIGINAL, theirs.url, (theirs.pid,), headers=CALLER)
        yield started, sorted(cpu.tree(api.pid) - {api.pid})


def measured(table: Table, name: str, folder: Path, payload: Path, options: argparse.Namespace) -> None:
    """Start a store and all that uses it, and measure."""
    # The database runs as a user of its own, who must get to its folder in here.
    folder.mkdir()
    accounts.hand_over(folder / "database", accounts.server_account())
    with (
        PEERS[name](_made(folder / "server")) as peer,
        database_server(folder / "database") as database,
        services(folder, peer, database, original=not options.without_original) as (started, workers),
    ):
        bench = Bench(table, name, peer, payload)
        bench.services = started
        bench.prepare()
        for number in range(options.rounds):
            print(f"{name}, round {number + 1} of {options.rounds}", flush=True)
            bench.round()
        bench.watch_memory(workers, write_payload(folder / "smaller", min(SMALLER, options.size)))


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stores", nargs="+", choices=sorted(PEERS), default=sorted(PEERS))
    parser.add_argument("--size", type=int, default=1024, help="MiB of the file")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=Path("/var/tmp"), help="a folder on a disk with 10 GB to spare")
    parser.add_argument("--without-original", action="store_true")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if not options.without_original:
        environments.environment("measured-original")
    table = Table()
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="stores-") as folder:
        Path(folder).chmod(0o711)
        payload = write_payload(Path(folder) / "payload", options.size)
        try:
            for name in options.stores:
                measured(table, name, Path(folder) / name, payload, options)
        finally:
            # Also what there is of a run that fails: it takes long.
            said = f"{datetime.now(UTC):%d %B %Y}; {machine.describe()}; {options.size} MiB;"
            text = table.markdown(f"{said} medians of {options.rounds} rounds.")
            print(text)
            if options.out:
                options.out.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
