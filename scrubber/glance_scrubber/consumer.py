"""The receiving end of the delete queue: each message is answered when the registry knows how its purge ended."""

import logging
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
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
from glance_scrubber.batch import LONGEST, MOST
from glance_scrubber.scrub import Result, Scrubber

LOG = logging.getLogger(__name__)

MOMENT = 0.003
"""Seconds to wait for one more message to purge together with those that are there."""


class QueueConsumer:
    """Consumes in the calling thread, over a connection of its own; several threads may do so side by side.

    The thread is busy while it removes bytes, so no heartbeats are sent: the kernel's keepalive watches the connection.
    """

    def __init__(self, broker: Broker, scrubber: Scrubber, stop: threading.Event) -> None:
        self._broker = broker
        self._scrubber = scrubber
        self._stop = stop

    def run(self) -> None:
        """Work until ``stop`` is set, whatever happens to the broker; the purge in hand is finished."""
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
        """Take as many messages at a time as are purged together, and fewer when the purges take long: what this
        process has in hand, no other can work."""
        most = MOST
        received: deque[Message] = deque()
        while not self._stop.is_set():
            consumer = Consumer(
                connection.default_channel, [DELETE_QUEUE], prefetch_count=most, auto_declare=False,
                on_message=received.append,
                # A body that the library itself cannot unpack is parked like any other that cannot be read.
                on_decode_error=lambda message, _: received.append(message),
            )
            with consumer:
                taken = most
                while taken == most and not self._stop.is_set():
                    batch = self._received(connection, received, most)
                    taken = self._handle(connection, batch, most) if batch else most
            most = taken
            while received and not self._stop.is_set():
                received.popleft().requeue()

    def _received(self, connection: Connection, received: deque[Message], most: int) -> list[Message]:
        """Wait a second for a message and a moment for each further one; return at most so many."""
        wait = MOMENT if received else 1.0
        while len(received) < most and not self._stop.is_set():
            try:
                connection.drain_events(timeout=wait)
            except TimeoutError as error:
                if error.errno is not None:
                    # Not our own limit: the kernel closed the connection.
                    raise
                break
            wait = MOMENT
        return [received.popleft() for _ in range(min(len(received), most))]

    def _handle(self, connection: Connection, batch: Sequence[Message], most: int) -> int:
        """Work the messages and answer them; return how many to take at a time from now on."""
        began = time.monotonic()
        nudges = _nudges(connection, batch)
        results = self._scrub(nudges)
        for message, nudge in nudges:
            _answer(message, results[nudge.location])
        seconds = time.monotonic() - began
        if any(result.is_left for result in results.values()):
            return 1
        return min(2 * most, MOST) if len(batch) == most and seconds < LONGEST / 2 else most

    def _scrub(self, nudges: Sequence[tuple[Message, Nudge]]) -> dict[str, Result]:
        """Remove what the messages name, for as long as the registry needs to come back.

        When the stop comes first the messages go back to the queue with the connection.
        """
        token, backoff = str(uuid4()), Backoff(first=1.0)
        while True:
            try:
                return _purged(self._scrubber, [nudge for _, nudge in nudges], token)
            except GlanceError as error:
                pause = backoff.next()
                LOG.warning("the registry: %s; %d locations wait for %.1f s", error, len(nudges), pause)
                if self._stop.wait(pause):
                    return {nudge.location: Result(Outcome.STOPPED) for _, nudge in nudges}


def drain(broker: Broker, scrubber: Scrubber, stop: threading.Event) -> None:
    """Work the messages that are in the queue now and wait for no more.

    Raises one of BROKER_ERRORS, and GlanceError when the registry cannot be asked; what was not finished stays queued.
    """
    size = scrubber.settings.pool_size
    with connected(broker) as connection, ThreadPoolExecutor(size) as pool:
        waiting = DELETE_QUEUE(connection.default_channel).queue_declare(passive=True).message_count
        while waiting > 0 and not stop.is_set():
            messages = list(islice(_messages(connection), min(waiting, size * MOST)))
            if not messages:
                return
            waiting -= len(messages)
            nudges = _nudges(connection, messages)
            # What is named twice goes to one thread only.
            different = list({nudge.location: nudge for _, nudge in nudges}.values())
            parts = [part for start in range(size) if (part := different[start::size])]
            results: dict[str, Result] = {}
            for ended in pool.map(lambda part: _purged(scrubber, part, str(uuid4())), parts):
                results.update(ended)
            for message, nudge in nudges:
                # What was given back is due, and the sweep comes next.
                if results[nudge.location].outcome is not Outcome.STOPPED:
                    message.ack()


def _messages(connection: Connection) -> Iterator[Message]:
    """Yield what is in the queue, until it is empty."""
    channel = connection.default_channel
    while (message := channel.basic_get(DELETE_QUEUE.name)) is not None:
        yield channel.message_to_python(message)


def _nudges(connection: Connection, messages: Sequence[Message]) -> list[tuple[Message, Nudge]]:
    """Return the messages with what they say; those that cannot be read are put aside."""
    found: list[tuple[Message, Nudge]] = []
    for message in messages:
        nudge = readable(connection, message)
        if nudge is None:
            message.ack()
        else:
            found.append((message, nudge))
    return found


def _purged(scrubber: Scrubber, nudges: Sequence[Nudge], token: str) -> dict[str, Result]:
    """Remove what the messages name and return how it ended. Raises GlanceError when the registry cannot be asked."""
    locations = list(dict.fromkeys(nudge.location for nudge in nudges))
    if not locations:
        return {}
    return scrubber.scrub_many(locations, token, request_id=nudges[0].request_id if len(locations) == 1 else None)


def _answer(message: Message, result: Result) -> None:
    """Answer a message whose location was worked; after a stop it goes back to the queue with the connection."""
    if result.is_left:
        message.requeue()
    elif result.outcome is not Outcome.STOPPED:
        message.ack()


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
