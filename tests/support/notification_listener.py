"""A consumer of notifications as other services have one: oslo.messaging's own listener.

Runs in the environment ``messaging``; the argument is the broker's URL. Writes one JSON object a line for each
notification, after a first line that says it listens.
"""

import json
import sys
import threading

import oslo_messaging
from oslo_config import cfg


class Endpoint:
    """Takes notifications of one priority each."""

    def info(self, context, publisher_id, event_type, payload, metadata):
        """Write down one of priority INFO."""
        write("INFO", context, publisher_id, event_type, payload, metadata)

    def error(self, context, publisher_id, event_type, payload, metadata):
        """Write down one of priority ERROR."""
        write("ERROR", context, publisher_id, event_type, payload, metadata)


def write(priority, context, publisher_id, event_type, payload, metadata):
    """Print one notification."""
    line = {
        "priority": priority,
        "context": context,
        "publisher_id": publisher_id,
        "event_type": event_type,
        "payload": payload,
        "metadata": metadata,
    }
    print(json.dumps(line), flush=True)  # noqa: T201 - it speaks to the test that started it


def main():
    """Listen until the process is ended."""
    conf = cfg.ConfigOpts()
    conf([])
    transport = oslo_messaging.get_notification_transport(conf, url=sys.argv[1])
    target = oslo_messaging.Target(topic="notifications", exchange="glance")
    listener = oslo_messaging.get_notification_listener(transport, [target], [Endpoint()], executor="threading")
    # One thread, so that lines are written whole and in the order in which they came.
    listener.start(override_pool_size=1)
    print(json.dumps("listening"), flush=True)  # noqa: T201 - as above
    threading.Event().wait()


if __name__ == "__main__":
    main()
