"""The options of notifications, with names and groups of the original's files."""

from oslo_config import cfg, types

from glance_common.config.loading import OptionTable
from glance_common.notifications.publisher import NotificationSettings
from glance_common.notifications.routing import DRIVERS, GROUP, read_routes
from glance_common.notifications.topology import Topology

RABBIT_GROUP = "oslo_messaging_rabbit"
_ROUTING = "routing"

EVENT_OPTS: list[cfg.Opt] = [
    cfg.StrOpt("default_publisher_id", default="image.localhost", help="Who notifications say they come from."),
    cfg.ListOpt(
        "disabled_notifications", default=[],
        help="Events that are not sent: full types (image.upload) or groups of them (image.member, image).",
    ),
]

NOTIFICATION_OPTS: list[cfg.Opt] = [
    cfg.MultiOpt(
        "driver", item_type=types.String(choices=[*DRIVERS, _ROUTING]),
        deprecated_name="notification_driver", deprecated_group="DEFAULT",
        help="messagingv2 sends notifications; messaging sends them in the older format without an envelope, for "
        "consumers that need it; log writes them into the log of the service; noop, test and the default do nothing; "
        "routing chooses among these for each event, as the file routing_config says. May be given several times; an "
        "event goes to each driver once.",
    ),
    cfg.StrOpt(
        "routing_config", default="", deprecated_name="routing_notifier_config", deprecated_group="DEFAULT",
        help="YAML file of the driver routing: groups of any name, which hold drivers, which hold the lists "
        "accepted_events and accepted_priorities with patterns as of a shell; without a list all are accepted.",
    ),
    cfg.StrOpt(
        "transport_url", secret=True, deprecated_name="notification_transport_url", deprecated_group="DEFAULT",
        help="Message broker of notifications, amqp:// or amqps://. Unset: the transport_url in [DEFAULT].",
    ),
    cfg.ListOpt(
        "topics", default=["notifications"], deprecated_name="notification_topics", deprecated_group="DEFAULT",
        help="Topics; the routing key is <topic>.info or <topic>.error.",
    ),
    cfg.IntOpt(
        "retry", default=-1, min=-1,
        help="How often a notification is tried again; -1 = until the broker takes it. In any case the oldest are "
        "dropped when too many wait, and no request ever waits.",
    ),
]

RABBIT_OPTS: list[cfg.Opt] = [
    cfg.BoolOpt(
        "amqp_durable_queues", default=False,
        help="Declare exchange and queues of notifications durable. The three options here have to be those of the "
        "consumers, because a broker refuses declarations that differ.",
    ),
    cfg.BoolOpt("amqp_auto_delete", default=False, help="Declare them to vanish with their last user."),
    cfg.BoolOpt("rabbit_quorum_queue", default=False, help="Declare the queues as quorum queues, which are durable."),
]


def list_opts() -> OptionTable:
    """Return the options of a program that sends notifications."""
    return [("DEFAULT", EVENT_OPTS), (GROUP, NOTIFICATION_OPTS), (RABBIT_GROUP, RABBIT_OPTS)]


def read(conf: cfg.ConfigOpts) -> NotificationSettings:
    """Return the settings that the options hold. Raises ConfigError for a wrong ``routing_config``."""
    group, rabbit = conf[GROUP], conf[RABBIT_GROUP]
    drivers = tuple(group.driver or ())
    return NotificationSettings(
        drivers=drivers,
        routes=read_routes(group.routing_config) if _ROUTING in drivers else (),
        transport_url=group.transport_url or conf.transport_url,
        topics=tuple(group.topics),
        retry=group.retry,
        publisher_id=conf.default_publisher_id,
        disabled=tuple(conf.disabled_notifications),
        topology=Topology(
            durable_queues=rabbit.amqp_durable_queues,
            auto_delete=rabbit.amqp_auto_delete,
            quorum_queue=rabbit.rabbit_quorum_queue,
        ),
    )
