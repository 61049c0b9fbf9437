"""Memory and time of ``glance-scrubber --reconcile`` over a file store with very many objects.

    python -m tests.benchmarks.reconcile --objects 1000 100000 1000000

Rows come by SQL, files are empty, so that the walk, the pages of the registry and the comparison are all that is
measured. Of each number ten files have no row, and ten rows have no file.
"""

import argparse
import hashlib
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import sqlalchemy as sa

from glance_registry.db.session import EngineSettings, make_engine
from tests.benchmarks import cpu
from tests.benchmarks.fill import without_indexes
from tests.benchmarks.ours import Ours, environment
from tests.benchmarks.side_by_side import database_server
from tests.support.daemons import PROGRAMS

ODD = 10
"""Files without a row, and rows without a file."""
OLD = time.time() - 3 * 86400

IMAGES = """
    INSERT INTO images (id, status, visibility, size, disk_format, container_format, properties, tags, create_attempt)
    SELECT md5('image ' || n)::uuid, 'active', 'private', 0, 'raw', 'bare', '{}', '{}', gen_random_uuid()
    FROM generate_series(CAST(:first AS integer), CAST(:last AS integer)) n
"""
LOCATIONS = """
    INSERT INTO locations (id, image_id, store, key, status, size, attempt)
    SELECT gen_random_uuid(), id, 'file', id::text, 'active', 0, gen_random_uuid()
    FROM (
        SELECT md5('image ' || n)::uuid AS id FROM generate_series(CAST(:first AS integer), CAST(:last AS integer)) n
    ) new
"""


class Bench:
    """A registry, its database, and a file store that grow from one measurement to the next."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        database = stack.enter_context(database_server(folder / "postgres"))
        database.create_database("ours")
        self._url = database.url("ours")
        self._ours = Ours(folder / "ours", self._url)
        stack.callback(self._ours.stop)
        self._others = [self._ours.registry.pid, database.pid]
        self._images = folder / "ours" / "images"
        self._scrubber = folder / "ours" / "scrubber"
        self._objects = 0
        # The first use writes the sentinel.
        self._run()

    def fill(self, objects: int) -> None:
        """Add rows and files, up to so many of each."""
        first, last = self._objects + 1, objects
        engine = make_engine(self._url, EngineSettings(idle_timeout=0))
        with without_indexes(engine) as connection:
            for statement in (IMAGES, LOCATIONS):
                connection.execute(sa.text(statement), {"first": first, "last": last})
        engine.dispose()
        for number in range(first, last + 1):
            # The last rows of each measurement have no file, but a file that has no row.
            name = f"image {number}" if number <= last - ODD else f"odd {number}"
            path = self._images / str(uuid.UUID(hashlib.md5(name.encode(), usedforsecurity=False).hexdigest()))
            os.mknod(path, 0o640)
            if number > last - ODD:
                os.utime(path, (OLD, OLD))
        self._objects = objects

    def measure(self) -> str:
        """Run it once; return what it needed."""
        before, began = cpu.seconds(self._others), time.monotonic()
        output, usage = self._run()
        seconds = time.monotonic() - began
        others = cpu.seconds(self._others) - before
        return (
            f"{self._objects} objects: {usage.ru_maxrss / 1000:.0f} MB, {seconds:.1f} s, processor time "
            f"{usage.ru_utime + usage.ru_stime:.1f} s of the scrubber, {others:.1f} s of registry and database; "
            f"{output.splitlines()[-1]}"
        )

    def _run(self) -> tuple[str, resource.struct_rusage]:
        command: list[str | Path] = [PROGRAMS / "glance-scrubber", "--config-dir", self._scrubber, "--reconcile"]
        with (self._scrubber / "output.log").open("ab") as log:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, text=True,
                env=environment(self._scrubber),
            )
        assert process.stdout is not None
        output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        return output, usage


def measure(bench: Bench, counts: Sequence[int]) -> None:
    """Print each measurement."""
    for count in sorted(counts):
        bench.fill(count)
        print(bench.measure(), flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objects", type=int, nargs="+", default=[1000, 100_000, 1_000_000])
    parser.add_argument(
        "--folder", default="/var/tmp",
        help="where files and database lie; in memory (/dev/shm) a million of them are made in minutes",
    )
    options = parser.parse_args()
    # On TERM the benchmark ends its processes and removes its files, as on Ctrl-C.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="glance-reconcile-", dir=options.folder) as name, ExitStack() as stack:
        Path(name).chmod(0o711)
        measure(Bench(stack, Path(name)), options.objects)


if __name__ == "__main__":
    main()
