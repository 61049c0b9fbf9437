"""Times downloads of one file from image services beside a plain nginx that sends the same bytes with sendfile.

    python tests/benchmarks/download.py original=http://127.0.0.1:19292=PID ours=http://127.0.0.1:9292=PID

PID is the service's master process, or several with commas where a proxy is in front: the processor time of them and of
their children is counted. Each round takes every
server in turn, and every stream has a process of its own that throws the bytes away. The speed says as much about the
client as about the server, which share the processors over loopback; the processor seconds for a gigabyte say what a
server costs. Needs nginx (Debian: nginx). What is created is deleted again.
"""

import argparse
import json
import multiprocessing
import os
import signal
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

MIB, GB = 1 << 20, 10**9
TICKS = os.sysconf("SC_CLK_TCK")
NGINX = """
daemon off; master_process off; pid {folder}/nginx.pid; error_log stderr;
events {{}}
http {{
    access_log off; sendfile on; tcp_nopush on;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    server {{ listen 127.0.0.1:{port}; root {folder}; }}
}}
"""


@dataclass(frozen=True, slots=True)
class Server:
    """Where the bytes can be had, and the processes that send them."""

    name: str
    url: str
    pids: tuple[int, ...]

    def spent(self) -> float:
        """Return the processor seconds used so far."""
        return sum(map(processor_seconds, self.pids))


@dataclass(frozen=True, slots=True)
class Result:
    """One round: megabytes a second of all streams together, and the server's processor seconds for a gigabyte."""

    speed: float
    cost: float


def fetch(url: str, size: int, repeats: int) -> None:
    """Download the file some times over one connection."""
    parts = urlsplit(url)
    connection = HTTPConnection(str(parts.hostname), parts.port, timeout=600)
    buffer = bytearray(MIB)
    for _ in range(repeats):
        connection.request("GET", parts.path)
        answer = connection.getresponse()
        count = 0
        while read := answer.readinto(buffer):
            count += read
        if answer.status != 200 or count != size:
            raise RuntimeError(f"{url}: status {answer.status}, {count} of {size} bytes")


def measure(server: Server, size: int, streams: int, repeats: int) -> Result:
    """Download with so many streams at the same time."""
    spent, began = server.spent(), time.monotonic()
    processes = [multiprocessing.Process(target=fetch, args=(server.url, size, repeats)) for _ in range(streams)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        if process.exitcode:
            raise RuntimeError(f"{server.name}: a download failed")
    moved = size * streams * repeats
    return Result(moved / 1e6 / (time.monotonic() - began), (server.spent() - spent) / moved * GB)


def processor_seconds(pid: int) -> float:
    """Return the seconds that a process and its living descendants have used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return (int(fields[11]) + int(fields[12])) / TICKS + sum(processor_seconds(int(child)) for child in children)


def call(url: str, method: str, path: str, body: Any = None, kind: str = "application/json") -> bytes:
    parts = urlsplit(url)
    connection = HTTPConnection(str(parts.hostname), parts.port, timeout=600)
    connection.request(method, path, body, {"Content-Type": kind})
    answer = connection.getresponse()
    content = answer.read()
    if answer.status >= 300:
        raise RuntimeError(f"{method} {url}{path}: {answer.status} {content[:200]!r}")
    return content


@contextmanager
def image(text: str, payload: Path) -> Iterator[Server]:
    """Put the payload into the image service that ``NAME=URL=PID`` names."""
    name, url, pids = text.split("=")
    fields = {"name": "download", "disk_format": "raw", "container_format": "bare"}
    made = json.loads(call(url, "POST", "/v2/images", json.dumps(fields)))["id"]
    try:
        with payload.open("rb") as file:
            call(url, "PUT", f"/v2/images/{made}/file", file, "application/octet-stream")
        yield Server(name, f"{url}/v2/images/{made}/file", tuple(map(int, pids.split(","))))
    finally:
        call(url, "DELETE", f"/v2/images/{made}")


@contextmanager
def plain_nginx(payload: Path) -> Iterator[Server]:
    """Serve the payload's folder."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    folder = payload.parent
    config = folder / "nginx.conf"
    config.write_text(NGINX.format(folder=folder, port=port))
    process = subprocess.Popen(["/usr/sbin/nginx", "-c", config, "-p", folder])
    try:
        yield Server("nginx", f"http://127.0.0.1:{port}/{payload.name}", (process.pid,))
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def report(servers: list[Server], size: int, streams: int, repeats: int, rounds: int) -> None:
    """Measure all servers in turn and print the medians, with ratios to the first one."""
    results: dict[str, list[Result]] = {server.name: [] for server in servers}
    for server in servers:
        fetch(server.url, size, 1)
    for _ in range(rounds):
        for server in servers:
            results[server.name].append(measure(server, size, streams, repeats))
    first: Result | None = None
    for name, all_of_it in results.items():
        speed = statistics.median(result.speed for result in all_of_it)
        cost = statistics.median(result.cost for result in all_of_it)
        first = first or Result(speed, cost)
        print(f"{streams} streams  {name:12s} {speed:7.0f} MB/s ({speed / first.speed:.2f}x)   "
              f"{cost:6.3f} s/GB ({cost / first.cost:.2f}x)", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("services", nargs="+", metavar="NAME=URL=PID")
    parser.add_argument("--size", type=int, default=1024, help="MiB of the file")
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--repeats", type=int, default=2, help="downloads of each stream in a round")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        payload = Path(folder) / "payload"
        with payload.open("wb") as file:
            for _ in range(options.size):
                file.write(os.urandom(MIB))
        Path(folder).chmod(0o755)
        with plain_nginx(payload) as nginx:
            measure_all(options, payload, [nginx], options.services)


def measure_all(options: argparse.Namespace, payload: Path, servers: list[Server], services: list[str]) -> None:
    """Fill one service after the other, then measure all of them."""
    if services:
        with image(services[0], payload) as server:
            measure_all(options, payload, [*servers, server], services[1:])
        return
    for streams in options.streams:
        report(servers, options.size * MIB, streams, options.repeats, options.rounds)


if __name__ == "__main__":
    main()
