"""Sends nudges to the scrubbers from a thread of its own, so that no request ever waits for the broker (I9)."""

import logging
import threading
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from kombu.connection import Connection
from kombu.messaging import Producer

from glance_common.delete_queue.broker import (
    BROKER_ERRORS,
    DELETE_QUEUE,
    EXCHANGE,
    Backoff,
    connected,
    describe,
    parse_broker,
)
from glance_common.delete_queue.message import CONTENT_TYPE, Nudge, encode
from glance_common.log import working_for

LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Waiting:
    nudge: Nudge
    since: float


class DeletePublisher:
    """The sending end of the delete queue, one in each process.

    Start it after the fork: threads and connections do not survive one. ``limit`` bounds the nudges that wait, and
    after ``max_age`` seconds a nudge is dropped: by then a sweep has found its row or soon will.
    """

    def __init__(self, transport_url: str, *, limit: int = 10_000, max_age: float = 300.0) -> None:
        """Read the option ``transport_url``; raises ConfigError."""
        self._broker = parse_broker(transport_url)
        self._limit = limit
        self._max_age = max_age
        self._waiting: deque[_Waiting] = deque()
        self._changed = threading.Condition()
        self._stop_at: float | None = None
        self._thread: threading.Thread | None = None
        self._in_trouble = False
        self.dropped = 0
        """Nudges given up because too many waited or the broker was away for too long."""

    def start(self) -> None:
        """Start the thread."""
        self._thread = threading.Thread(target=self._run, name="delete-publisher", daemon=True)
        self._thread.start()

    def publish(self, location_ids: Iterable[str], request_id: str | None) -> None:
        """Hand over locations that are due now. Never waits and never raises; the oldest go when there is no room."""
        now = time.monotonic()
        with self._changed:
            for location in location_ids:
                if len(self._waiting) >= self._limit:
                    self._drop_oldest("too many wait for the broker")
                self._waiting.append(_Waiting(Nudge(location, request_id), now))
            self._changed.notify()

    def stop(self, timeout: float = 5.0) -> None:
        """Send what waits, for at most ``timeout`` seconds, and end; the rest is left to the sweep."""
        with self._changed:
            self._stop_at = time.monotonic() + timeout
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(timeout)

    def _run(self) -> None:
        backoff = Backoff()
        while self._next() is not None:
            try:
                with connected(self._broker) as connection:
                    self._send_all(connection, backoff)
            except Exception as error:
                pause = backoff.next()
                self._report(error, pause)
                with self._changed:
                    self._changed.wait_for(self._is_stopping, timeout=pause)
                if self._is_stopping():
                    return

    def _send_all(self, connection: Connection, backoff: Backoff) -> None:
        """Send until the process ends or the connection breaks."""
        producer = Producer(connection.default_channel)
        while (waiting := self._next()) is not None:
            producer.publish(
                encode(waiting.nudge), exchange=EXCHANGE.name, routing_key=DELETE_QUEUE.routing_key,
                content_type=CONTENT_TYPE, content_encoding="utf-8", delivery_mode="persistent", retry=False,
            )
            with working_for(waiting.nudge.request_id):
                LOG.debug("location %s is announced to the scrubbers", waiting.nudge.location)
            with self._changed:
                # Unless it was dropped in the meantime.
                if self._waiting and self._waiting[0] is waiting:
                    self._waiting.popleft()
            backoff.reset()
            if self._in_trouble:
                self._in_trouble = False
                LOG.info("the delete queue at %s works again; dropped so far: %d", self._broker.name, self.dropped)

    def _next(self) -> _Waiting | None:
        """Wait for the oldest nudge and return it, still waiting; None at the end."""
        with self._changed:
            while True:
                while self._waiting and time.monotonic() - self._waiting[0].since > self._max_age:
                    self._drop_oldest(f"the broker was away for more than {self._max_age:g} s")
                if self._stop_at is not None and (not self._waiting or time.monotonic() >= self._stop_at):
                    return None
                if self._waiting:
                    return self._waiting[0]
                self._changed.wait()

    def _drop_oldest(self, reason: str) -> None:
        self._waiting.popleft()
        if self.dropped == 0:
            LOG.warning("announcements of deletions are dropped, the scrubbers' sweep finds the rows: %s", reason)
        self.dropped += 1

    def _is_stopping(self) -> bool:
        return self._stop_at is not None

    def _report(self, error: Exception, pause: float) -> None:
        """Log the first error of an outage, the others only for debugging."""
        if not isinstance(error, BROKER_ERRORS):
            LOG.exception("the delete queue at %s cannot be used", self._broker.name)
            return
        level = logging.DEBUG if self._in_trouble else logging.WARNING
        self._in_trouble = True
        LOG.log(level, "the delete queue at %s: %s; next try in %.1f s", self._broker.name, describe(error), pause)
