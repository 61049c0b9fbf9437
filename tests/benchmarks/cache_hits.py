"""Measures downloads of images that are in the image cache beside a nginx that sends the same file with sendfile.

    python -m tests.benchmarks.cache_hits [--size MIB] [--streams N ...] [--rounds N]

*apart* is this service with one permit only (``max_transfers``): its sender sends all downloads but one.
"""

import argparse
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from deploy.local import accounts

from tests.benchmarks import download, machine
from tests.benchmarks.download import Server
from tests.benchmarks.endpoint import MIB, Endpoint, write_payload
from tests.benchmarks.ours import Ours
from tests.benchmarks.side_by_side import database_server
from tests.support.waiting import wait_for


def cached(endpoint: Endpoint, payload: Path, cache: Path) -> Server:
    """Return the service as a server of the payload, which is in its cache."""
    image = endpoint.upload(payload)
    path = f"/v2/images/{image}/file"
    endpoint.download(path, payload.stat().st_size)
    wait_for((cache / image).exists, "the copy")
    return Server(endpoint.name, endpoint.url + path, tuple(endpoint.pids))


def measure(folder: Path, options: argparse.Namespace, stack: ExitStack) -> None:
    """Start nginx and two APIs with a cache each, and measure them in turn."""
    accounts.hand_over(folder / "database", accounts.server_account())
    (folder / "files").mkdir()
    payload = write_payload(folder / "files" / "payload", options.size)
    nginx = machine.Nginx(folder / "nginx", folder / "files")
    stack.callback(nginx.stop)
    nginx.start()
    database = stack.enter_context(database_server(folder / "database"))
    database.create_database("ours")
    ours = Ours(folder / "ours", database.url("ours"))
    stack.callback(ours.stop)
    servers = [Server("nginx", f"{nginx.url}/{payload.name}", (nginx.pid,))]
    for name, permits in (("ours", {}), ("apart", {"max_transfers": 1})):
        api = ours.api(name, {"image_cache_dir": folder / f"cache-{name}", **permits})
        servers.append(cached(Endpoint(name, api.url, (api.pid,)), payload, folder / f"cache-{name}"))
    for streams in options.streams:
        download.report(servers, options.size * MIB, streams, options.repeats, options.rounds)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=512, help="MiB of the image")
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--repeats", type=int, default=2, help="downloads of each stream in a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=Path("/var/tmp"), help="a folder on a disk with 3 GB to spare")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="hits-") as folder, ExitStack() as stack:
        Path(folder).chmod(0o711)
        measure(Path(folder), options, stack)


if __name__ == "__main__":
    main()
