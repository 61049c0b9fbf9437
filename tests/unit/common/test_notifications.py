"""Notifications without a broker: what is wanted, how it is written, and that nobody ever waits."""

import json
import threading
import time
from contextlib import contextmanager

import pytest

from glance_common.config.loading import ConfigError
from glance_common.messaging import outbox as outbox_module
from glance_common.messaging.outbox import MAX_BODY, Message, Outbox, OutboxLimits
from glance_common.model.context import RequestContext
from glance_common.notifications import Notifications, NotificationSettings
from glance_common.notifications.publisher import is_disabled
from glance_common.notifications.topology import Topology
from glance_common.notifications.wire import Notification, Priority, encode

CALLER = RequestContext("req-1", user_id="u", project_id="p", roles=("member",))
BROKER = "amqp://u:secret@127.0.0.1:1/"


@pytest.mark.parametrize(
    ("disabled", "event", "expected"),
    [
        ([], "image.create", False),
        (["image.create"], "image.create", True),
        (["image.create"], "image.update", False),
        (["image"], "image.member.create", True),
        (["image.member"], "image.member.create", True),
        (["image.member"], "image.create", False),
        (["image.mem"], "image.member.create", False),
        (["task"], "image.create", False),
    ],
)
def test_not_03_disabled_events_and_groups(disabled, event, expected):
    assert is_disabled(event, disabled) is expected


@pytest.mark.parametrize("drivers", [(), ("noop",), ("test",)])
def test_switched_off_nothing_runs_and_nothing_is_wanted(drivers):
    notifications = Notifications(NotificationSettings(drivers, "filesystem:///var/lib/glance/queue"))
    before = set(threading.enumerate())
    notifications.start()
    assert set(threading.enumerate()) <= before
    assert not notifications.wants("image.create")
    notifications.send(CALLER, "image.create", {})
    notifications.stop()


def test_the_driver_log_writes_events_into_the_log_and_needs_no_broker(caplog):
    settings = NotificationSettings(("log", "noop"), "filesystem:///var/lib/glance/queue", disabled=("task",))
    notifications = Notifications(settings)
    notifications.start()
    caplog.set_level("INFO")
    assert notifications.wants("image.create")
    notifications.send(CALLER, "image.create", {"id": "1"})
    notifications.send(CALLER, "task.create", {"id": "2"})
    notifications.send(CALLER, "image.upload", "it failed", Priority.ERROR)
    told = [(record.name, record.levelname, json.loads(record.message)["payload"]) for record in caplog.records]
    assert told == [
        ("oslo.messaging.notification.image.create", "INFO", {"id": "1"}),
        ("oslo.messaging.notification.image.upload", "ERROR", "it failed"),
    ]
    notifications.stop()


def test_without_a_broker_the_start_fails_and_says_why():
    with pytest.raises(ConfigError, match=r"\[oslo_messaging_notifications\] transport_url.*need a broker"):
        Notifications(NotificationSettings(("messagingv2",), "filesystem:///var/lib/glance/queue"))


def test_format_2_is_an_envelope_around_format_1():
    notification = Notification("image.create", Priority.INFO, {"id": "1", "name": "ü"})
    outer = json.loads(encode(notification, "image.here", CALLER, envelope=True))
    assert set(outer) == {"oslo.version", "oslo.message"}
    assert outer["oslo.version"] == "2.0"
    message = json.loads(outer["oslo.message"])
    plain = json.loads(encode(notification, "image.here", CALLER, envelope=False))
    assert set(message) == set(plain)
    assert (message["event_type"], message["priority"], message["payload"]) == (
        "image.create", "INFO", {"id": "1", "name": "ü"}
    )
    assert (message["publisher_id"], message["_context_request_id"], message["_context_project_id"]) == (
        "image.here", "req-1", "p"
    )
    assert message["message_id"] != plain["message_id"]


def test_queue_and_exchange_follow_the_options_of_the_consumers():
    plain = Topology().queue("notifications.info")
    assert (plain.durable, plain.exchange.durable, plain.exchange.type, plain.queue_arguments) == (
        False, False, "topic", {}
    )
    quorum = Topology(quorum_queue=True).queue("notifications.info")
    assert (quorum.durable, quorum.exchange.durable, quorum.queue_arguments) == (True, True, {"x-queue-type": "quorum"})
    assert Topology(durable_queues=True).queue("notifications.info").exchange.durable


def test_i9_a_dead_broker_costs_no_time_and_what_is_dropped_is_counted_and_logged_once(caplog):
    notifications = Notifications(NotificationSettings(("messagingv2",), BROKER), OutboxLimits(messages=100))
    notifications.start()
    started = time.monotonic()
    for _ in range(1000):
        notifications.send(CALLER, "image.create", {"id": "1"})
    # Whoever waited for room would wait for ever, and a pause before each try would make it minutes.
    assert time.monotonic() - started < 30
    assert notifications.dropped == 900
    notifications.stop(timeout=2)
    dropping = [record for record in caplog.records if "are dropped" in record.message]
    assert len(dropping) == 1
    assert "secret" not in caplog.text


class Full(OSError):
    """A broker that takes nothing."""


@pytest.fixture
def broken(monkeypatch):
    """Make an outbox whose broker is away; tries follow each other at once."""
    monkeypatch.setattr(outbox_module.Backoff, "next", lambda _self: 0.001)

    @contextmanager
    def connect():
        raise Full
        yield

    made = []

    def make(**limits):
        made.append(Outbox("a service", connect, OutboxLimits(**limits), queue="test"))
        return made[-1]

    yield make
    for outbox in made:
        outbox.stop(timeout=1)


def message(size=10):
    return Message(b"x" * size, "glance", "notifications.info", "an event")


def test_the_bytes_that_wait_are_bounded_and_what_no_broker_takes_is_not_kept(broken):
    outbox = broken(bytes=1000)
    for _ in range(20):
        outbox.put(message(100))
    assert outbox.dropped == 10
    outbox.put(message(MAX_BODY + 1))
    assert outbox.dropped == 11


def test_a_message_is_dropped_after_its_last_try(broken):
    outbox = broken(tries=3)
    outbox.put(message())
    outbox.put(message())
    outbox.start()
    deadline = time.monotonic() + 60
    while outbox.dropped < 2:
        assert time.monotonic() < deadline
        time.sleep(0.01)
