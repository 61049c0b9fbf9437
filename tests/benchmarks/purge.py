"""Purges per second of one and of several scrubbers, and the processor time that a purge costs.

    python -m tests.benchmarks.purge --images 2000 --processes 1 4

Images with a few bytes each are uploaded and deleted while no scrubber runs; then the scrubbers start, with RabbitMQ,
and the time is taken from the first row that is gone to the last.
"""

import argparse
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import psycopg2
from deploy.local import configuration, processes

from tests.benchmarks import cpu
from tests.benchmarks.endpoint import Endpoint, in_threads
from tests.benchmarks.ours import Ours, environment
from tests.benchmarks.side_by_side import database_server
from tests.servers.rabbitmq import RabbitMQ
from tests.support.daemons import PROGRAMS

REFUSED = 'glance_registry_call_seconds_count{method="POST",outcome="refused"}'
LEFT = "SELECT count(*) FROM locations WHERE status <> 'deleted'"


class Bench:
    """Everything that purges need, but the scrubbers."""

    def __init__(self, stack: ExitStack, folder: Path, options: Mapping[str, object]) -> None:
        self.folder = folder
        self.database = stack.enter_context(database_server(folder / "postgres"))
        self.database.create_database("ours")
        url = self.database.url("ours")
        (folder / "rabbitmq").mkdir()
        rabbitmq = RabbitMQ(folder / "rabbitmq")
        stack.callback(rabbitmq.stop)
        rabbitmq.start()
        self.ours = Ours(folder / "ours", url, transport_url=rabbitmq.url)
        stack.callback(self.ours.stop)
        self.api = self.ours.api("api", {})
        self.rows = psycopg2.connect(url.replace("+psycopg2", ""))
        stack.callback(self.rows.close)
        self.rows.autocommit = True
        self._options = options

    def fill(self, count: int) -> None:
        """Leave ``count`` deleted images whose data wait to be removed."""
        payload = self.folder / "payload"
        payload.write_bytes(b"x" * 4096)
        endpoint = Endpoint("ours", self.api.url)
        numbers = iter(range(count))
        in_threads(4, lambda: [endpoint.upload(payload) for _ in numbers])
        endpoint.remove_uploads()

    def left(self) -> int:
        """Return how many data are not removed yet."""
        with self.rows.cursor() as cursor:
            cursor.execute(LEFT)
            (left,) = cursor.fetchone() or (0,)
            return int(left)

    def scrubber(self, port: int) -> subprocess.Popen[bytes]:
        """Start one more scrubber, with its metrics at ``port``."""
        folder = self.folder / f"scrubber-{port}"
        own = {"DEFAULT": {"metrics_bind": f"{processes.LOOPBACK}:{port}", "log_file": folder / "log",
                           **self._options}}
        configuration.write(folder, "glance-scrubber", configuration.merged(self.ours.shared, own))
        with (folder / "output.log").open("ab") as output:
            return processes.spawn(
                [PROGRAMS / "glance-scrubber", "--daemon", "--config-dir", folder], output=output,
                env=environment(folder), cwd=folder, death_signal=signal.SIGKILL,
            )

    def purge(self, scrubbers: int) -> "Purged":
        """Let so many processes remove everything."""
        total = self.left()
        ports = [processes.free_port() for _ in range(scrubbers)]
        running = [self.scrubber(port) for port in ports]
        pids = [process.pid for process in running]
        others = [self.ours.registry.pid, self.database.pid]
        try:
            while (left := self.left()) == total:
                time.sleep(0.02)
            began, first, before, below = time.monotonic(), left, cpu.seconds(pids), cpu.seconds(others)
            while self.left():
                time.sleep(0.05)
            seconds = time.monotonic() - began
            spent, served = cpu.seconds(pids) - before, cpu.seconds(others) - below
            refused = sum(refused_calls(port) for port in ports)
        finally:
            for process in running:
                processes.stop(process)
        return Purged(first / seconds, spent / first * 1000, served / first * 1000, refused / total)


@dataclass(frozen=True, slots=True)
class Purged:
    """Purges a second; of one purge: milliseconds of processor time and claims that were refused."""

    rate: float
    own: float
    others: float
    refused: float


def refused_calls(port: int) -> float:
    """Return how many of its calls the registry refused the scrubber with its metrics at ``port``."""
    with urllib.request.urlopen(f"http://{processes.LOOPBACK}:{port}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(REFUSED))


def measure(bench: Bench, rounds: int, images: int, counts: Sequence[int]) -> None:
    """Print each measurement."""
    for _ in range(rounds):
        for count in counts:
            bench.fill(images)
            purged = bench.purge(count)
            print(f"{count} processes: {purged.rate:.0f} purges/s; for one: {purged.own:.2f} ms processor time of the "
                  f"scrubber, {purged.others:.2f} ms of registry and database, {purged.refused:.2f} refused claims",
                  flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--pool", type=int, default=1, help="scrub_pool_size of each process")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    # On TERM the benchmark ends its processes and removes its files, as on Ctrl-C.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="glance-purge-", dir="/var/tmp") as name, ExitStack() as stack:
        Path(name).chmod(0o711)
        bench = Bench(stack, Path(name), {"scrub_pool_size": options.pool})
        measure(bench, options.rounds, options.images, options.processes)


if __name__ == "__main__":
    main()
