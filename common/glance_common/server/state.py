"""What a worker process tells the application that it serves."""

import logging
import threading
from collections.abc import Callable

log = logging.getLogger(__name__)


class ServerState:
    """The worker's life as the application sees it; one per worker process, handed to the application factory.

    ``stopping`` is set when the service stops: new transfers are answered 503. (After a reload, old workers serve
    what reaches them without it.) ``aborting`` is set when the time for running transfers is over: their sockets
    are shut down, so that their next read or write raises ClientDisconnected. ``is_down`` tells whether the monitor
    has found something down without which the service can do nothing.
    """

    def __init__(self, is_down: Callable[[], bool] = lambda: False) -> None:
        self.is_down = is_down
        self.stopping = threading.Event()
        self.aborting = threading.Event()
        self._closers: list[Callable[[], None]] = []

    def at_stop(self, close: Callable[[], None]) -> None:
        """Have ``close`` called in the worker after its last request; the one registered last is called first."""
        self._closers.append(close)

    def close(self) -> None:
        """Call what ``at_stop`` registered, once; an error of one is logged and does not keep the others."""
        while self._closers:
            closer = self._closers.pop()
            try:
                closer()
            except Exception:
                log.exception("Stopping a part of the worker failed")
