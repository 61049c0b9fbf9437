"""The console script glance-registry."""

from collections.abc import Sequence

from oslo_config import cfg

from glance_common.config import loading
from glance_common.server import Application, Command, ServerSettings
from glance_registry.app import MAX_BODY
from glance_registry.config import list_opts
from glance_registry.wsgi import application, check_capacity

PROG = "glance-registry"


def main(argv: Sequence[str] | None = None) -> int:
    """Run glance-registry until it is stopped; return 1 when the configuration does not allow a start."""
    return Command(PROG, _load, lambda _conf: list_opts(), prepare).run(argv)


def _load(arguments: Sequence[str]) -> cfg.ConfigOpts:
    return loading.load(PROG, arguments, list_opts())


def prepare(conf: cfg.ConfigOpts) -> tuple[ServerSettings, Application]:
    """Return how to listen and what to serve. Raises ConfigError for everything that must not start."""
    settings, service = ServerSettings.from_conf(conf, max_document=MAX_BODY), application(conf)
    check_capacity(conf)
    return settings, service
