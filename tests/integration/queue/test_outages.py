"""The broker goes, hangs, blocks and comes back: nobody waits for it and nothing is lost for long (I9)."""

import os
import signal
import time

import pytest
from tests.support.queues import bodies
from tests.support.waiting import wait_for

from glance_common.delete_queue.broker import DELETE_QUEUE, connected
from glance_common.messaging import connection
from glance_common.messaging.connection import parse_broker


@pytest.fixture
def broker(rabbitmq, rabbit_url, monkeypatch):
    """The session's broker, which runs again afterwards, with queues that outlive the next kill."""
    monkeypatch.setattr(connection, "ANSWER_TIMEOUT", ANSWER)
    yield rabbitmq
    if rabbitmq._broker is None:
        rabbitmq.start()
    rabbitmq.save_queues()


ANSWER = 120.0
"""Seconds that the broker has for an answer here."""

AT_ONCE = 60.0
"""Seconds: a caller that waited for the broker's answer would wait for twice as long."""


def timed(publish, *arguments):
    started = time.monotonic()
    publish(*arguments)
    return time.monotonic() - started


@pytest.mark.slow
def test_killed_and_started_again_under_publisher_and_consumer(broker, bench):
    publisher = bench.publisher(broker.url)
    bench.consume(broker.url, consumers=2)
    before, during = bench.add(5), bench.add(5)
    publisher.publish(before, None)
    bench.wait_purged(before)
    broker.kill()
    assert timed(publisher.publish, during, None) < AT_ONCE
    time.sleep(2)
    assert not bench.purged(during[:1])
    broker.start()
    bench.wait_purged(during, seconds=60)
    after = bench.add(5)
    publisher.publish(after, None)
    bench.wait_purged(after)
    assert publisher.dropped == 0


@pytest.mark.slow
def test_what_was_confirmed_survives_the_death_of_the_broker(broker, bench):
    locations = bench.add(50)
    bench.publish(broker.url, locations)
    broker.kill()
    broker.start()
    bench.consume(broker.url)
    bench.wait_purged(locations, seconds=60)


@pytest.mark.slow
def test_a_message_in_hand_when_the_broker_dies_is_purged_once_and_forgotten_later(broker, bench):
    locations = bench.add(1)
    bench.store.gate.clear()
    bench.publisher(broker.url).publish(locations, None)
    bench.consume(broker.url)
    assert bench.store.entered.wait(60)
    broker.kill()
    bench.store.gate.set()
    bench.wait_purged(locations)
    broker.start()
    wait_for(lambda: broker.queue_depth(DELETE_QUEUE.name) == 0 and bench.deletions.calls["claim"] >= 2, seconds=60)
    assert len(bench.store.deleted) == 1


@pytest.mark.slow
def test_with_the_memory_alarm_on_nobody_waits_and_afterwards_all_flows(broker, bench):
    publisher = bench.publisher(broker.url)
    bench.consume(broker.url)
    locations = bench.add(20)
    broker.memory_alarm(True)
    try:
        assert max(timed(publisher.publish, [location], None) for location in locations) < AT_ONCE
        time.sleep(3)
        assert not bench.purged(locations)
        blocked = bench.publisher(broker.url)
        blocked.publish(bench.add(3), None)
        time.sleep(1)
        assert timed(blocked.stop, 1.0) < AT_ONCE
    finally:
        broker.memory_alarm(False)
    bench.wait_purged(locations, seconds=90)
    assert publisher.dropped == 0


@pytest.mark.slow
def test_a_broker_that_hangs_does_not_hold_up_a_stop(broker, bench):
    publisher = bench.publisher(broker.url)
    publisher.publish(bench.add(1), None)
    wait_for(lambda: len(bodies(broker.url)) == 1)
    os.kill(broker._broker.pid, signal.SIGSTOP)
    try:
        assert timed(publisher.publish, bench.add(5), None) < AT_ONCE
        assert timed(publisher.stop, 1.0) < AT_ONCE
    finally:
        os.kill(broker._broker.pid, signal.SIGCONT)


def test_a_queue_deleted_by_hand_is_declared_again(broker, bench):
    first, second = bench.add(1), bench.add(1)
    bench.consume(broker.url)
    publisher = bench.publisher(broker.url)
    publisher.publish(first, None)
    bench.wait_purged(first)
    with connected(parse_broker(broker.url)) as opened:
        opened.default_channel.queue_delete(DELETE_QUEUE.name)
    wait_for(lambda: "glance.delete" in broker.control("list_consumers"), seconds=120)
    publisher.publish(second, None)
    bench.wait_purged(second)


def test_the_next_of_several_brokers_is_taken_when_the_first_is_away(broker, bench):
    url = f"amqp://guest:guest@127.0.0.1:1//;{broker.url}"
    locations = bench.add(2)
    bench.consume(url)
    bench.publisher(url).publish(locations, None)
    bench.wait_purged(locations)


def test_the_queue_is_bounded_and_survives_as_a_quorum_queue(broker):
    assert DELETE_QUEUE.queue_arguments["x-max-length"] == 100_000
    listed = broker.control("list_queues", "name", "type", "durable", "policy", "arguments")
    line = next(line for line in listed.splitlines() if line.startswith("glance.delete\t"))
    assert "quorum" in line
    assert "drop-head" in line
    assert "true" in line


def test_a_wrong_password_is_an_outage_like_any_other_and_is_not_logged(broker, bench, caplog):
    url = broker.url.replace("guest:guest", "guest:s3cret-word")
    bench.consume(url)
    bench.publisher(url).publish(bench.add(1), None)
    wait_for(lambda: caplog.text.count("next try") >= 2)
    assert "s3cret-word" not in caplog.text
