"""Messages on their way to the broker, sent by a thread of its own, so that no request ever waits for one (I9)."""

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from kombu.connection import Connection
from kombu.messaging import Producer

from glance_common.messaging.connection import BROKER_ERRORS, describe
from glance_common.observability.log_context import working_for
from glance_common.observability.metrics.catalog import OUTBOX, OUTBOX_DROPPED
from glance_common.retry import Backoff

LOG = logging.getLogger(__name__)

CONTENT_TYPE = "application/json"

MAX_BODY = 8 * 1024 * 1024
"""Bytes. A broker refuses what is larger than its own limit each time, and all others would wait behind it."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message, encoded: where it goes, and what the log says of it (``about``, and for which request)."""

    body: bytes
    exchange: str
    routing_key: str
    about: str
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class OutboxLimits:
    """How much may wait: messages, bytes of their bodies, seconds, and failed tries to send the first one.

    Messages beyond these limits are dropped, the oldest first.
    """

    messages: int = 10_000
    bytes: int = 64 * 1024 * 1024
    age: float = math.inf
    tries: float = math.inf


@dataclass(slots=True)
class _Waiting:
    message: Message
    since: float = field(default_factory=time.monotonic)
    failures: int = 0


class Outbox:
    """The sending end towards one broker, one in each process. Start it after the fork: threads do not survive one.

    ``connect`` gives a connection on which everything that is published to exists; ``name`` is for the log, ``queue``
    for the metrics.
    """

    def __init__(
        self, name: str, connect: Callable[[], AbstractContextManager[Connection]], limits: OutboxLimits, *, queue: str
    ) -> None:
        self._name = name
        self._queue = queue
        self._connect = connect
        self._limits = limits
        self._waiting: deque[_Waiting] = deque()
        self._bytes = 0
        self._changed = threading.Condition()
        self._stop_at: float | None = None
        self._thread: threading.Thread | None = None
        self._in_trouble = False
        self._told_dropping = False
        self.dropped = 0
        """Messages given up, since the start."""

    def start(self) -> None:
        """Start the thread."""
        self._thread = threading.Thread(target=self._run, name="outbox", daemon=True)
        self._thread.start()

    def put(self, message: Message) -> None:
        """Hand over a message. Never waits and never raises; the oldest ones go when there is no room."""
        with self._changed:
            if len(message.body) > MAX_BODY:
                self._count_dropped(f"{message.about} has more than {MAX_BODY} bytes")
                return
            self._waiting.append(_Waiting(message))
            OUTBOX.labels(self._queue).inc()
            self._bytes += len(message.body)
            while len(self._waiting) > self._limits.messages or self._bytes > self._limits.bytes:
                self._drop_oldest("too many wait for the broker")
            self._changed.notify()

    def stop(self, timeout: float = 5.0) -> None:
        """Send what waits, for at most ``timeout`` seconds, and end; the rest is dropped."""
        with self._changed:
            self._stop_at = time.monotonic() + timeout
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(timeout)

    def _run(self) -> None:
        backoff = Backoff()
        while (waiting := self._next()) is not None:
            try:
                with self._connect() as connection:
                    self._send_all(connection, backoff)
            except Exception as error:
                pause = backoff.next()
                self._report(error, pause)
                self._count_failure(waiting)
                with self._changed:
                    self._changed.wait_for(self._is_stopping, timeout=pause)
                if self._is_stopping():
                    return

    def _send_all(self, connection: Connection, backoff: Backoff) -> None:
        """Send until the process ends or the connection breaks."""
        producer = Producer(connection.default_channel)
        while (waiting := self._next()) is not None:
            message = waiting.message
            producer.publish(
                message.body, exchange=message.exchange, routing_key=message.routing_key,
                content_type=CONTENT_TYPE, content_encoding="utf-8", delivery_mode="persistent", retry=False,
            )
            with working_for(message.request_id):
                LOG.debug("%s was sent to %s", message.about, self._name)
            with self._changed:
                # Unless it was dropped in the meantime.
                if self._waiting and self._waiting[0] is waiting:
                    self._take_oldest()
            backoff.reset()
            self._told_dropping = False
            if self._in_trouble:
                self._in_trouble = False
                LOG.info("%s works again; dropped so far: %d", self._name, self.dropped)

    def _next(self) -> _Waiting | None:
        """Wait for the oldest message and return it, still waiting; None at the end."""
        with self._changed:
            while True:
                while self._waiting and time.monotonic() - self._waiting[0].since > self._limits.age:
                    self._drop_oldest(f"the broker was away for more than {self._limits.age:g} s")
                if self._stop_at is not None and (not self._waiting or time.monotonic() >= self._stop_at):
                    return None
                if self._waiting:
                    return self._waiting[0]
                self._changed.wait()

    def _count_failure(self, waiting: _Waiting) -> None:
        with self._changed:
            waiting.failures += 1
            if waiting.failures >= self._limits.tries and self._waiting and self._waiting[0] is waiting:
                self._drop_oldest(f"{waiting.failures} tries failed")

    def _take_oldest(self) -> None:
        OUTBOX.labels(self._queue).dec()
        self._bytes -= len(self._waiting.popleft().message.body)

    def _drop_oldest(self, reason: str) -> None:
        self._take_oldest()
        self._count_dropped(reason)

    def _count_dropped(self, reason: str) -> None:
        # One line an outage: the end of it tells how many they were.
        if not self._told_dropping:
            LOG.warning("messages for %s are dropped: %s", self._name, reason)
        self._told_dropping = True
        self.dropped += 1
        OUTBOX_DROPPED.labels(self._queue).inc()

    def _is_stopping(self) -> bool:
        return self._stop_at is not None

    def _report(self, error: Exception, pause: float) -> None:
        """Log the first error of an outage, the others only for debugging."""
        if not isinstance(error, BROKER_ERRORS):
            LOG.exception("%s cannot be used", self._name)
            return
        level = logging.DEBUG if self._in_trouble else logging.WARNING
        self._in_trouble = True
        LOG.log(level, "%s: %s; next try in %.1f s", self._name, describe(error), pause)
