"""A stand-in for a Sheepdog cluster, with a stand-in for its command ``dog``.

No distribution has Sheepdog any more. What is here does what was recorded on a real cluster; docs/stores/sheepdog.md
says how to run the tests on one.
"""

from __future__ import annotations

import shutil
import socketserver
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from tests.servers.vdis import Vdis

DOG = Path(__file__).with_name("dog")


class _Terminal:
    """The terminal that a run of the program ``dog`` is."""

    def __init__(self, reader: BinaryIO, writer: BinaryIO) -> None:
        self._reader = reader
        self._writer = writer

    def stdin(self, most: int) -> bytes:
        self._writer.write(b"stdin %d\n" % most)
        line = self._reader.readline()
        if not line:
            raise ConnectionError("the program is gone")
        return self._reader.read(int(line))

    def out(self, data: bytes) -> None:
        self._writer.write(b"stdout %d\n" % len(data) + data)

    def err(self, text: str) -> None:
        self._writer.write(b"stderr %d\n" % len(text.encode()) + text.encode())

    def end(self, code: int) -> None:
        self._writer.write(b"exit %d\n" % code)


class Sheepdog:
    """One cluster. ``hanging`` and ``garbage`` hold commands, for example ``vdi list``, with these faults."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.vdis = Vdis(folder)
        self.hanging: set[str] = set()
        self.garbage: dict[str, bytes] = {}
        self.seen: list[Sequence[str]] = []
        """The words of all commands so far."""
        self.running: set[object] = set()
        """The runs of ``dog`` that the cluster serves now."""
        self._over = threading.Event()
        cluster = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                cluster.running.add(self)
                try:
                    with suppress(ConnectionError):
                        cluster._serve(self.rfile, self.wfile)  # type: ignore[arg-type]  # files of bytes
                finally:
                    cluster.running.discard(self)

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            allow_reuse_address = True
            request_queue_size = 100

        self._server = Server(("127.0.0.1", 0), Handler)
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def _serve(self, reader: BinaryIO, writer: BinaryIO) -> None:
        line = reader.readline()
        if not line:
            return
        words = line[:-1].decode().split("\0")
        self.seen.append(words)
        command = " ".join(words[:2])
        terminal = _Terminal(reader, writer)
        if command in self.hanging:
            self._over.wait()
        elif command in self.garbage:
            terminal.out(self.garbage[command])
            terminal.end(0)
        else:
            terminal.end(self.vdis.run(words, terminal))

    def names(self) -> list[str]:
        """Return the names of all VDIs and snapshots."""
        return [vdi.name for vdi in self.vdis.all]

    def close(self) -> None:
        """End the server."""
        self._over.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def install_dog(folder: Path, name: str = "dog") -> Path:
    """Put the program into the folder and return its path. One of the name ``dog-of-a-user`` refuses to work."""
    target = folder / name
    # Without the site packages, it starts in a fraction of the time.
    target.write_text(DOG.read_text().replace("/usr/bin/env python3", f"{sys.executable} -IS", 1))
    shutil.copymode(DOG, target)
    return target


@contextmanager
def running(folder: Path) -> Iterator[Sheepdog]:
    """Give a cluster, ended at the end."""
    cluster = Sheepdog(folder)
    try:
        yield cluster
    finally:
        cluster.close()


