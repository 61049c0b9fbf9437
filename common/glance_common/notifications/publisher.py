"""Which events are told, and the sending end of one process. No request ever waits for the broker (I9)."""

import logging
import math
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from glance_common.config.loading import ConfigError
from glance_common.messaging.connection import Broker, parse_broker
from glance_common.messaging.outbox import Message, Outbox, OutboxLimits
from glance_common.model.context import RequestContext
from glance_common.notifications.routing import GROUP, NotificationRoute
from glance_common.notifications.topology import EXCHANGE, Topology, connected
from glance_common.notifications.wire import Notification, Priority, encode

_ENVELOPES = {"messagingv2": True, "messaging": False}
_LOG_DRIVER = "log"

_LOGGER = "oslo.messaging.notification"
"""Of the driver ``log``, with the type of the event after it: the name that logging configurations know."""


@dataclass(frozen=True, slots=True)
class NotificationSettings:
    """Options of ``[oslo_messaging_notifications]`` and those named in configuration section 11.

    ``drivers`` are ``messagingv2``, ``messaging`` (without the envelope), ``log``, and ``noop`` or ``test``; without
    one of the first three nothing is told. ``routes`` add drivers for some events. ``transport_url`` is the group's
    own or else the one of the delete queue.
    ``retry`` is how often a failed message is tried again, -1 = until it works. ``disabled`` holds event types and
    groups of them.
    """

    drivers: tuple[str, ...] = ()
    transport_url: str = ""
    topics: tuple[str, ...] = ("notifications",)
    retry: int = -1
    publisher_id: str = "image.localhost"
    disabled: tuple[str, ...] = ()
    topology: Topology = field(default_factory=Topology)
    routes: tuple[NotificationRoute, ...] = ()


class Notifications:
    """The sending end of notifications, one in each process; start it after the fork.

    Switched off (the default) it starts and connects nothing, and ``wants`` is False for everything.
    """

    def __init__(self, settings: NotificationSettings, limits: OutboxLimits | None = None) -> None:
        """Read the settings; raises ConfigError when they name no broker that notifications can go to."""
        self._settings = settings
        used = {*settings.drivers, *(route.driver for route in settings.routes)}
        self._outbox = self._make_outbox(limits) if used & _ENVELOPES.keys() else None

    def _make_outbox(self, limits: OutboxLimits | None) -> Outbox:
        settings = self._settings
        broker = _amqp(settings.transport_url)
        keys = [_routing_key(topic, priority) for topic in settings.topics for priority in Priority]
        tries = math.inf if settings.retry < 0 else settings.retry + 1
        return Outbox(
            f"notifications to {broker.name}",
            lambda: connected(broker, settings.topology, keys),
            limits or OutboxLimits(tries=tries),
            queue="notifications",
        )

    @property
    def dropped(self) -> int:
        """Messages given up because too many waited or too many tries failed."""
        return self._outbox.dropped if self._outbox else 0

    def start(self) -> None:
        """Start the sending thread, when there is anything to send."""
        if self._outbox is not None:
            self._outbox.start()

    def stop(self, timeout: float = 5.0) -> None:
        """Send what waits, for at most ``timeout`` seconds, and end; the rest is dropped."""
        if self._outbox is not None:
            self._outbox.stop(timeout)

    def wants(self, event_type: str) -> bool:
        """Say whether an event is sent, so that no payload is built in vain."""
        is_told = any(self._drivers(event_type, priority) for priority in Priority)
        return is_told and not is_disabled(event_type, self._settings.disabled)

    def _drivers(self, event_type: str, priority: Priority) -> list[str]:
        """Return the drivers that tell an event, each once."""
        routed = [route.driver for route in self._settings.routes if route.accepts(event_type, priority)]
        drivers = dict.fromkeys((*self._settings.drivers, *routed))
        return [driver for driver in drivers if driver in _ENVELOPES or driver == _LOG_DRIVER]

    def send(
        self,
        context: RequestContext,
        event_type: str,
        payload: dict[str, Any] | str,
        priority: Priority = Priority.INFO,
    ) -> None:
        """Hand over one event for every topic, unless it is not wanted. Never waits for the broker and never raises."""
        if is_disabled(event_type, self._settings.disabled):
            return
        notification = Notification(event_type, priority, payload)
        for driver in self._drivers(event_type, priority):
            if driver == _LOG_DRIVER:
                _write(notification, self._settings.publisher_id, context)
            else:
                self._put(notification, context, envelope=_ENVELOPES[driver])

    def _put(self, notification: Notification, context: RequestContext, *, envelope: bool) -> None:
        if self._outbox is None:
            return
        body = encode(notification, self._settings.publisher_id, context, envelope=envelope)
        for topic in self._settings.topics:
            key = _routing_key(topic, notification.priority)
            self._outbox.put(Message(body, EXCHANGE, key, f"event {notification.event_type}", context.request_id))


def _write(notification: Notification, publisher_id: str, context: RequestContext) -> None:
    level = logging.ERROR if notification.priority is Priority.ERROR else logging.INFO
    body = encode(notification, publisher_id, context, envelope=False)
    logging.getLogger(f"{_LOGGER}.{notification.event_type}").log(level, "%s", body.decode())


def is_disabled(event_type: str, disabled: Collection[str]) -> bool:
    """Say whether ``disabled`` holds the event type or a group of it: ``image``, ``image.member``."""
    parts = event_type.split(".")
    return any(".".join(parts[:count]) in disabled for count in range(1, len(parts) + 1))


def _routing_key(topic: str, priority: Priority) -> str:
    return f"{topic}.{priority.lower()}"


def _amqp(transport_url: str) -> Broker:
    broker = parse_broker(transport_url, GROUP)
    if broker.directory is not None:
        raise ConfigError(GROUP, "transport_url", transport_url, "notifications need a broker: amqp:// or amqps://")
    return broker
