"""Notifications without a broker: what is wanted, how it is written, and that nobody ever waits."""

import json
import threading
import time
from contextlib import contextmanager

import pytest
from oslo_config import cfg

from glance_common.config.loading import ConfigError
from glance_common.messaging import outbox as outbox_module
from glance_common.messaging.outbox import MAX_BODY, Message, Outbox, OutboxLimits
from glance_common.model.context import RequestContext
from glance_common.notifications import Notifications, NotificationSettings, options
from glance_common.notifications.publisher import is_disabled
from glance_common.notifications.routing import read_routes
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


ROUTING = """
audit:
  log:
    accepted_events: ["image.*"]
    accepted_priorities: ["Error"]
all:
  messaging: {accepted_events: ["task.*", "image.send"]}
  noop:
silent: {}
"""


def routes(tmp_path, text):
    path = tmp_path / "routing.yaml"
    path.write_text(text)
    return read_routes(str(path))


@pytest.mark.parametrize(
    ("event", "priority", "drivers"),
    [
        ("image.upload", Priority.ERROR, ["log"]),
        ("image.upload", Priority.INFO, []),
        ("image.send", Priority.INFO, ["messaging"]),
        ("image.send", Priority.ERROR, ["log", "messaging"]),
        ("task.create", Priority.INFO, ["messaging"]),
        ("metadef_tag.create", Priority.INFO, []),
    ],
)
def test_not_routing_chooses_the_drivers_of_each_event(tmp_path, monkeypatch, caplog, event, priority, drivers):
    sent = []
    monkeypatch.setattr(Outbox, "put", lambda _self, message: sent.append(message))
    notifications = Notifications(NotificationSettings(("noop",), BROKER, routes=routes(tmp_path, ROUTING)))
    caplog.set_level("INFO")
    notifications.send(CALLER, event, {"id": "1"}, priority)
    told = [record.name for record in caplog.records if record.name == f"oslo.messaging.notification.{event}"]
    assert (bool(told), len(sent)) == ("log" in drivers, int("messaging" in drivers))
    assert all("oslo.version" not in json.loads(message.body) for message in sent)


def test_what_no_route_accepts_is_not_wanted(tmp_path):
    notifications = Notifications(NotificationSettings((), BROKER, routes=routes(tmp_path, ROUTING)))
    assert notifications.wants("image.upload")
    assert not notifications.wants("metadef_tag.create")


def test_several_drivers_tell_each_event_once(tmp_path, monkeypatch):
    sent = []
    monkeypatch.setattr(Outbox, "put", lambda _self, message: sent.append(json.loads(message.body)))
    also = routes(tmp_path, "again: {messagingv2: {}}")
    drivers = ("messagingv2", "messaging", "log", "noop", "test", "messagingv2")
    notifications = Notifications(NotificationSettings(drivers, BROKER, routes=also))
    notifications.send(CALLER, "image.create", {"id": "1"})
    assert ["oslo.version" in body for body in sent] == [True, False]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: {rabbit: {}}", "a: rabbit is no driver; there are messagingv2, messaging, log, noop, test"),
        ("a: {routing: {}}", "a: routing is no driver"),
        ("a: {log: {accepted: []}}", "a: log: accepted is no rule"),
        ("a: {log: {accepted_events: image}}", "a: log: accepted_events must be a list of patterns"),
        ("a: {log: {accepted_events: [1]}}", "a: log: accepted_events must be a list of patterns"),
        ("a: log", "a must be a mapping"),
        ("[a]", "the file must be a mapping"),
        ("a:\n  log: {\n", "is not YAML in line 3"),
    ],
)
def test_a_wrong_routing_file_is_told_with_its_place(tmp_path, text, reason):
    with pytest.raises(ConfigError) as caught:
        routes(tmp_path, text)
    assert f"[oslo_messaging_notifications] routing_config = {tmp_path}/routing.yaml: {reason}" in str(caught.value)


@pytest.mark.parametrize(("path", "reason"), [("", "needs a file"), ("/no/such", "cannot be read: No such file")])
def test_routing_needs_its_file(path, reason):
    with pytest.raises(ConfigError, match=reason):
        read_routes(path)


def test_the_options_of_routing_are_read(tmp_path):
    rules = tmp_path / "routing.yaml"
    rules.write_text("a: {log: {}}")
    conf = cfg.ConfigOpts()
    table = [*options.list_opts(), ("DEFAULT", [cfg.StrOpt("transport_url", default="filesystem:///x")])]
    for group, opts in table:
        conf.register_opts(opts, None if group == "DEFAULT" else group)
    path = tmp_path / "x.conf"
    path.write_text(
        "[DEFAULT]\nnotification_driver = noop\nnotification_driver = routing\n"
        f"routing_notifier_config = {rules}\n"
    )
    conf(["--config-file", str(path)])
    settings = options.read(conf)
    assert settings.drivers == ("noop", "routing")
    assert [route.driver for route in settings.routes] == ["log"]
    assert Notifications(settings).wants("image.create")


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
