"""Both transports, and a consumer over a registry and a store in memory."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.servers.rabbitmq import RabbitMQ
from tests.support.waiting import wait_for
from tests.unit.scrubber.fakes import FakeDeletions, FakeStore, make_scrubber

from glance_common.delete_queue import DeletePublisher
from glance_common.delete_queue.broker import DEAD_QUEUE, DELETE_QUEUE, connected
from glance_common.messaging.connection import parse_broker
from glance_scrubber.consumer import QueueConsumer


@pytest.fixture
def rabbit_url(rabbitmq: RabbitMQ) -> str:
    """The broker of the session, with empty queues."""
    with connected(parse_broker(rabbitmq.url)) as connection:
        connection.default_channel.queue_purge(DELETE_QUEUE.name)
        connection.default_channel.queue_delete(DEAD_QUEUE.name)
    return rabbitmq.url


@pytest.fixture(params=["rabbitmq", "filesystem"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Both kinds of transport_url."""
    if request.param == "filesystem":
        return f"filesystem://{tmp_path}/queue"
    return str(request.getfixturevalue("rabbit_url"))


class Bench:
    """A registry and a store in memory, with publishers and consumers that end with the test."""

    def __init__(self) -> None:
        self.deletions = FakeDeletions()
        self.store = FakeStore()
        self.stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._publishers: list[DeletePublisher] = []

    def add(self, count: int = 1) -> list[str]:
        """Make locations that are due."""
        made = [self.deletions.add() for _ in range(count)]
        self.store.keys |= {self.deletions.rows[location].key for location in made}
        return made

    def publisher(self, url: str) -> DeletePublisher:
        """Return a running publisher."""
        publisher = DeletePublisher(url)
        publisher.start()
        self._publishers.append(publisher)
        return publisher

    def publish(self, url: str, locations: list[str]) -> None:
        """Publish the locations in one go; they are in the queue when this returns."""
        publisher = self.publisher(url)
        publisher.publish(locations, None)
        publisher.stop(timeout=60)

    def consume(self, url: str, consumers: int = 1, lease: float = 120) -> threading.Thread:
        """Start consumers, each with a scrubber of its own, and return the thread of the last."""
        # All of them before the first one starts: making a scrubber fills the store with the bytes of every row.
        scrubbers = [
            make_scrubber(self.deletions, self.store, stop=self.stop, lease=lease) for _ in range(consumers)
        ]
        for scrubber in scrubbers:
            consumer = QueueConsumer(parse_broker(url), scrubber, self.stop)
            thread = threading.Thread(target=consumer.run)
            thread.start()
            self._threads.append(thread)
        return self._threads[-1]

    def purged(self, locations: list[str]) -> bool:
        """Return whether all of them are recorded as deleted."""
        return all(self.deletions.rows[location].status == "deleted" for location in locations)

    def wait_purged(self, locations: list[str], seconds: float = 60) -> None:
        """Wait until they are recorded as deleted, with their bytes gone."""
        wait_for(lambda: self.purged(locations), seconds=seconds)
        assert not self.store.keys & {self.deletions.rows[location].key for location in locations}

    def close(self) -> None:
        """End everything."""
        self.stop.set()
        self.store.gate.set()
        for publisher in self._publishers:
            publisher.stop(timeout=2)
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive()


@pytest.fixture
def bench() -> Iterator[Bench]:
    """An empty bench."""
    made = Bench()
    yield made
    made.close()
