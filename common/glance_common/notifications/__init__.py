"""Notifications: what happened, told to other services over the broker in the format of oslo.messaging.

    wire.py        one message as its consumers expect it
    topology.py    exchange and queues as oslo.messaging declares them
    routing.py     which drivers get which events
    publisher.py   which events are told, and the sending end of one process
"""

from glance_common.notifications.publisher import Notifications, NotificationSettings

__all__ = ["NotificationSettings", "Notifications"]
