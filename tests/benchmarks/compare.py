"""Times image endpoints side by side: each measure runs on every endpoint in turn; ratios are to the first one.

    python tests/benchmarks/compare.py original=http://127.0.0.1:19292 ours=http://127.0.0.1:9292

Absolute times say more about the machine than about the code; only the ratios of one run are worth writing down. Needs
wrk (Debian: wrk). Endpoints without authentication, on loopback; what is created is deleted again.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

MIB = 1 << 20
JSON = {"Content-Type": "application/json"}
OCTETS = {"Content-Type": "application/octet-stream"}


class Endpoint:
    """One image service under measurement."""

    def __init__(self, name: str, url: str, options: argparse.Namespace, payload: Path) -> None:
        self.name = name
        self.url = url.rstrip("/")
        self.options = options
        self.payload = payload
        self.made: list[str] = []

    def connect(self) -> HTTPConnection:
        parts = urlsplit(self.url)
        return HTTPConnection(str(parts.hostname), parts.port, timeout=600, blocksize=MIB)

    def call(self, connection: HTTPConnection, method: str, path: str, body=None, headers=None) -> bytes:
        data = json.dumps(body).encode() if isinstance(body, dict) else body
        connection.request(method, path, data, headers or JSON)
        answer = connection.getresponse()
        content = answer.read()
        if answer.status >= 300:
            raise RuntimeError(f"{self.name}: {method} {path}: {answer.status} {content[:200]!r}")
        return content

    def create(self, connection: HTTPConnection, **values: object) -> str:
        body = {"name": "bench", "disk_format": "raw", "container_format": "bare", **values}
        return str(json.loads(self.call(connection, "POST", "/v2/images", body))["id"])

    def seed(self, count: int) -> None:
        """Make ``count`` images with properties and tags."""
        numbers = iter(range(count))
        lock = threading.Lock()

        def work() -> None:
            connection = self.connect()
            while True:
                with lock:
                    number = next(numbers, None)
                if number is None:
                    return
                made = self.create(
                    connection, name=f"seed-{number}", tags=[f"t{number % 7}"], os_distro=f"bench{number % 50}",
                    hw_disk_bus="virtio", build=str(number),
                )
                self.made.append(made)

        in_threads(6, work)

    def clean(self) -> None:
        connection = self.connect()
        for image in self.made:
            self.call(connection, "DELETE", f"/v2/images/{image}")

    def upload(self) -> str:
        connection = self.connect()
        image = self.create(connection)
        self.made.append(image)
        with self.payload.open("rb") as file:
            headers = {**OCTETS, "Content-Length": str(self.payload.stat().st_size)}
            connection.request("PUT", f"/v2/images/{image}/file", file, headers)
            answer = connection.getresponse()
            answer.read()
        if answer.status != 204:
            raise RuntimeError(f"{self.name}: upload answered {answer.status}")
        return image

    def download(self, image: str) -> None:
        connection = self.connect()
        connection.request("GET", f"/v2/images/{image}/file")
        answer = connection.getresponse()
        buffer, count = bytearray(4 * MIB), 0
        while read := answer.readinto(buffer):
            count += read
        if count != self.payload.stat().st_size:
            raise RuntimeError(f"{self.name}: {count} bytes came")

    def wrk(self, path: str, connections: int = 8) -> float:
        command = ["wrk", "-t1", f"-c{connections}", f"-d{self.options.seconds}", "--timeout", "30", self.url + path]
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        if "Non-2xx" in output or "Socket errors" in output:
            raise RuntimeError(f"{self.name}: {output}")
        return float(re.search(r"Requests/sec:\s+([\d.]+)", output)[1])

    # --- measures: more is better ---

    def show(self) -> float:
        return self.wrk(f"/v2/images/{self.made[0]}")

    def list_25(self) -> float:
        return self.wrk("/v2/images?limit=25")

    def list_1000(self) -> float:
        return self.wrk("/v2/images?limit=1000", connections=2)

    def list_filtered(self) -> float:
        return self.wrk("/v2/images?limit=25&name=none-such&sort=name:asc,created_at:desc")

    def list_by_property(self) -> float:
        return self.wrk("/v2/images?limit=25&os_distro=bench7", connections=4)

    def create_delete(self) -> float:
        count, end = [], time.monotonic() + self.options.seconds

        def work() -> None:
            connection = self.connect()
            while time.monotonic() < end:
                image = self.create(connection)
                self.call(connection, "DELETE", f"/v2/images/{image}")
                count.append(1)

        started = time.monotonic()
        in_threads(4, work)
        return len(count) / (time.monotonic() - started)

    def upload_1(self) -> float:
        return self._rate(1, lambda: self.upload())

    def upload_4(self) -> float:
        return self._rate(4, lambda: self.upload())

    def download_1(self) -> float:
        image = self._stored()
        return self._rate(1, lambda: self.download(image))

    def download_4(self) -> float:
        image = self._stored()
        return self._rate(4, lambda: self.download(image))

    def _stored(self) -> str:
        if not hasattr(self, "_image"):
            self._image = self.upload()
        return self._image

    def _rate(self, streams: int, work: Callable[[], object]) -> float:
        started = time.monotonic()
        in_threads(streams, work)
        return streams * self.payload.stat().st_size / 1e6 / (time.monotonic() - started)


MEASURES = {
    "show, requests/s": Endpoint.show,
    "list of 25, requests/s": Endpoint.list_25,
    "list of 1000, requests/s": Endpoint.list_1000,
    "filtered list, requests/s": Endpoint.list_filtered,
    "list by property, requests/s": Endpoint.list_by_property,
    "create + delete, cycles/s": Endpoint.create_delete,
    "upload, 1 stream, MB/s": Endpoint.upload_1,
    "upload, 4 streams, MB/s": Endpoint.upload_4,
    "download, 1 stream, MB/s": Endpoint.download_1,
    "download, 4 streams, MB/s": Endpoint.download_4,
}


def in_threads(count: int, work: Callable[[], object]) -> None:
    """Run ``work`` in ``count`` threads; an error of one is raised here."""
    errors: list[BaseException] = []

    def guarded() -> None:
        try:
            work()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("endpoints", nargs="+", metavar="NAME=URL")
    parser.add_argument("--size", type=int, default=1024, help="MiB of an upload")
    parser.add_argument("--images", type=int, default=1000, help="images to list")
    parser.add_argument("--seconds", type=int, default=4, help="of each measure of requests")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="part of the names of the measures to run")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        payload = Path(folder) / "payload"
        with payload.open("wb") as file:
            for _ in range(options.size):
                file.write(os.urandom(MIB))
        endpoints = [Endpoint(*text.split("=", 1), options, payload) for text in options.endpoints]
        try:
            for endpoint in endpoints:
                endpoint.seed(options.images)
            for name, measure in MEASURES.items():
                if options.only in name:
                    report(name, endpoints, measure, options.rounds)
        finally:
            for endpoint in endpoints:
                endpoint.clean()


def report(name: str, endpoints: list[Endpoint], measure: Callable[[Endpoint], float], rounds: int) -> None:
    """Run one measure on all endpoints in turn and print medians and ratios."""
    values: dict[str, list[float]] = {endpoint.name: [] for endpoint in endpoints}
    for _ in range(rounds):
        for endpoint in endpoints:
            values[endpoint.name].append(measure(endpoint))
    first = statistics.median(values[endpoints[0].name])
    cells = [
        f"{endpoint.name} {statistics.median(values[endpoint.name]):.1f} "
        f"({statistics.median(values[endpoint.name]) / first:.2f}x)"
        for endpoint in endpoints
    ]
    print(f"{name:30s} " + "   ".join(cells), flush=True)


if __name__ == "__main__":
    sys.exit(main())
