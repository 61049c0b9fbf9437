"""Measures this service and the original side by side, and writes a Markdown table of ratios.

One command does it all: makes an environment for the original, starts it under gunicorn and under uWSGI, starts ours,
all on one PostgreSQL server, one disk and the same two cores, seeds them alike, measures in rounds, in each of which
everybody has his turn at each measure, and stops everything. Needs wrk; with nginx, downloads are compared to it, too.
"""

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from deploy.local import accounts, processes
from deploy.local.embedded_postgres import PostgresServer

from tests.benchmarks import hashing, machine, report
from tests.benchmarks.endpoint import Endpoint, write_payload
from tests.benchmarks.measures import MEASURES, Load, Measure
from tests.benchmarks.original import NAME as ORIGINAL
from tests.benchmarks.original import SERVERS, MeasuredOriginal
from tests.benchmarks.ours import Ours
from tests.support import environments

CORES = 2
# Durable as PostgreSQL is by default: fsync and synchronous_commit stay on.
DATABASE = {"max_connections": "300", "shared_buffers": "256MB", "effective_cache_size": "2GB"}
SHA256 = {"hashing_algorithm": "sha256", "compute_checksum": False}
HASHED = 256
"""MiB hashed in each round, to tell how fast the machine does it."""


@contextmanager
def database_server(folder: Path) -> Iterator[PostgresServer]:
    """Run a PostgreSQL server with its data in ``folder``."""
    server = PostgresServer(folder, settings=DATABASE)
    try:
        server.start()
        yield server
    finally:
        server.stop()


def start_originals(stack: ExitStack, folder: Path, database: PostgresServer) -> list[Endpoint]:
    """Start the original once under each of its servers."""
    endpoints = []
    for server, column in zip(SERVERS, report.ORIGINALS, strict=True):
        database.create_database(server)
        original = MeasuredOriginal(folder / server, server, database.url(server))
        stack.callback(original.stop)
        original.start()
        endpoints.append(Endpoint(column, original.url, (original.pid, database.pid)))
    return endpoints


def start_ours(stack: ExitStack, folder: Path, database: PostgresServer) -> list[Endpoint]:
    """Start ours as it is, and one more API that hashes with sha256 alone."""
    database.create_database("ours")
    ours = Ours(folder / "ours", database.url("ours"))
    stack.callback(ours.stop)
    endpoints: list[Endpoint] = []
    for column, options in ((report.OURS, {}), (report.SHA256, SHA256)):
        api = ours.api(f"api-{len(endpoints)}", options)
        endpoints.append(Endpoint(column, api.url, (api.pid, ours.registry.pid, database.pid), ours.scrub))
    return endpoints


def start_nginx(stack: ExitStack, folder: Path, payload: Path) -> list[Endpoint]:
    """Start nginx where it is installed."""
    if machine.PROGRAM is None:
        print("nginx is not installed (apt-get install nginx-light): downloads are not compared to it")
        return []
    nginx = machine.Nginx(folder / "nginx", payload.parent)
    stack.callback(nginx.stop)
    nginx.start()
    return [Endpoint(report.NGINX, nginx.url, (nginx.pid,), stored=f"/{payload.name}")]


def prepare(endpoints: Sequence[Endpoint], images: int, load: Load) -> None:
    """Seed everybody alike, and let everybody store what is downloaded."""
    for endpoint in endpoints:
        if endpoint.stored is not None:
            continue
        began = time.monotonic()
        if endpoint.name != report.SHA256:
            endpoint.seed(images)
        endpoint.stored = f"/v2/images/{endpoint.upload(load.payload)}/file"
        endpoint.uploads.clear()
        # A first request builds what the next ones find.
        for path in ("/v2/images", f"/v2/images/{endpoint.made[0]}") if endpoint.made else ("/v2/images",):
            endpoint.wrk(path, seconds=1, connections=8)
        print(f"{endpoint.name}: seeded in {time.monotonic() - began:.0f} s", flush=True)


