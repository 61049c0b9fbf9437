"""The receiving end of the delete queue: each message is answered when the registry knows how its purge ended."""

import logging
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice

from amqp.exceptions import NotFound
from kombu.connection import Connection
from kombu.message import Message
from kombu.messaging import Consumer, Producer

from glance_common.delete_queue.broker import DEAD_QUEUE, DELETE_QUEUE, EXCHANGE, connected
from glance_common.delete_queue.message import BadMessage, Nudge, decode
from glance_common.messaging.connection import BROKER_ERRORS, Broker, describe
from glance_common.model.errors import GlanceError
from glance_common.purge import Outcome
from glance_common.retry import Backoff
from glance_scrubber.batch import MOST
from glance_scrubber.scrub import Batch, Result, Scrubber, next_size

LOG = logging.getLogger(__name__)

_NAMED = 3
"""Locations that a line of the log names."""

MOMENT = 0.003
"""Seconds to wait for one more message to purge together with those that are there."""

Messages = list[tuple[Message, Nudge]]
"""Messages with what they say."""


class QueueConsumer:
    """Consumes in the calling thread, over a connection of its own; several threads may do so side by side.

    The thread is busy while it removes bytes, so no heartbeats are sent: the kernel's keepalive watches the connection.
    """

    def __init__(self, broker: Broker, scrubber: Scrubber, stop: threading.Event) -> None:
        self._broker = broker
        self._scrubber = scrubber
        self._stop = stop
        self._backoff = Backoff()

    def run(self) -> None:
        """Work until ``stop`` is set, whatever happens to the broker; the purge in hand is finished."""
        while not self._stop.is_set():
            try:
                with connected(self._broker) as connection:
                    self._consume(connection)
            except Exception as error:
                pause = self._backoff.next()
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
        size = MOST
        received: deque[Message] = deque()
        while not self._stop.is_set():
            consumer = Consumer(
                connection.default_channel, [DELETE_QUEUE], prefetch_count=size, auto_declare=False,
                on_message=received.append,
                # A body that the library itself cannot unpack is parked like any other that cannot be read.
                on_decode_error=lambda message, _: received.append(message),
            )
            following = size
            with consumer:
                while following == size and not self._stop.is_set():
                    if batch := self._received(connection, received, size):
                        following = self._handle(connection, batch, received, size)
                    self._backoff.reset()
            if following < size:
                for _ in range(len(received)):
                    _give_back(received.popleft(), received)
            size = following

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

    def _handle(
        self, connection: Connection, batch: Sequence[Message], received: deque[Message], size: int
    ) -> int:
        """Work the messages and answer them; return how many to take at a time from now on.

        ``received`` gets those that are to be worked later.
        """
        began = time.monotonic()
        messages, unreadable = _read(batch)
        results = self._scrub([nudge for _, nudge in messages])
        seconds = time.monotonic() - began
        for message, nudge in messages:
            _answer(message, results[nudge.location], received)
        # Last, because the broker may refuse to park one.
        for message, error in unreadable:
            _park(connection, message, error)
        return next_size(size, results.values(), seconds)

    def _scrub(self, nudges: Sequence[Nudge]) -> dict[str, Result]:
        """Remove what the messages name, for as long as the registry needs to come back.

        When the stop comes first the messages go back to the queue with the connection. What the registry cannot
        handle is tried twice and left to the sweep then.
        """
        batch, backoff = _batch(nudges), Backoff(first=1.0)
        while True:
            reason = "no clear answer"
            try:
                _purge(self._scrubber, batch, nudges)
            except GlanceError as error:
                reason = error.message
            if not batch.left:
                return batch.results
            pause = backoff.next()
            LOG.warning("the registry: %s; asked again in %.1f s: locations %s", reason, pause, _listed(batch.left))
            if self._stop.wait(pause):
                return batch.ended(Outcome.STOPPED)


