"""The console script glance-scrubber: one pass for cron, a daemon, or one command for an operator (tools section 2)."""

import logging
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import uuid4

from oslo_config import cfg

from glance_common.config import loading
from glance_common.config.findings import explain, report
from glance_common.delete_queue.depth import QueueDepth
from glance_common.heap import share_heaps
from glance_common.messaging.connection import BROKER_ERRORS, Broker, describe, parse_broker
from glance_common.model.context import system_context
from glance_common.model.errors import GlanceError
from glance_common.monitor import dependencies
from glance_common.monitor.exporter import parse_address
from glance_common.monitor.monitor import Monitor
from glance_common.notifications import Notifications, options
from glance_common.notify import Notifier
from glance_common.observability import log
from glance_common.observability.metrics.catalog import REGISTRY
from glance_common.registry_client import RegistryClient, connect
from glance_common.stores import loader
from glance_scrubber import commands, dead_letters
from glance_scrubber.background import BackgroundVerify
from glance_scrubber.commands import Workshop
from glance_scrubber.config import COMMAND_OPTS, list_opts
from glance_scrubber.consumer import QueueConsumer, drain
from glance_scrubber.quarantine import QuarantineTool
from glance_scrubber.rate import Rate
from glance_scrubber.scrub import Scrubber, ScrubSettings
from glance_scrubber.signals import stopping
from glance_scrubber.sweep import Sweep