def takes_part(endpoint: Endpoint, measure: Measure) -> bool:
    """Tell whether a measure makes sense there."""
    special = {report.SHA256: measure.is_upload, report.NGINX: measure.is_download}
    return special.get(endpoint.name, True)


def one_round(number: int, endpoints: Sequence[Endpoint], measures: Sequence[Measure], load: Load,
              results: report.Results) -> None:
    """Take each measure of each endpoint once; who begins changes from round to round."""
    for name, how, algorithms in machine.HASHES:
        results.add_hashing(name, hashing.measured(how, list(algorithms), HASHED)[0])
    for measure in measures:
        parting = [endpoint for endpoint in endpoints if takes_part(endpoint, measure)]
        first = number % len(parting)
        for endpoint in (*parting[first:], *parting[:first]):
            # What one has left to be written must not be written on the next one's time.
            os.sync()
            reading = measure.take(endpoint, load)
            results.add(measure, endpoint.name, reading)
            print(f"  {measure.name:34} {endpoint.name:20} {reading.rate:9.1f} {measure.unit}", flush=True)


def heading(options: argparse.Namespace, cores: set[int]) -> list[str]:
    """Return what a reader must know of the run."""
    return [(
        f"{datetime.now(UTC):%d %B %Y}; {machine.describe()}; servers, database and clients together on "
        f"{len(cores)} cores; {options.images} images with properties and tags; transfers of {options.size} MiB; "
        f"medians of {options.rounds} rounds."
    )]


def run(options: argparse.Namespace, folder: Path) -> str:
    """Do the whole run with all files in ``folder`` and return the report."""
    cores = machine.limit_processors(CORES)
    measures = [measure for measure in MEASURES if options.only in measure.name]
    (folder / "files").mkdir()
    load = Load(options.seconds, write_payload(folder / "files" / "payload", options.size))
    results = report.Results()
    with ExitStack() as stack:
        database = stack.enter_context(database_server(folder / "postgres"))
        endpoints = [
            *start_originals(stack, folder, database), *start_ours(stack, folder, database),
            *start_nginx(stack, folder, load.payload),
        ]
        prepare(endpoints, options.images, load)
        for number in range(options.rounds):
            print(f"round {number + 1} of {options.rounds}", flush=True)
            one_round(number, endpoints, measures, load, results)
    return results.markdown(measures, heading(options, cores))


def arguments() -> argparse.Namespace:
    """Return what the command line says."""
    parser = argparse.ArgumentParser(
        prog="compare", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size", type=int, default=1024, help="MiB of an upload")
    parser.add_argument("--images", type=int, default=1000, help="images to list")
    parser.add_argument("--seconds", type=int, default=4, help="of each measure of requests and downloads")
    parser.add_argument("--only", default="", help="part of the names of the measures to take")
    parser.add_argument("--out", type=Path, help="file that the table is written to, besides being printed")
    parser.add_argument("--folder", type=Path, default=Path("/var/tmp"), help="where on the disk the run happens")
    return parser.parse_args()


def main() -> int:
    """Run, print and write."""
    options = arguments()
    # On TERM the benchmark ends its processes and removes its files, as on Ctrl-C.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if shutil.which("wrk") is None:
        print("wrk is missing: apt-get install wrk", file=sys.stderr)
        return 2
    if not environments.is_ready(ORIGINAL):
        print("installing the original; this takes a minute or two", flush=True)
    environments.environment(ORIGINAL)
    with tempfile.TemporaryDirectory(prefix="glance-compare-", dir=options.folder) as name:
        # The database runs as a user of its own, who must get to its folder in here.
        Path(name).chmod(0o711)
        accounts.hand_over(Path(name, "postgres"), accounts.server_account())
        text = run(options, Path(name))
    print(f"\n{text}", end="")
    if options.out is not None:
        options.out.write_text(text)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except processes.StartError as error:
        sys.exit(str(error))
