"""The console script glance-manage: schema, old rows, definitions, stores, failed removals, taking over."""

import sys
from collections.abc import Sequence
from typing import Any

from oslo_config import cfg

from glance_common.config import loading
from glance_common.config.findings import report
from glance_common.model.errors import GlanceError
from glance_common.observability import log
from glance_common.stores import loader
from glance_registry.config import list_manage_opts
from glance_registry.manage import adopt, database, deleted_rows, metadefs, purge, store_rename, stores
from glance_registry.manage.patience import wait_for_database
from glance_registry.manage.terminal import USAGE, Run, add_group, complain

PROG = "glance-manage"
READS_ALSO = ("glance-api", "glance-registry")
"""Their files are read first, so that the database and the stores need not be written down again."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return 0, 1 for an error that is printed, 2 without a command, or the command's own code."""
    arguments = sys.argv[1:] if argv is None else argv
    try:
        cli = [cfg.SubCommandOpt("command", handler=_add_commands, title="Commands")]
        conf = loading.load(PROG, arguments, list_manage_opts(), cli, others=READS_ALSO)
        # Without such an option, what is wrong goes to stderr as it is.
        if conf.check_config or log.on_command_line(arguments):
            log.setup_tool(conf, PROG, arguments)
        if conf.check_config:
            return 0 if report(conf, [*list_manage_opts(), *loader.store_opts(conf)]) else 1
        if conf.command.name is None:
            conf.print_help(sys.stderr)
            return USAGE
        run: Run = conf.command.run
        wait_for_database(conf)
        return run(conf, conf.command)
    except (loading.ConfigError, GlanceError) as error:
        complain(f"ERROR: {' '.join(str(error).split())}")
        return 1
    except KeyboardInterrupt:
        return 130


def _add_commands(parsers: Any) -> None:
    parsers.required = False  # the library wants a command, and then says no more than that one is missing
    commands = add_group(parsers, "db", "the schema, rows that are over, and what is loaded")
    # The old form with an underscore, which scripts still use.
    for prefix, group in (("", commands), ("db_", parsers)):
        database.add_commands(group, prefix)
        deleted_rows.add_commands(group, prefix)
        metadefs.add_commands(group, prefix)
    store_rename.add_commands(stores.add_commands(parsers))
    purge.add_commands(parsers)
    adopt.add_commands(parsers)
