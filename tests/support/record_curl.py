"""Record what curl sends: a listener on loopback keeps the bytes of each request (``tests/e2e/recorded/README.md``)."""

import re
import shlex
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

HOST = "glance.example"


def split(request: bytes) -> tuple[bytes, bytes]:
    """Return the head of a request, with the empty line at its end, and the body."""
    head, end, body = request.partition(b"\r\n\r\n")
    return head + end, body


def record(folder: Path) -> None:
    """Run each line of ``commands`` in ``folder``, and write what came into ``<name>.http`` there."""
    for old in folder.glob("*.http"):
        old.unlink()
    for line in (folder / "commands").read_text().splitlines():
        name, _, arguments = line.partition(": ")
        (folder / f"{name}.http").write_bytes(_requested(shlex.split(arguments)))


def _requested(arguments: list[str]) -> bytes:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)
        to_us = f"{HOST}:80:127.0.0.1:{listener.getsockname()[1]}"
        command = ["curl", "--silent", "--show-error", "--connect-to", to_us, *arguments]
        with tempfile.TemporaryFile() as piped:
            piped.write(b"piped\n")
            piped.seek(0)
            curl = subprocess.Popen(command, stdin=piped, stdout=subprocess.DEVNULL)
        with listener.accept()[0] as connection:
            request = _read(connection)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        if curl.wait(10):
            raise subprocess.CalledProcessError(curl.returncode, command)
    return request


def _read(connection: socket.socket) -> bytes:
    connection.settimeout(10)
    request = bytearray()
    while b"\r\n\r\n" not in request:
        request += connection.recv(65536)
    if b"\r\nExpect: 100-continue\r\n" in request:
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
    while not _is_whole(bytes(request)):
        request += connection.recv(65536)
    return bytes(request)


def _is_whole(request: bytes) -> bool:
    head, body = split(request)
    if b"\r\nTransfer-Encoding: chunked" in head:
        return body.endswith(b"0\r\n\r\n")
    length = re.search(rb"\r\nContent-Length: (\d+)", head)
    return length is None or len(body) == int(length[1])


if __name__ == "__main__":
    record(Path(sys.argv[1]))
