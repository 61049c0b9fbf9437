"""How many messages wait in the delete queue: asked again and again over one kept connection."""

from contextlib import ExitStack, suppress

from kombu.connection import Connection

from glance_common.delete_queue.broker import DELETE_QUEUE, connected
from glance_common.messaging.connection import BROKER_ERRORS, Broker, describe
from glance_common.model.errors import Unavailable


class QueueDepth:
    """Asks from one thread; ``messages`` is the last answer, None when there is none."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._held = ExitStack()
        self._connection: Connection | None = None
        self.messages: int | None = None

    def ask(self) -> None:
        """Ask the broker, over a new connection when the last one broke. Raises Unavailable."""
        try:
            if self._connection is None:
                self._connection = self._held.enter_context(connected(self._broker))
            queue = DELETE_QUEUE(self._connection.default_channel)
            self.messages = int(queue.queue_declare(passive=True).message_count)
        except BROKER_ERRORS as error:
            self._connection = self.messages = None
            with suppress(*BROKER_ERRORS):
                self._held.__exit__(type(error), error, error.__traceback__)
            raise Unavailable(describe(error)) from error

    def close(self) -> None:
        """Close the connection."""
        with suppress(*BROKER_ERRORS):
            self._held.close()
