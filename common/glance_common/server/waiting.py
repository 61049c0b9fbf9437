"""The connections whose request is not complete, or whose answer is not taken. They need no thread, only some memory.

When places or memory run out, the oldest slow connection leaves first.
"""

import logging
import selectors
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from glance_common.server.arrival import Arrival, ArrivingConnection
from glance_common.server.intake import RequestRefused

log = logging.getLogger(__name__)

MOST_HELD = 128 * 1024 * 1024
"""Bytes of incomplete requests, of complete ones that have no thread yet, and of answers, in one worker."""
_SWEEP_SECONDS = 0.25
_COUNTED = 64 * 1024
"""A request that is complete at once and smaller than this is not worth counting."""

TOO_SLOW = RequestRefused("408 Request Timeout", "the request did not come in time (header_timeout, document_timeout)")
NOT_TAKEN = RequestRefused("408 Request Timeout", "the answer was not taken in time (min_transfer_rate)")
NO_ROOM = RequestRefused("503 Service Unavailable", "too many clients are slow, and this was one of the oldest")


class WaitingRoom:
    """Collects requests in the main thread and tells ``on_end`` what became of each connection that leaves.

    ``on_end`` gets the connection with Arrival.REQUEST, with Arrival.MORE when nothing of a next request has come yet,
    or with Arrival.END.
    """

    def __init__(self, poller: selectors.BaseSelector, on_end: Callable[[Any, Arrival], None]) -> None:
        self._poller = poller
        self._on_end = on_end
        self._waiting: dict[ArrivingConnection, None] = {}
        self._held: dict[ArrivingConnection, int] = {}
        self._total = 0
        self._next_sweep = 0.0

    def enter(self, conn: ArrivingConnection) -> None:
        """Take what has come on a connection that is not in the poller, and have it wait here for the rest."""
        self._go_on(conn, self._proceed(conn))

    def wait(self, conn: ArrivingConnection) -> None:
        """Have a connection wait for its client."""
        self._waiting[conn] = None
        event = selectors.EVENT_WRITE if conn.is_sending else selectors.EVENT_READ
        self._poller.register(conn.sock, event, partial(self._on_ready, conn))

    def release(self, conn: ArrivingConnection) -> None:
        """Forget the memory of a request, which has had its thread."""
        if self._held:
            self._total -= self._held.pop(conn, 0)

    def sweep(self) -> None:
        """Dismiss those whose time is over; cheap enough for each turn of the main loop."""
        now = time.monotonic()
        if self._waiting and now >= self._next_sweep:
            self._next_sweep = now + _SWEEP_SECONDS
            for conn in [conn for conn in self._waiting if conn.until <= now]:
                self._dismiss(conn, NOT_TAKEN if conn.is_sending else TOO_SLOW)

    def dismiss_oldest(self) -> bool:
        """Make room for another connection; tell whether there was one to dismiss."""
        for conn in self._waiting:
            self._dismiss(conn, NO_ROOM)
            return True
        return False

    def _on_ready(self, conn: ArrivingConnection, _sock: Any) -> None:
        if conn not in self._waiting:
            # Dismissed for another one, after the poller had reported both.
            return
        was_sending = conn.is_sending
        arrival = self._proceed(conn)
        if arrival is Arrival.MORE and not conn.is_idle and conn.is_sending is was_sending:
            return
        self._leave(conn)
        self._go_on(conn, arrival)

    def _go_on(self, conn: ArrivingConnection, arrival: Arrival) -> None:
        if arrival is Arrival.MORE and not conn.is_idle:
            self.wait(conn)
        else:
            self._on_end(conn, arrival)

    def _proceed(self, conn: ArrivingConnection) -> Arrival:
        try:
            arrival = conn.proceed()
        except RequestRefused as refusal:
            conn.reject(refusal)
            return Arrival.END
        held = conn.held
        if not held:
            self.release(conn)
        elif held > _COUNTED or conn in self._held:
            self._total += held - self._held.get(conn, 0)
            self._held[conn] = held
            if not self._has_room(conn):
                self._reject(conn, NO_ROOM)
                return Arrival.END
        return arrival

    def _has_room(self, conn: ArrivingConnection) -> bool:
        """Dismiss others until there is room; False when those do not hold it."""
        while self._total > MOST_HELD:
            oldest = next((other for other in self._waiting if other is not conn and other in self._held), None)
            if oldest is None:
                return False
            self._dismiss(oldest, NO_ROOM)
        return True

    def _leave(self, conn: ArrivingConnection) -> None:
        del self._waiting[conn]
        self._poller.unregister(conn.sock)

    def _dismiss(self, conn: ArrivingConnection, refusal: RequestRefused) -> None:
        self._leave(conn)
        self._reject(conn, refusal)
        self._on_end(conn, Arrival.END)

    def _reject(self, conn: ArrivingConnection, refusal: RequestRefused) -> None:
        log.info("Client %s is dismissed: %s", conn.client[0], refusal)
        conn.reject(refusal)
        self.release(conn)
