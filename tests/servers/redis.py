"""A Redis of our own: Debian's program, without files, on a free loopback port."""

import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy.local import processes

PACKAGE = "redis-server"


@contextmanager
def running(folder: Path) -> Iterator[str]:
    """Start a server, yield its URL, stop it."""
    program = shutil.which("redis-server")
    assert program, f"redis-server is missing: apt-get install {PACKAGE}"
    port = processes.free_port()
    server = subprocess.Popen(
        [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)],
        stdout=subprocess.DEVNULL,
    )
    try:
        processes.wait_until(
            lambda: _answers(port), what=PACKAGE, process=server, log=folder / "none", seconds=60
        )
        yield f"redis://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(60)


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), 1) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(7) == b"+PONG\r\n"
    except OSError:
        return False
