"""The test broker does what the tests of the delete queue need from it."""

import pytest
from deploy.local.processes import wait_until
from kombu.connection import Connection
from kombu.entity import Queue
from tests.servers.rabbitmq import RabbitMQ

QUEUE = Queue("peers-test", durable=True, routing_key="peers-test", queue_arguments={"x-queue-type": "quorum"})


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


def wait_depth(broker, count):
    """Wait for what a quorum queue says: it counts after it has confirmed, and chooses a leader after a start."""
    wait_until(lambda: broker.queue_depth(QUEUE.name) == count, what=f"a queue of {count}", seconds=60)


@pytest.mark.slow
def test_messages_survive_and_are_counted_and_purged(broker):
    assert broker.queue_depth(QUEUE.name) == 0
    put(broker, 3)
    wait_depth(broker, 3)
    broker.save_queues()
    broker.kill()  # so early that the broker would not know its queue any more
    with pytest.raises(OSError, match="refused"):
        broker.queue_depth(QUEUE.name)
    broker.start()
    wait_depth(broker, 3)
    broker.restart()
    wait_depth(broker, 3)
    assert broker.purge(QUEUE.name) == 3
    wait_depth(broker, 0)


def test_the_memory_alarm_goes_on_and_off(rabbitmq):
    rabbitmq.memory_alarm(True)
    try:
        wait_until(lambda: "memory" in alarms(rabbitmq).lower(), what="the alarm")
    finally:
        rabbitmq.memory_alarm(False)
    wait_until(lambda: alarms(rabbitmq) == "[]", what="the end of the alarm")


def alarms(broker):
    return broker.control("eval", "rabbit_alarm:get_alarms().").strip()
