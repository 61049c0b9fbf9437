"""A way to a server that bounds the speed of each answer and counts what is read: a store behind a slow network."""

import multiprocessing
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from deploy.local import processes

PIECE = 256 * 1024


@dataclass(frozen=True)
class Counts:
    """What passed since the last reset: answers to GET of an object, and their bytes with their headers."""

    gets: Any = field(default_factory=lambda: multiprocessing.Value("q"))
    size: Any = field(default_factory=lambda: multiprocessing.Value("q"))

    def reset(self) -> None:
        """Begin anew."""
        for number in (self.gets, self.size):
            with number.get_lock():
                number.value = 0

    def add(self, gets: int, size: int) -> None:
        """Count."""
        for number, more in ((self.gets, gets), (self.size, size)):
            with number.get_lock():
                number.value += more


class _Connection:
    """One client's connection and the one to the server; ``is_get``: the answer that comes is counted and slow."""

    def __init__(self, client: socket.socket, server: socket.socket, rate: int, counts: Counts) -> None:
        self._client, self._server = client, server
        self._rate = rate
        self._counts = counts
        self._is_get = False
        self._begun, self._passed = 0.0, 0

    def start(self) -> None:
        for work in (self._requests, self._answers):
            threading.Thread(target=work, daemon=True).start()

    def _requests(self) -> None:
        with suppress(OSError):
            while data := self._client.recv(PIECE):
                self._is_get = data.startswith(b"GET ") and data.split(b" ", 2)[1].count(b"/") > 1
                if self._is_get:
                    self._counts.add(1, 0)
                    self._begun, self._passed = time.monotonic(), 0
                self._server.sendall(data)
        with suppress(OSError):
            self._server.shutdown(socket.SHUT_WR)

    def _answers(self) -> None:
        buffer = memoryview(bytearray(PIECE))
        with suppress(OSError):
            while count := self._server.recv_into(buffer):
                self._client.sendall(buffer[:count])
                if self._is_get:
                    self._counts.add(0, count)
                    self._passed += count
                    time.sleep(max(self._begun + self._passed / self._rate - time.monotonic(), 0))
        for each in (self._client, self._server):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()


@contextmanager
def slow(target: int, rate: int) -> Iterator[tuple[int, Counts]]:
    """Pass connections on to the port ``target``, each answer with ``rate`` bytes a second.

    Give the port to connect to, and the counts. It is a process of its own, so that its work is no client's.
    """
    counts = Counts()
    with socket.create_server((processes.LOOPBACK, 0), backlog=512) as listener:
        process = multiprocessing.Process(target=_serve, args=(listener, target, rate, counts), daemon=True)
        process.start()
        try:
            yield int(listener.getsockname()[1]), counts
        finally:
            process.kill()
            process.join()


def _serve(listener: socket.socket, target: int, rate: int, counts: Counts) -> None:
    while True:
        client, _ = listener.accept()
        _Connection(client, socket.create_connection((processes.LOOPBACK, target)), rate, counts).start()
