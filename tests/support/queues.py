"""The delete queue as a test sees it: what is in it, and strange things put into it."""

from __future__ import annotations

from amqp.exceptions import NotFound
from kombu.connection import Connection
from kombu.messaging import Producer

from glance_common.delete_queue.broker import DEAD_QUEUE, DELETE_QUEUE, EXCHANGE, connected
from glance_common.messaging.connection import parse_broker


def bodies(url: str, *, dead: bool = False) -> list[bytes]:
    """Return the bodies in the queue, or in the dead queue, and leave them there."""
    queue = DEAD_QUEUE if dead else DELETE_QUEUE
    found = []
    with connected(parse_broker(url)) as connection:
        channel = connection.channel()
        if dead and not _exists(connection, queue.name):
            return []
        while (message := channel.basic_get(queue.name)) is not None:
            body = channel.message_to_python(message).body
            found.append(body.encode() if isinstance(body, str) else bytes(body))
        # The messages go back to the queue with their channel.
        channel.close()
    return found


def _exists(connection: Connection, name: str) -> bool:
    """Return whether the queue was ever declared; a directory needs no declaration."""
    channel = connection.channel()
    try:
        channel.queue_declare(name, passive=True)
    except NotFound:
        return False
    channel.close()
    return True


def put(url: str, body: bytes, **properties: object) -> None:
    """Put a body as it is into the delete queue."""
    with connected(parse_broker(url)) as connection:
        Producer(connection.default_channel).publish(
            body, exchange=EXCHANGE.name, routing_key=DELETE_QUEUE.routing_key,
            **{"content_type": "application/json", "content_encoding": "binary", **properties},
        )
