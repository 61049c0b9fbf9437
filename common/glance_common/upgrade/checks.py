"""Checks of what all daemons share: the secret, the message broker, the names in the configuration files."""

import os
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import entry_points
from pathlib import Path

from oslo_config import cfg

from glance_common.config import findings, loading
from glance_common.config.files import read_files
from glance_common.config.loading import OptionTable
from glance_common.delete_queue.broker import DEAD_QUEUE
from glance_common.messaging.connection import BROKER_ERRORS, Broker, describe, held, open_amqp, parse_broker
from glance_common.stores import loader
from glance_common.upgrade.contract import FINE, UpgradeCheck, UpgradeChecks, UpgradeOutcome, failure, warning

MOST_NAMED = 5
"""Names that one line repeats."""


def secret_file(conf: cfg.ConfigOpts) -> UpgradeOutcome:
    """Check that the secret between the daemons is there, long enough, and for owner and group only."""
    loading.read_secrets(conf.registry.context_secret_file)
    return FINE


def broker(conf: cfg.ConfigOpts) -> UpgradeOutcome:
    """Check that the message broker answers, and that no message was put aside as unreadable."""
    place = parse_broker(conf.transport_url)
    try:
        dead = _dead_in_directory(place.directory) if place.directory is not None else _dead_messages(place)
    except BROKER_ERRORS as error:
        # Nothing is lost without it: the scrubber's sweep finds what is due.
        return failure(f"{place.name} does not answer: {describe(error)}")
    if dead:
        return warning(f"{dead} messages in {DEAD_QUEUE.name} could not be read; look at them and remove them.")
    return FINE


def _dead_in_directory(directory: Path) -> int:
    if not os.access(directory, os.R_OK | os.W_OK | os.X_OK):
        raise PermissionError(f"the directory {directory} is missing or not writable")
    return sum(name.endswith(f".{DEAD_QUEUE.name}.msg") for name in os.listdir(directory))


def _dead_messages(place: Broker) -> int:
    """Return how many there are. Nothing is declared: a check changes nothing."""
    # The queue is made when the first such message comes; asking for it before breaks the channel only.
    with held(open_amqp(place)) as connection, suppress(*connection.channel_errors):
        return int(DEAD_QUEUE(connection.default_channel).queue_declare(passive=True).message_count)
    return 0


def option_names(conf: cfg.ConfigOpts) -> UpgradeOutcome:
    """Check that each name in the files means something."""
    found = findings.findings(conf, every_option(conf))
    wrong = [finding.text for finding in found if finding.is_wrong]
    if wrong:
        return warning(_listed("names that no program knows", wrong))
    texts = [finding.text for finding in found]
    return warning(_listed("options without effect", texts)) if texts else FINE


def every_option(conf: cfg.ConfigOpts) -> OptionTable:
    """Return the options of all programs, and of the configured stores."""
    table = [*loader.store_opts(conf)]
    for point in entry_points(group="oslo.config.opts"):
        if point.name.startswith("glance_"):
            table += point.load()()
    return table


def _listed(what: str, texts: Sequence[str]) -> str:
    more = f"; and {len(texts) - MOST_NAMED} more" if len(texts) > MOST_NAMED else ""
    return f"{len(texts)} {what}: {'; '.join(texts[:MOST_NAMED])}{more}"


def owner_is_tenant(conf: cfg.ConfigOpts) -> UpgradeOutcome:
    """Check that owners are projects: the original once let users own images."""
    for path, sections in read_files(conf):
        values = sections.get("DEFAULT", {}).get("owner_is_tenant")
        if values:
            if values[-1].strip().lower() in ("false", "no", "off", "0"):
                return failure(
                    f"{path}: owner_is_tenant = {values[-1]}: owners are projects here; give each image of a user to a "
                    "project, then remove the option."
                )
            break
    return FINE


def sheepdog_store(conf: cfg.ConfigOpts) -> UpgradeOutcome:
    """Name a Sheepdog store: today's original has none, so there is no way back with it."""
    if "sheepdog" in loader.kinds_in_use(conf):
        return warning("a store of kind sheepdog is configured: it works here, and not with the original of today.")
    return FINE


CHECKS = UpgradeChecks((
    UpgradeCheck("Sheepdog store", sheepdog_store),
    UpgradeCheck("Owners are projects", owner_is_tenant),
    UpgradeCheck("Names of options", option_names),
    UpgradeCheck("Secret of the registry", secret_file),
    UpgradeCheck("Message broker", broker),
))

