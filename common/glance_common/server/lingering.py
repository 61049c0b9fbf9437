"""Connections whose last answer was sent: the client has a moment to read it before the connection is closed.

Many clients send all of a body before they read. A refused upload of any size must not lose its answer, so what bounds
the wait is time, not bytes.
"""

import selectors
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from glance_common.server.connection import Connection

QUIET_SECONDS = 2.0
"""How long a client may send nothing."""
LINGER_SECONDS = 60.0
"""How long a client may go on sending."""
_SWEEP_SECONDS = 0.25


class Lingering:
    """Waits for the clients' ends in the main thread; ``drop`` closes a connection."""

    def __init__(self, poller: selectors.BaseSelector, drop: Callable[[Connection], None]) -> None:
        self._poller = poller
        self._drop = drop
        self._until: dict[Connection, float] = {}
        self._next_sweep = 0.0

    def add(self, conn: Connection) -> None:
        """Send the end of the stream and wait for the client's; a client that is gone already is dropped."""
        if not conn.half_close():
            self._drop(conn)
            return
        now = time.monotonic()
        conn.timeout = now + QUIET_SECONDS
        self._until[conn] = now + LINGER_SECONDS
        self._poller.register(conn.sock, selectors.EVENT_READ, partial(self._on_readable, conn))

    def hurry(self) -> None:
        """Let no client go on sending: the server stops."""
        limit = time.monotonic() + QUIET_SECONDS
        self._until = {conn: min(until, limit) for conn, until in self._until.items()}

    def sweep(self) -> None:
        """Drop those whose time is over; cheap enough for each turn of the main loop."""
        now = time.monotonic()
        if self._until and now >= self._next_sweep:
            self._next_sweep = now + _SWEEP_SECONDS
            for conn in [conn for conn, until in self._until.items() if min(conn.timeout, until) <= now]:
                self._leave(conn)

    def drop_oldest(self) -> bool:
        """Drop the one that has been here for the longest time; tell whether there was one."""
        for conn in self._until:
            self._leave(conn)
            return True
        return False

    def _on_readable(self, conn: Connection, _sock: Any) -> None:
        if conn not in self._until:
            # Dropped for another one, after the poller had reported both.
            return
        if conn.discard():
            conn.timeout = time.monotonic() + QUIET_SECONDS
        else:
            self._leave(conn)

    def _leave(self, conn: Connection) -> None:
        del self._until[conn]
        self._poller.unregister(conn.sock)
        self._drop(conn)
