"""The test broker does what the tests of the delete queue need from it."""

import pytest
from kombu import Connection, Queue
from tests.support.rabbitmq import RabbitMQ

QUEUE = Queue("peers-test", durable=True, routing_key="peers-test", queue_arguments={"x-queue-type": "quorum"})

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def broker(tmp_path):
    own = RabbitMQ(tmp_path)
    try:
        own.start()
        yield own
    finally:
        own.stop()


def put(broker, count):
    with Connection(broker.url, transport_options={"confirm_publish": True}) as connection:
        queue = connection.SimpleQueue(QUEUE)
        for number in range(count):
            queue.put({"number": number})
        queue.close()


@pytest.mark.slow
def test_messages_survive_and_are_counted_and_purged(broker):
    assert broker.queue_depth(QUEUE.name) == 0
    put(broker, 3)
    assert broker.queue_depth(QUEUE.name) == 3
    broker.restart()
    assert broker.queue_depth(QUEUE.name) == 3
    broker.kill()
    with pytest.raises(OSError, match="refused"):
        broker.queue_depth(QUEUE.name)
    broker.start()
    assert broker.queue_depth(QUEUE.name) == 3
    assert broker.purge(QUEUE.name) == 3
    assert broker.queue_depth(QUEUE.name) == 0


def test_the_memory_alarm_goes_on_and_off(rabbitmq):
    rabbitmq.memory_alarm(True)
    try:
        assert "memory" in rabbitmq.control("eval", "rabbit_alarm:get_alarms().").lower()
    finally:
        rabbitmq.memory_alarm(False)
    assert rabbitmq.control("eval", "rabbit_alarm:get_alarms().").strip() == "[]"
