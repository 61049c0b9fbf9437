"""Servers that follow a script: the bad habits that a web server has no words for."""

import select
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

Script = Callable[[socket.socket], None]
"""Talks on one connection."""


class ScriptedPeer:
    """Listens on a loopback address and lets ``script`` talk on each connection, in a thread of its own.

    A script ends by returning or by the OSError of a connection that is gone; then the connection is closed.
    """

    def __init__(self, script: Script, host: str = "127.0.0.1") -> None:
        self._script = script
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listening = socket.create_server((host, 0), family=family)
        self._connections: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self.port = int(self._listening.getsockname()[1])
        self._accepting = threading.Thread(target=self._accept)
        self._accepting.start()

    @property
    def connections(self) -> int:
        """How many there have been."""
        return len(self._connections)

    def url(self, host: str = "127.0.0.1", scheme: str = "http") -> str:
        return f"{scheme}://{host}:{self.port}/x"

    def stop(self) -> None:
        """End it all; what still talks finds its connection closed."""
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._accepting.join()
        self._listening.close()
        for connection in self._connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listening.accept()
                self._connections.append(connection)
                thread = threading.Thread(target=self._talk, args=(connection,))
                self._threads.append(thread)
                thread.start()

    def _talk(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            self._script(connection)


@contextmanager
def scripted_peer(script: Script, host: str = "127.0.0.1") -> Iterator[ScriptedPeer]:
    """Let a scripted peer listen until the block ends."""
    peer = ScriptedPeer(script, host)
    try:
        yield peer
    finally:
        peer.stop()


def silent(connection: socket.socket) -> None:
    """Take what comes and never answer."""
    while connection.recv(65536):
        pass


def dripping(start: bytes, drop: bytes = b"a", pause: float = 0.02) -> Script:
    """Return a script that answers ``start`` and then a drop now and then, as long as the client reads."""

    def drip(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(start)
        while True:
            threading.Event().wait(pause)
            connection.sendall(drop)

    return drip


def deaf(connection: socket.socket) -> None:
    """Take nothing and never answer, until one of the two sides goes."""
    gone = select.poll()
    gone.register(connection, select.POLLRDHUP)
    gone.poll()


def flooding(start: bytes, drop: bytes) -> Script:
    """Return a script that answers ``start`` and then drops as fast as they are taken."""

    def flood(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(start)
        while True:
            connection.sendall(drop * 100)

    return flood


def secured(context: ssl.SSLContext, script: Script) -> Script:
    """Return the script behind TLS."""

    def talk(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as secure:
            script(secure)

    return talk
