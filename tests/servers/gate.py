"""A way to a server that a test can shut: from then on the server seems to hang, on old connections and new ones."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress

from deploy.local import processes


class Gate:
    """Passes connections on to ``target`` on the loopback address while it is open."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._open = threading.Event()
        self._open.set()
        self._ended = False
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server((processes.LOOPBACK, 0), backlog=256)
        self.port = int(self._listener.getsockname()[1])
        self._run(self._accept)

    def shut(self) -> None:
        """Let nothing through any more. Connections are taken still, as by a server that hangs."""
        self._open.clear()

    def reopen(self) -> None:
        """Let everything through again, also what waited."""
        self._open.set()

    def close(self) -> None:
        """End all connections."""
        self._ended = True
        self._open.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._threads[0].join()
        for each in self._sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for each in [self._listener, *self._sockets]:
            each.close()

    def _run(self, work: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with suppress(OSError):
            while not self._ended:
                client, _ = self._listener.accept()
                self._sockets.append(client)
                try:
                    server = socket.create_connection((processes.LOOPBACK, self._target))
                except OSError:
                    # Nothing listens there at the moment; the client may be gone as well.
                    with suppress(OSError):
                        client.shutdown(socket.SHUT_RDWR)
                    continue
                self._sockets.append(server)
                self._run(self._copy, client, server)
                self._run(self._copy, server, client)

    def _copy(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while (data := source.recv(65536)) and not self._ended:
                self._open.wait()
                sink.sendall(data)
        for each in (source, sink):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
