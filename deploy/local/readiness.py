"""How a daemon that listens nowhere says that it works: the word systemd waits for with ``Type=notify``."""

from __future__ import annotations

import socket
from contextlib import suppress


class ReadySocket:
    """Hears ``READY=1`` from a program that was started with ``environment`` added to its own."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._socket.bind("")  # the kernel chooses a name that is in no folder
        self._heard = False

    @property
    def environment(self) -> dict[str, str]:
        """The variable that tells the program where to say it."""
        name: bytes = self._socket.getsockname()
        return {"NOTIFY_SOCKET": "@" + name[1:].decode()}

    def heard(self) -> bool:
        """Return whether the program has said that it is ready.

        Takes all that it has said: the kernel keeps only a few messages, and the sender of the next one has to wait.
        """
        with suppress(BlockingIOError):
            while True:
                self._heard |= b"READY=1" in self._socket.recv(4096).splitlines()
        return self._heard

    def close(self) -> None:
        """Listen no longer."""
        self._socket.close()
