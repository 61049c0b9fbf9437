"""Connections whose last answer was sent: the client has a moment to read it before the connection is closed."""

import selectors
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from glance_common.server.connection import Connection

LINGER_SECONDS = 2.0


class Lingering:
    """Waits for the clients' ends in the main thread; ``drop`` closes a connection."""

    def __init__(self, poller: selectors.BaseSelector, drop: Callable[[Connection], None]) -> None:
        self._poller = poller
        self._drop = drop
        self._conns: deque[Connection] = deque()

    def add(self, conn: Connection) -> None:
        """Send the end of the stream and wait for the client's; a client that is gone already is dropped."""
        if not conn.half_close():
            self._drop(conn)
            return
        conn.timeout = time.monotonic() + LINGER_SECONDS
        self._conns.append(conn)
        self._poller.register(conn.sock, selectors.EVENT_READ, partial(self._on_readable, conn))

    def sweep(self) -> None:
        """Drop those whose time is over."""
        while self._conns and self._conns[0].timeout <= time.monotonic():
            self.drop_oldest()

    def drop_oldest(self) -> bool:
        """Drop the one that has been here for the longest time; tell whether there was one."""
        if not self._conns:
            return False
        conn = self._conns.popleft()
        self._poller.unregister(conn.sock)
        self._drop(conn)
        return True

    def _on_readable(self, conn: Connection, sock: Any) -> None:
        if not conn.discard():
            self._conns.remove(conn)
            self._poller.unregister(sock)
            self._drop(conn)
