"""The console script of a service: read the configuration, check it, serve."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from oslo_config import cfg

from glance_common.config.findings import explain, report
from glance_common.config.loading import ConfigError, OptionTable
from glance_common.observability import log
from glance_common.server.master import Application, serve
from glance_common.server.settings import ServerSettings


@dataclass(frozen=True, slots=True)
class Command:
    """What is special to one service; every function may raise ConfigError.

    ``load`` reads the configuration that arguments name, ``options`` returns all options that it may have, ``prepare``
    how to listen and what to serve.
    """

    prog: str
    load: Callable[[Sequence[str]], cfg.ConfigOpts]
    options: Callable[[cfg.ConfigOpts], OptionTable]
    prepare: Callable[[cfg.ConfigOpts], tuple[ServerSettings, Application]]

    def run(self, arguments: Sequence[str] | None = None) -> int:
        """Serve until stopped; return 1 when the configuration does not allow a start, or fails ``--check-config``."""
        given = sys.argv[1:] if arguments is None else arguments
        try:
            conf = self.load(given)
            log.setup(conf, self.prog, terminal=conf.check_config)
            # First, so that an operator hears of all names although something stops the start.
            table = self.options(conf)
            is_right = report(conf, table, explains=False)
            settings, service = self.prepare(conf)
        except ConfigError as error:
            print(f"{self.prog}: {error}", file=sys.stderr)  # noqa: T201 - the log may not be set up yet
            return 1
        if conf.check_config:
            explain(conf, table)
            return 0 if is_right else 1
        serve(settings, service, name=self.prog, on_reload=lambda: self.prepare(self.load(given)))
        return 0
