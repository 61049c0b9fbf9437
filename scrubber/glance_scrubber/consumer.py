"""The receiving end of the delete queue: one message at a time, answered when the registry knows how it ended."""

import logging
import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from uuid import uuid4

from kombu.connection import Connection
from kombu.message import Message
from kombu.messaging import Consumer, Producer

from glance_common.delete_queue.broker import DEAD_QUEUE, DELETE_QUEUE, EXCHANGE, connected
from glance_common.delete_queue.message import BadMessage, Nudge, decode
from glance_common.messaging.connection import BROKER_ERRORS, Broker, describe
from glance_common.model.errors import GlanceError
from glance_common.purge import Outcome
from glance_common.retry import Backoff
from glance_scrubber.scrub import Scrubber

LOG = logging.getLogger(__name__)


class QueueConsumer:
    """Consumes in the calling thread, over a connection of its own; several threads may do so side by side.

    The thread is busy while it removes bytes, so no heartbeats are sent: the kernel's keepalive watches the connection.
    """

    def __init__(self, broker: Broker, scrubber: Scrubber, stop: threading.Event) -> None:
        self._broker = broker
        self._scrubber = scrubber
        self._stop = stop

    def run(self) -> None:
        """Work until ``stop`` is set, whatever happens to the broker; the message in hand is finished."""
        backoff = Backoff()
        while not self._stop.is_set():
            try:
                with connected(self._broker) as connection:
                    backoff.reset()
                    self._consume(connection)
            except Exception as error:
                pause = backoff.next()
                if isinstance(error, BROKER_ERRORS):
                    LOG.warning(
                        "the delete queue at %s: %s; the sweep works on, next try in %.1f s",
                        self._broker.name, describe(error), pause,
                    )
                else:
                    LOG.exception("the delete queue at %s cannot be used", self._broker.name)
                self._stop.wait(pause)

    def _consume(self, connection: Connection) -> None:
        received: deque[Message] = deque()
        consumer = Consumer(
            connection.default_channel, [DELETE_QUEUE], prefetch_count=1, auto_declare=False,
            on_message=received.append,
            # A body that the library itself cannot unpack is parked like any other that cannot be read.
            on_decode_error=lambda message, _: received.append(message),
        )
        with consumer:
            while not self._stop.is_set():
                try:
                    connection.drain_events(timeout=1.0)
                except TimeoutError as error:
                    if error.errno is not None:
                        # Not our own limit of one second: the kernel closed the connection.
                        raise
                while received:
                    self._handle(connection, received.popleft())

    def _handle(self, connection: Connection, message: Message) -> None:
        nudge = readable(connection, message)
        if nudge is None or self._scrub(nudge):
            message.ack()

    def _scrub(self, nudge: Nudge) -> bool:
        """Remove what the message names, for as long as the registry needs to come back.

        Returns False when the stop came first; the message then goes back to the queue with the connection.
        """
        token, backoff = str(uuid4()), Backoff(first=1.0)
        while True:
            try:
                return _is_settled(self._scrubber, nudge, token)
            except GlanceError as error:
                pause = backoff.next()
                LOG.warning("the registry: %s; location %s waits for %.1f s", error, nudge.location, pause)
                if self._stop.wait(pause):
                    return False


def drain(broker: Broker, scrubber: Scrubber, stop: threading.Event) -> None:
    """Work the messages that are in the queue now and wait for no more.

    Raises one of BROKER_ERRORS, and GlanceError when the registry cannot be asked; what was not finished stays queued.
    """
    size = scrubber.settings.pool_size

    def work(nudge: Nudge | None) -> bool:
        return nudge is None or _is_settled(scrubber, nudge, str(uuid4()))

    with connected(broker) as connection, ThreadPoolExecutor(size) as pool:
        waiting = DELETE_QUEUE(connection.default_channel).queue_declare(passive=True).message_count
        while waiting > 0 and not stop.is_set():
            batch = list(islice(_messages(connection), min(waiting, size)))
            if not batch:
                return
            waiting -= len(batch)
            nudges = [readable(connection, message) for message in batch]
            for message, settled in zip(batch, pool.map(work, nudges), strict=True):
                if settled:
                    message.ack()


def _messages(connection: Connection) -> Iterator[Message]:
    """Yield what is in the queue, until it is empty."""
    channel = connection.default_channel
    while (message := channel.basic_get(DELETE_QUEUE.name)) is not None:
        yield channel.message_to_python(message)


def _is_settled(scrubber: Scrubber, nudge: Nudge, token: str) -> bool:
    """Remove what the message names and return whether the message is finished. Raises GlanceError when the registry
    cannot be asked."""
    try:
        return scrubber.scrub(nudge.location, token, request_id=nudge.request_id).outcome is not Outcome.STOPPED
    except GlanceError:
        raise
    except Exception:
        # A defect must not stop the queue. The row is still there and the sweep will meet it.
        LOG.exception("location %s could not be scrubbed", nudge.location)
        return True


def readable(connection: Connection, message: Message) -> Nudge | None:
    """Return what the message says; one that cannot be read is parked in the dead queue, and None returned.

    When that fails the broker delivers it again; then it is only logged, so that it cannot stop the queue.
    """
    body = message.body.encode("utf-8", "surrogateescape") if isinstance(message.body, str) else bytes(message.body)
    try:
        return decode(body)
    except BadMessage as error:
        if message.delivery_info.get("redelivered"):
            LOG.error("a message of the delete queue is dropped: %s; it begins with %r", error, body[:100])
        else:
            LOG.error("a message of the delete queue goes to %s: %s", DEAD_QUEUE.name, error)
            _park(connection, body, str(error))
        return None


def _park(connection: Connection, body: bytes, reason: str) -> None:
    DEAD_QUEUE(connection.default_channel).declare()
    Producer(connection.default_channel).publish(
        body, exchange=EXCHANGE.name, routing_key=DEAD_QUEUE.routing_key, retry=False,
        content_type="application/octet-stream", content_encoding="binary",
        delivery_mode="persistent", headers={"reason": reason},
    )
