"""The publisher towards its callers: bounded, never waiting, never raising. The queue is a directory here."""

import logging
import time
from uuid import uuid4

import pytest
from tests.support.queues import bodies
from tests.support.waiting import wait_for

from glance_common.config.loading import ConfigError
from glance_common.delete_queue import DeletePublisher
from glance_common.delete_queue.message import decode
from glance_common.messaging import outbox
from glance_common.retry import Backoff


def ids(count):
    return [str(uuid4()) for _ in range(count)]


@pytest.fixture
def url(tmp_path):
    return f"filesystem://{tmp_path}/queue"


@pytest.fixture
def no_broker(tmp_path):
    """A place where no directory can be made: the transport fails like a broker that is away."""
    (tmp_path / "file").write_text("")
    return f"filesystem://{tmp_path}/file/queue"


def test_what_was_published_is_in_the_queue_in_order(url):
    publisher = DeletePublisher(url)
    publisher.start()
    locations = ids(20)
    publisher.publish(locations[:10], "req-1")
    publisher.publish(locations[10:], None)
    publisher.stop()
    nudges = [decode(body) for body in bodies(url)]
    assert [nudge.location for nudge in nudges] == locations
    assert [nudge.request_id for nudge in nudges] == ["req-1"] * 10 + [None] * 10


def test_what_was_published_before_the_start_is_sent_too(url):
    publisher = DeletePublisher(url)
    publisher.publish(ids(3), None)
    publisher.start()
    publisher.stop()
    assert len(bodies(url)) == 3


def test_the_oldest_are_dropped_when_too_many_wait_and_one_line_says_so(url, caplog):
    publisher = DeletePublisher(url, limit=5)
    locations = ids(12)
    with caplog.at_level(logging.WARNING):
        publisher.publish(locations, None)
    assert publisher.dropped == 7
    assert caplog.text.count("are dropped") == 1
    publisher.start()
    publisher.stop()
    assert [decode(body).location for body in bodies(url)] == locations[-5:]


def test_what_is_too_old_is_dropped(url):
    publisher = DeletePublisher(url, max_age=300)
    publisher.publish(ids(3), None)
    for waiting in publisher._outbox._waiting:
        waiting.since -= 301
    publisher.publish(ids(2), None)
    publisher.start()
    publisher.stop()
    assert publisher.dropped == 3
    assert len(bodies(url)) == 2


def test_i9_without_a_broker_publish_returns_at_once_and_stop_ends(no_broker, caplog):
    publisher = DeletePublisher(no_broker, limit=100)
    publisher.start()
    started = time.monotonic()
    for _ in range(50):
        publisher.publish(ids(10), "req-1")
    # One second for each that waits for the next try would be 50.
    assert time.monotonic() - started < 20
    assert publisher.dropped == 400
    started = time.monotonic()
    publisher.stop(timeout=60)
    assert time.monotonic() - started < 30
    assert publisher._outbox._thread is not None
    assert not publisher._outbox._thread.is_alive()


def test_an_outage_is_one_line_and_its_end_another(tmp_path, no_broker, caplog, monkeypatch):
    monkeypatch.setattr(outbox, "Backoff", QuickBackoff)
    publisher = DeletePublisher(no_broker)
    publisher.start()
    with caplog.at_level(logging.INFO):
        publisher.publish(ids(2), None)
        wait_for(lambda: "next try" in caplog.text)
        time.sleep(0.3)
        (tmp_path / "file").unlink()
        wait_for(lambda: (tmp_path / "file/queue").exists() and len(bodies(no_broker)) == 2)
        publisher.stop()
    messages = [record.getMessage() for record in caplog.records]
    assert len([text for text in messages if "next try" in text]) == 1
    assert len([text for text in messages if "works again" in text]) == 1


def test_a_bad_url_stops_the_start():
    with pytest.raises(ConfigError, match="transport_url"):
        DeletePublisher("carrier-pigeon://loft")


class QuickBackoff(Backoff):
    def __init__(self):
        super().__init__(first=0.02, most=0.05)