LOG = logging.getLogger(__name__)
PROG = "glance-scrubber"


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the command line says; return 0, or 1 with ``ERROR: …`` when it cannot be done at all.

    A pass ends with 0 also when data could not be removed: they stay due.
    """
    try:
        conf = loading.load(PROG, sys.argv[1:] if argv is None else argv, list_opts(), cli=COMMAND_OPTS)
        commands.check(conf)
        log.setup(conf, PROG, terminal=conf.check_config)
        if conf.restore:
            return restore(connect_registry(conf), conf.restore)
        table = [*list_opts(), *loader.store_opts(conf)]
        is_right = report(conf, table, explains=False)
        parts = build(conf, connect_registry(conf))
        watching = monitor(conf, parts)
        if conf.check_config:
            explain(conf, table)
            return 0 if is_right else 1
        share_heaps()
        with stopping(parts.stop), _notifying(conf) as notifications:
            workshop = Workshop(
                connect_registry(conf), parts.scrubber.stores, notifications, conf.scrubber.claim_lease,
                conf.scrub_pool_size, parts.stop,
            )
            if conf.daemon:
                return run(parts, watching, conf.wakeup_time, background(conf, workshop))
            return command(conf, parts, workshop)
    except (loading.ConfigError, GlanceError) as error:
        print(f"ERROR: {error}", file=sys.stderr)  # noqa: T201 - the tool's answer to its caller
        LOG.debug("%s", error)
        return 1


@dataclass(frozen=True, slots=True)
class Parts:
    """What works together in one process."""

    broker: Broker
    registry: RegistryClient
    scrubber: Scrubber
    stop: threading.Event


@contextmanager
def _notifying(conf: cfg.ConfigOpts) -> Iterator[Notifications]:
    """Give the sending end of notifications and stop it, with what waits. Raises ConfigError."""
    made = Notifications(options.read(conf))
    made.start()
    try:
        yield made
    finally:
        made.stop()


def command(conf: cfg.ConfigOpts, parts: Parts, workshop: Workshop) -> int:
    """Do the one command that the command line names, or a pass without any; raises GlanceError."""
    if conf.verify_now:
        return commands.verify(workshop, conf)
    if conf.reconcile_now:
        return commands.reconcile(workshop, conf)
    if conf.dead_letters_action == "list":
        dead_letters.show(parts.broker, parts.registry.deletions)
    elif conf.dead_letters_action == "replay":
        return dead_letters.replay(parts.broker, parts.registry.deletions)
    elif conf.quarantine_action:
        rate = Rate(conf.scrubber.verify_rate * commands.MEGABYTE, parts.stop)
        tool = QuarantineTool(
            parts.registry, parts.scrubber.stores, parts.scrubber, rate, conf.scrubber.claim_lease
        )
        actions = {"list": lambda _: tool.show(), "release": tool.release, "discard": tool.discard}
        actions[conf.quarantine_action](conf.wanted_id or "")
    else:
        return one_pass(parts)
    return 0


def background(conf: cfg.ConfigOpts, workshop: Workshop) -> threading.Thread | None:
    """Return the thread that verifies the stores, None when that is switched off."""
    days: float = conf.scrubber.verify_interval
    if not days:
        return None
    rate = conf.scrubber.verify_rate * commands.MEGABYTE
    verify = BackgroundVerify(lambda: workshop.verify(rate), tuple(workshop.stores.ids), workshop.stop)
    return threading.Thread(target=verify.run, args=(days * 86400,), name="verify")


def connect_registry(conf: cfg.ConfigOpts) -> RegistryClient:
    """Return the client of the registry. Raises ConfigError."""
    # Each removal, the keeper of their leases and the sweep may all ask at the same time.
    secrets = loading.read_secrets(conf.registry.context_secret_file)
    return connect(conf, secrets, pool_size=conf.scrub_pool_size + 2)


def build(conf: cfg.ConfigOpts, registry: RegistryClient) -> Parts:
    """Return the collaborators; nothing runs or is connected yet. Raises ConfigError."""
    settings = ScrubSettings(
        lease=conf.scrubber.claim_lease,
        scrub_time=conf.scrub_time,
        max_attempts=conf.scrubber.max_attempts,
        pool_size=conf.scrub_pool_size,
    )
    stop = threading.Event()
    scrubber = Scrubber(registry.deletions, loader.load_stores(conf, registry.stores), settings, stop)
    return Parts(parse_broker(conf.transport_url), registry, scrubber, stop)


def monitor(conf: cfg.ConfigOpts, parts: Parts) -> Monitor:
    """Return what watches and reports beside the work. Raises ConfigError."""
    # A connection of its own: a call that hangs keeps none of the work's.
    watched = dependencies.watched(connect_registry(conf), parts.scrubber.stores, QueueDepth(parts.broker))
    return Monitor(watched, parse_address(conf.metrics_bind), REGISTRY)


def run(parts: Parts, watching: Monitor, wakeup_time: float, verify: threading.Thread | None = None) -> int:
    """Consume and sweep, and ``verify``, until the stop is set; what is being removed then is finished first."""
    consumer = QueueConsumer(parts.broker, parts.scrubber, parts.stop)
    size = parts.scrubber.settings.pool_size
    threads = [threading.Thread(target=consumer.run, name=f"consumer-{number}") for number in range(size)]
    sweep = Sweep(parts.registry.deletions, parts.scrubber, parts.stop)
    threads.append(threading.Thread(target=sweep.run, args=(wakeup_time,), name="sweep"))
    if verify is not None:
        threads.append(verify)
    for thread in threads:
        thread.start()
    watching.start()
    Notifier().send("READY=1")
    LOG.info("started; stores: %s; delete queue: %s", ", ".join(parts.scrubber.stores.ids), parts.broker.name)
    for thread in threads:
        thread.join()
    watching.stop()
    LOG.info("stopped")
    return 0


def one_pass(parts: Parts) -> int:
    """Work what the queue holds and then what is due, and return; raises GlanceError when the registry is away."""
    try:
        drain(parts.broker, parts.scrubber, parts.stop)
    except BROKER_ERRORS as error:
        LOG.warning("the delete queue at %s: %s; the due rows say it all", parts.broker.name, describe(error))
    Sweep(parts.registry.deletions, parts.scrubber, parts.stop).run_once()
    return 0


def restore(registry: RegistryClient, image_id: str) -> int:
    """Bring a deleted image back with its data, properties, tags and members (S-74). Raises GlanceError."""
    image = registry.images.restore(system_context(f"req-{uuid4()}"), image_id, str(uuid4()))
    LOG.info("image %s is %s again", image.id, image.status)
    print(f"Image {image.id} is {image.status} again.")  # noqa: T201 - the tool's answer to its caller
    return 0
