"""Sends nudges to the scrubbers; no request ever waits for the broker (I9)."""

from collections.abc import Iterable

from glance_common.delete_queue.broker import DELETE_QUEUE, EXCHANGE, connected
from glance_common.delete_queue.message import Nudge, encode
from glance_common.messaging.connection import parse_broker
from glance_common.messaging.outbox import Message, Outbox, OutboxLimits


class DeletePublisher:
    """The sending end of the delete queue, one in each process.

    ``limit`` bounds the nudges that wait, and after ``max_age`` seconds a nudge is dropped: by then a sweep has found
    its row or soon will.
    """

    def __init__(self, transport_url: str, *, limit: int = 10_000, max_age: float = 300.0) -> None:
        """Read the option ``transport_url``; raises ConfigError."""
        broker = parse_broker(transport_url)
        limits = OutboxLimits(messages=limit, age=max_age)
        self._outbox = Outbox(
            f"the delete queue at {broker.name}", lambda: connected(broker), limits, queue="delete"
        )

    @property
    def dropped(self) -> int:
        """Nudges given up because too many waited or the broker was away for too long."""
        return self._outbox.dropped

    def start(self) -> None:
        """Start the sending thread; do so after the fork."""
        self._outbox.start()

    def publish(self, location_ids: Iterable[str], request_id: str | None) -> None:
        """Hand over locations that are due now. Never waits and never raises; the oldest go when there is no room."""
        for location in location_ids:
            self._outbox.put(
                Message(
                    encode(Nudge(location, request_id)), EXCHANGE.name, DELETE_QUEUE.routing_key,
                    f"location {location}", request_id,
                )
            )

    def stop(self, timeout: float = 5.0) -> None:
        """Send what waits, for at most ``timeout`` seconds, and end; the rest is left to the sweep."""
        self._outbox.stop(timeout)
