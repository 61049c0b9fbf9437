"""The console script glance-api."""

import logging
from collections.abc import Sequence

from oslo_config import cfg

from glance_api import config as api_config
from glance_api import policy
from glance_api.http.auth import choose
from glance_api.wsgi import application
from glance_common.config import loading
from glance_common.model.pages import MAX_PAGE_ROWS
from glance_common.server import Application, Command, ServerSettings
from glance_common.stores import loader

LOG = logging.getLogger(__name__)
PROG = "glance-api"
READS_ALSO = ("glance-image-import",)
"""Files that are read before its own, as by the original."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run glance-api until it is stopped; return 1 when the configuration does not allow a start."""
    return Command(PROG, load, option_table, prepare).run(argv)


def load(arguments: Sequence[str]) -> cfg.ConfigOpts:
    """Read the configuration. Raises ConfigError."""
    return loading.load(PROG, arguments, [*api_config.list_opts(), *policy.list_opts()], others=READS_ALSO)


def option_table(conf: cfg.ConfigOpts) -> loading.OptionTable:
    """Return all options of this configuration, those of its stores too."""
    return [*api_config.list_opts(), *policy.list_opts(), *loader.store_opts(conf)]


def prepare(conf: cfg.ConfigOpts) -> tuple[ServerSettings, Application]:
    """Return how to listen and what to serve. Raises ConfigError for everything that must not start."""
    flavor = choose(conf)
    for line in flavor.warnings():
        LOG.warning("%s", line)
    if conf.find_file(conf.schema_image_file) is None:
        LOG.warning("there is no %s: the image schema has no additional properties", conf.schema_image_file)
    if conf.api_limit_max > MAX_PAGE_ROWS:
        LOG.warning("[DEFAULT] api_limit_max = %d: a page holds at most %d rows", conf.api_limit_max, MAX_PAGE_ROWS)
    settings = ServerSettings.from_conf(conf, default_host=flavor.default_host, max_document=conf.max_json_body)
    flavor.check_bind(settings.host, allow_insecure=conf.allow_insecure_bind)
    return settings, application(conf)