def _listed(locations: Sequence[str]) -> str:
    """Return the first few for a log line, and how many there are beside them."""
    more = len(locations) - _NAMED
    return ", ".join(locations[:_NAMED]) + (f" and {more} more" if more > 0 else "")


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
            readable, unreadable = _read(messages)
            # What is named twice goes to one thread only.
            different = list({nudge.location: nudge for _, nudge in readable}.values())
            parts = [part for start in range(size) if (part := different[start::size])]
            results: dict[str, Result] = {}
            for ended in pool.map(partial(_purged_once, scrubber), parts):
                results.update(ended)
            for message, nudge in readable:
                # What was given back is due, and the sweep comes next.
                if results[nudge.location].outcome is not Outcome.STOPPED:
                    message.ack()
            for message, error in unreadable:
                _park(connection, message, error)


def _messages(connection: Connection) -> Iterator[Message]:
    """Yield what is in the queue, until it is empty."""
    channel = connection.default_channel
    while (message := channel.basic_get(DELETE_QUEUE.name)) is not None:
        yield channel.message_to_python(message)


def _read(messages: Sequence[Message]) -> tuple[Messages, list[tuple[Message, BadMessage]]]:
    """Return the messages with what they say, and those that cannot be read with the reason."""
    readable: Messages = []
    unreadable: list[tuple[Message, BadMessage]] = []
    for message in messages:
        try:
            readable.append((message, decode(_body(message))))
        except BadMessage as error:
            unreadable.append((message, error))
    return readable, unreadable


def _body(message: Message) -> bytes:
    body = message.body
    return body.encode("utf-8", "surrogateescape") if isinstance(body, str) else bytes(body)


def _batch(nudges: Sequence[Nudge]) -> Batch:
    return Batch(list(dict.fromkeys(nudge.location for nudge in nudges)))


def _purge(scrubber: Scrubber, batch: Batch, nudges: Sequence[Nudge]) -> None:
    """Remove what the messages name. Raises GlanceError as ``scrub_many``."""
    scrubber.scrub_many(batch, request_id=nudges[0].request_id if len(batch.locations) == 1 else None)


def _purged_once(scrubber: Scrubber, nudges: Sequence[Nudge]) -> dict[str, Result]:
    """Remove what the messages name and return how it ended; what the registry cannot handle is left to the sweep."""
    batch = _batch(nudges)
    _purge(scrubber, batch, nudges)
    return batch.ended(Outcome.BROKEN)


def _answer(message: Message, result: Result, received: deque[Message]) -> None:
    """Answer a message whose location was worked; after a stop it goes back to the queue with the connection."""
    if result.is_left:
        _give_back(message, received)
    elif result.outcome is not Outcome.STOPPED:
        message.ack()


def _give_back(message: Message, received: deque[Message]) -> None:
    """Give a message back to the queue, so that another process may work it; one that came again stays with us.

    RabbitMQ drops a message that is given back too often (20 times by default), and slow stores are no reason for that.
    """
    if message.delivery_info.get("redelivered"):
        received.append(message)
    else:
        message.requeue()


def _park(connection: Connection, message: Message, reason: BadMessage) -> None:
    """Move a message that cannot be read to the dead queue, for an operator.

    Raises one of BROKER_ERRORS when the broker did not confirm it; the message then comes again with a new connection.
    """
    body = _body(message)
    LOG.error("a message of the delete queue goes to %s: %s; it begins with %r", DEAD_QUEUE.name, reason, body[:100])
    try:
        # With whatever arguments it was made: only its name matters. A refusal closes the channel, so it has its own.
        with connection.channel() as channel:
            dead = DEAD_QUEUE(channel)
            dead.queue_declare(passive=True)
            dead.queue_bind()
    except NotFound:
        DEAD_QUEUE(connection.default_channel).declare()
    Producer(connection.default_channel).publish(
        body, exchange=EXCHANGE.name, routing_key=DEAD_QUEUE.routing_key, retry=False,
        content_type="application/octet-stream", content_encoding="binary",
        delivery_mode="persistent", headers={"reason": str(reason)},
    )
    message.ack()
