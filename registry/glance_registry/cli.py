"""The console script glance-registry."""

import logging
import sys
from collections.abc import Sequence

from oslo_config import cfg

from glance_common import config, log, server
from glance_common.server import Application, ServerSettings
from glance_registry.config import list_opts
from glance_registry.wsgi import application, check_capacity

LOG = logging.getLogger(__name__)
PROG = "glance-registry"


def main(argv: Sequence[str] | None = None) -> int:
    """Run glance-registry until it is stopped; return 1 when the configuration does not allow a start."""
    arguments = sys.argv[1:] if argv is None else argv
    try:
        conf = config.load(PROG, arguments, list_opts())
        log.setup(conf, PROG)
        problems = config.unknown_names(conf, list_opts())
        settings, service = prepare(conf)
    except config.ConfigError as error:
        print(f"{PROG}: {error}", file=sys.stderr)  # noqa: T201 - the log may not be set up yet
        return 1
    for problem in problems:
        LOG.warning("%s", problem)
    if conf.check_config:
        return 1 if problems else 0
    server.serve(settings, service, name=PROG, on_reload=lambda: prepare(config.load(PROG, arguments, list_opts())))
    return 0


def prepare(conf: cfg.ConfigOpts) -> tuple[ServerSettings, Application]:
    """Return how to listen and what to serve. Raises ConfigError for everything that must not start."""
    settings, service = ServerSettings.from_conf(conf), application(conf)
    check_capacity(conf)
    return settings, service
