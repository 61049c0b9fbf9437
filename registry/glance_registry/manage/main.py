"""The console script glance-manage: schema, definitions, stores, failed removals, taking over an installation."""

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Any

from oslo_config import cfg

from glance_common.config import loading
from glance_common.model.errors import GlanceError
from glance_registry.config import list_manage_opts
from glance_registry.db import schema
from glance_registry.manage import adopt, metadefs, purge, stores
from glance_registry.wsgi import database_url

PROG = "glance-manage"
READS_ALSO = ("glance-api", "glance-registry")
"""Their files are read first, so that the database and the stores need not be written down again."""

OUT_OF_DATE = 3
"""Exit code of ``db check`` when the schema needs ``db sync`` (tools section 3)."""

Command = Callable[[cfg.ConfigOpts, Any], int]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return 0, 1 for an error that is printed, or the command's own code."""
    arguments = sys.argv[1:] if argv is None else argv
    try:
        cli = [cfg.SubCommandOpt("command", handler=_add_commands, title="Commands")]
        conf = loading.load(PROG, arguments, list_manage_opts(), cli, others=READS_ALSO)
        run: Command = conf.command.run
        return run(conf, conf.command)
    except (loading.ConfigError, GlanceError) as error:
        print(f"ERROR: {error}", file=sys.stderr)  # noqa: T201 - a command line tool speaks to the terminal
        return 1


def _add_commands(parsers: Any) -> None:
    database = parsers.add_parser("db", help="the schema, and what is loaded into it")
    commands = database.add_subparsers(required=True, metavar="COMMAND")
    # The old form with an underscore, which scripts still use.
    for prefix, group in (("", commands), ("db_", parsers)):
        _add(group, f"{prefix}sync", "bring the schema to the newest revision", sync).add_argument("--version")
        _add(group, f"{prefix}upgrade", "the same as sync", sync).add_argument("--version")
        _add(group, f"{prefix}version", "print the revision of the schema", version)
        _add(group, f"{prefix}check", f"exit {OUT_OF_DATE} when the schema is not what this code needs", check)
        metadefs.add_commands(group, prefix)
    stores.add_commands(parsers)
    purge.add_commands(parsers)
    adopt.add_commands(parsers)


def _add(group: Any, name: str, text: str, run: Command) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = group.add_parser(name, help=text, description=text)
    parser.set_defaults(run=run)
    return parser


def sync(conf: cfg.ConfigOpts, arguments: Any) -> int:
    """Bring the schema to the newest revision, or to the one that was asked for."""
    url = database_url(conf)
    before = schema.version(url)
    schema.upgrade(url, arguments.version or "head")
    after = schema.version(url)
    _say(f"Database is up to date: revision {after}." if before == after else f"Database upgraded to {after}.")
    return 0


def version(conf: cfg.ConfigOpts, _arguments: Any) -> int:
    """Print the revision of the schema."""
    _say(schema.version(database_url(conf)) or "no schema")
    return 0


def check(conf: cfg.ConfigOpts, _arguments: Any) -> int:
    """Say whether this code can work with the database."""
    found, needed = schema.version(database_url(conf)), schema.newest()
    if found == needed:
        _say("Database is up to date.")
        return 0
    _say(f"Database is at revision {found or 'none'}, this code needs {needed}: run {PROG} db sync.")
    return OUT_OF_DATE


def _say(text: str) -> None:
    print(text)  # noqa: T201 - a command line tool speaks to the terminal
