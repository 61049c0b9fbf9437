"""The console script glance-api."""

import logging
import sys
from collections.abc import Sequence

from oslo_config import cfg

from glance_api import config as api_config
from glance_api import policy
from glance_api.auth import choose
from glance_api.wsgi import application
from glance_common import config, log, server
from glance_common.server import Application, ServerSettings
from glance_common.stores import loader

LOG = logging.getLogger(__name__)
PROG = "glance-api"


def main(argv: Sequence[str] | None = None) -> int:
    """Run glance-api until it is stopped; return 1 when the configuration does not allow a start."""
    arguments = sys.argv[1:] if argv is None else argv
    try:
        conf = load(arguments)
        log.setup(conf, PROG)
        problems = warnings(conf)
        settings, service = prepare(conf)
    except config.ConfigError as error:
        print(f"{PROG}: {error}", file=sys.stderr)  # noqa: T201 - the log may not be set up yet
        return 1
    for problem in problems:
        LOG.warning("%s", problem)
    if conf.check_config:
        return 1 if problems else 0
    server.serve(settings, service, name=PROG, on_reload=lambda: prepare(load(arguments)))
    return 0


def load(arguments: Sequence[str]) -> cfg.ConfigOpts:
    """Read the configuration. Raises ConfigError."""
    return config.load(PROG, arguments, [*api_config.list_opts(), *policy.list_opts()])


def warnings(conf: cfg.ConfigOpts) -> list[str]:
    """Return what is not understood or without effect in the configuration files."""
    return config.unknown_names(conf, [*api_config.list_opts(), *loader.store_opts(conf)])


def prepare(conf: cfg.ConfigOpts) -> tuple[ServerSettings, Application]:
    """Return how to listen and what to serve. Raises ConfigError for everything that must not start."""
    flavor = choose(conf)
    for line in flavor.warnings():
        LOG.warning("%s", line)
    if conf.find_file(conf.schema_image_file) is None:
        LOG.warning("there is no %s: the image schema has no additional properties", conf.schema_image_file)
    settings = ServerSettings.from_conf(conf, default_host=flavor.default_host)
    flavor.check_bind(settings.host, allow_insecure=conf.allow_insecure_bind)
    return settings, application(conf)
