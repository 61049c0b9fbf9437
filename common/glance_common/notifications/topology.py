"""Exchange and queues of notifications, declared just as oslo.messaging does it.

A broker refuses a declaration that differs from what exists, and the consumers declare the same names: so the options
of ``[oslo_messaging_rabbit]`` have to be those of the consumers.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from kombu.connection import Connection
from kombu.entity import Exchange, Queue

from glance_common.messaging.connection import Broker, held, open_amqp

EXCHANGE = "glance"


@dataclass(frozen=True, slots=True)
class Topology:
    """Options of ``[oslo_messaging_rabbit]`` that say what exchange and queues look like."""

    durable_queues: bool = False
    auto_delete: bool = False
    quorum_queue: bool = False

    def queue(self, routing_key: str) -> Queue:
        """Return the queue in which messages wait for a consumer: it is named like its routing key."""
        durable = self.durable_queues or self.quorum_queue
        exchange = Exchange(EXCHANGE, type="topic", durable=durable, auto_delete=self.auto_delete)
        arguments = {"x-queue-type": "quorum"} if self.quorum_queue else {}
        return Queue(
            routing_key, exchange, routing_key=routing_key, durable=durable, auto_delete=self.auto_delete,
            queue_arguments=arguments,
        )


@contextmanager
def connected(broker: Broker, topology: Topology, routing_keys: Iterable[str]) -> Iterator[Connection]:
    """Give a connection with the exchange and the queues of ``routing_keys``; raises one of ``BROKER_ERRORS``."""
    with held(open_amqp(broker)) as connection:
        for routing_key in routing_keys:
            topology.queue(routing_key)(connection.default_channel).declare()
        yield connection
