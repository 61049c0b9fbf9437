"""One image service under measurement: the calls of a client, over kept connections."""

import json
import os
import re
import socket
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

MIB = 1 << 20
JSON = {"Content-Type": "application/json"}


@dataclass
class Endpoint:
    """A service at ``url``; ``pids`` are the processes that work for it, each with its descendants.

    ``after_deletes`` brings the service to rest when images with data were deleted.
    """

    name: str
    url: str
    pids: Sequence[int] = ()
    after_deletes: Callable[[], object] = lambda: None
    headers: Mapping[str, str] = field(default_factory=dict)
    """What each request has besides."""
    made: list[str] = field(default_factory=list)
    uploads: list[str] = field(default_factory=list)
    stored: str | None = None
    """Path of the data that downloads read."""

    def connect(self) -> HTTPConnection:
        """Return a connection, which connects by itself at its first call."""
        parts = urlsplit(self.url)
        return HTTPConnection(str(parts.hostname), parts.port, timeout=600)

    def call(
        self, connection: HTTPConnection, method: str, path: str, body: Mapping[str, object] | None = None
    ) -> bytes:
        """Return the body of an answer; raise RuntimeError unless it is a success."""
        connection.request(method, path, None if body is None else json.dumps(body), {**JSON, **self.headers})
        answer = connection.getresponse()
        content = answer.read()
        if answer.status >= 300:
            raise RuntimeError(f"{self.name}: {method} {path}: {answer.status} {content[:200]!r}")
        return content

    def create(self, connection: HTTPConnection, **values: object) -> str:
        """Create an image without data and return its id."""
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

        in_threads(4, work)

    def remove_uploads(self) -> None:
        """Delete what was uploaded, data and all."""
        if not self.uploads:
            return
        connection = self.connect()
        while self.uploads:
            self.call(connection, "DELETE", f"/v2/images/{self.uploads.pop()}")
        self.after_deletes()

    def upload(self, payload: Path, *, known: bool = True) -> str:
        """Upload a file as the data of a new image and return its id; the kernel sends it, as cheaply as it can.

        Unless ``known``, the size is not told: the file is sent in chunks.
        """
        connection = self.connect()
        image = self.create(connection)
        connection.putrequest("PUT", f"/v2/images/{image}/file")
        for name, value in {"Content-Type": "application/octet-stream", **self.headers}.items():
            connection.putheader(name, value)
        if known:
            connection.putheader("Content-Length", str(payload.stat().st_size))
        else:
            connection.putheader("Transfer-Encoding", "chunked")
        connection.endheaders()
        with payload.open("rb") as file:
            if known:
                connection.sock.sendfile(file)
            else:
                _send_in_chunks(connection.sock, file)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        if answer.status != 204:
            raise RuntimeError(f"{self.name}: upload answered {answer.status} {content!r}")
        self.uploads.append(image)
        return image

    def download(self, path: str, size: int) -> None:
        """Read ``size`` bytes from a path and throw them away. Raises RuntimeError when another number comes."""
        connection = self.connect()
        connection.request("GET", path, headers=self.headers)
        answer = connection.getresponse()
        buffer, count = bytearray(4 * MIB), 0
        while read := answer.readinto(buffer):
            count += read
        connection.close()
        if answer.status != 200 or count != size:
            raise RuntimeError(f"{self.name}: {answer.status} and {count} bytes came")

    def first_byte(self, path: str, offset: int) -> None:
        """Read one byte of a range that begins at ``offset``."""
        connection = self.connect()
        connection.request("GET", path, headers={"Range": f"bytes={offset}-", **self.headers})
        answer = connection.getresponse()
        if answer.status != 206 or not answer.read(1):
            raise RuntimeError(f"{self.name}: a range answered {answer.status}")
        connection.close()

    def wrk(self, path: str, seconds: int, connections: int) -> tuple[int, float]:
        """Ask for a path again and again; return the number of answers and how many came in a second."""
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}", "--timeout", "30", self.url + path]
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        count, rate = re.search(r"(\d+) requests in", output), re.search(r"Requests/sec:\s+([\d.]+)", output)
        if "Non-2xx" in output or "Socket errors" in output or count is None or rate is None:
            raise RuntimeError(f"{self.name}: {path}: {output}")
        return int(count[1]), float(rate[1])


def _send_in_chunks(connection: socket.socket, file: BinaryIO) -> None:
    # The frame of a chunk leaves with its data, as the libraries of clients send it, not in packets of its own.
    end = b""
    while size := min(MIB, os.fstat(file.fileno()).st_size - file.tell()):
        connection.sendall(b"%b%x\r\n" % (end, size), socket.MSG_MORE)
        connection.sendfile(file, file.tell(), size)
        end = b"\r\n"
    connection.sendall(end + b"0\r\n\r\n")


def write_payload(path: Path, size: int) -> Path:
    """Write a file of ``size`` random MiB and return its path."""
    with path.open("wb") as file:
        for _ in range(size):
            file.write(os.urandom(MIB))
    return path


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
