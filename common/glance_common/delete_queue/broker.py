"""Exchange and queues of deletions, and a connection that has them.

On RabbitMQ the queue is a quorum queue with a bound on its length: without a consumer the oldest messages are
dropped, because the sweep finds their rows. The queues have no dead-letter exchange of the broker's: it would also
receive everything that the bound drops; the consumer itself parks what cannot be read.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from kombu.connection import Connection
from kombu.entity import Exchange, Queue

from glance_common.messaging.connection import Broker, held, open_amqp

MAX_LENGTH = 100_000
"""Messages kept without a consumer."""

EXCHANGE = Exchange("glance.delete", type="direct", durable=True)
"""Not the exchange ``glance``, which is the notifications' and of another kind."""
DELETE_QUEUE = Queue(
    "glance.delete", EXCHANGE, routing_key="glance.delete", durable=True,
    queue_arguments={"x-queue-type": "quorum", "x-max-length": MAX_LENGTH, "x-overflow": "drop-head"},
)
DEAD_QUEUE = Queue(
    "glance.delete.dead", EXCHANGE, routing_key="glance.delete.dead", durable=True,
    queue_arguments={"x-queue-type": "quorum", "x-max-length": 10_000, "x-overflow": "drop-head"},
)
"""Messages that could not be read, for an operator to look at.

Declared when the first one is parked: a quorum queue that was never used does not answer any more after its broker
was killed (seen with RabbitMQ 3.10.8)."""


@contextmanager
def connected(broker: Broker) -> Iterator[Connection]:
    """Give a connection with DELETE_QUEUE declared, and close it; raises one of ``BROKER_ERRORS``."""
    with held(_open(broker)) as connection:
        DELETE_QUEUE(connection.default_channel).declare()
        yield connection


def _open(broker: Broker) -> Connection:
    if broker.directory is None:
        return open_amqp(broker)
    broker.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    options = {"data_folder_in": broker.directory, "data_folder_out": broker.directory, "polling_interval": 0.5}
    return Connection(transport="glance_common.delete_queue.filesystem:DirectoryTransport", transport_options=options)
