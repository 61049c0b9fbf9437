"""What the commands of glance-manage share: parsers, lines for the operator, progress."""

import argparse
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from oslo_config import cfg

USAGE = 2
"""Exit code for a wrong command line."""

Run = Callable[[cfg.ConfigOpts, Any], int]


def say(text: str) -> None:
    """Print a line of the answer."""
    print(text, flush=True)  # noqa: T201 - a command line tool speaks to the terminal


def complain(text: str) -> None:
    """Print a line about what went wrong, or may."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - a command line tool speaks to the terminal


def add_command(group: Any, name: str, text: str, run: Run) -> argparse.ArgumentParser:
    """Add a command with its help, and return its parser."""
    parser: argparse.ArgumentParser = group.add_parser(name, help=text, description=text, allow_abbrev=False)
    parser.set_defaults(run=run)
    return parser


def add_group(parsers: Any, name: str, text: str) -> Any:
    """Add a group of commands and return it; without a command of the group it lists them."""
    parser: argparse.ArgumentParser = parsers.add_parser(name, help=text, description=text)
    parser.set_defaults(run=partial(_list_commands, parser))
    return parser.add_subparsers(title="Commands", metavar="COMMAND")


def _list_commands(parser: argparse.ArgumentParser, _conf: cfg.ConfigOpts, _arguments: Any) -> int:
    parser.print_help(sys.stderr)
    return USAGE
