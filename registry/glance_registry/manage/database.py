"""glance-manage db: the schema of the database, all at once or in the phases of an upgrade under load."""

from collections.abc import Callable
from functools import partial
from typing import Any

from oslo_config import cfg

from glance_common.model.errors import BadRequest
from glance_common.progress import write_over
from glance_registry.db import schema
from glance_registry.db.schema import Phase
from glance_registry.manage.terminal import add_command, complain, say
from glance_registry.wsgi import database_url

NEEDED = {Phase.EXPAND: 3, Phase.MIGRATE: 4, Phase.CONTRACT: 5}
"""Exit code of ``db check`` by the phase that comes next (tools section 3)."""

FIRST = "0001"

_TEXTS = {
    Phase.EXPAND: "upgrade, first part: add what the new release needs, while the old one runs",
    Phase.MIGRATE: "upgrade, second part: change rows in small transactions, while both releases run",
    Phase.CONTRACT: "upgrade, last part: take away what only the old release needs",
}


def add_commands(group: Any, prefix: str) -> None:
    """Add the commands to ``group``, with ``prefix`` before their names."""

    def add(name: str, text: str, run: Callable[[cfg.ConfigOpts, Any], int]) -> Any:
        return add_command(group, f"{prefix}{name}", text, run)

    syncing = add("sync", "bring the schema to the newest revision, or to an older one that is named", sync)
    _add_version(syncing, "the revision")
    syncing.add_argument("--current_version", metavar="VERSION",
                         help="the revision of a database that does not say which one it has")
    _add_version(add("upgrade", "the same as sync", sync), "the revision")
    for phase, text in _TEXTS.items():
        add(phase, text, partial(advance, phase))
    add("check", "say by the exit code what an upgrade needs: 0 nothing, 3 expand, 4 migrate, 5 contract", check)
    add("version", "print the revision of the schema", version)
    marking = add("version_control", "record the revision of a database that does not say which one it has", mark)
    _add_version(marking, f"the revision ({FIRST})")
    _add_version(add("downgrade", "say why the schema cannot go back", refuse_downgrade), "without effect")


def _add_version(parser: Any, text: str) -> None:
    parser.add_argument("version_word", nargs="?", metavar="VERSION", help=text)
    parser.add_argument("--version", metavar="VERSION", help="the same")


def _wanted(arguments: Any, otherwise: str) -> str:
    return str(arguments.version or arguments.version_word or otherwise)


def sync(conf: cfg.ConfigOpts, arguments: Any) -> int:
    """Bring the schema to the newest revision, or to the one that was asked for."""
    url = database_url(conf)
    before = schema.version(url)
    current = getattr(arguments, "current_version", None)
    if current is not None and before is None:
        schema.mark(url, current)
        before = current
    elif current not in (None, before):
        raise BadRequest(f"--current_version: the database is at revision {before}, not at {current}")
    schema.upgrade(url, _wanted(arguments, "head"), say, write_over)
    after = schema.version(url)
    say(f"Database is up to date: revision {after}." if before == after else f"Database upgraded to {after}.")
    return 0


def advance(phase: Phase, conf: cfg.ConfigOpts, _arguments: Any) -> int:
    """Do one part of an upgrade, as far as it goes, and say what comes next."""
    url = database_url(conf)
    before = schema.version(url)
    schema.advance(url, phase, say, write_over)
    if before == schema.version(url):
        say(f"Nothing to {phase}.")
    left = schema.pending(url)
    say(f"Next: glance-manage db {left[0].phase}." if left else "Database is up to date.")
    return 0


def check(conf: cfg.ConfigOpts, _arguments: Any) -> int:
    """Say whether this code can work with the database, and what it needs."""
    url = database_url(conf)
    left = schema.pending(url)
    if not left:
        say("Database is up to date.")
        return 0
    found = schema.version(url) or "none"
    say(
        f"Database is at revision {found}, this release has {schema.newest()}: run glance-manage db {left[0].phase}, "
        "or glance-manage db sync for everything at once."
    )
    return NEEDED[left[0].phase]


def version(conf: cfg.ConfigOpts, _arguments: Any) -> int:
    """Print the revision of the schema."""
    say(schema.version(database_url(conf)) or "no schema")
    return 0


def mark(conf: cfg.ConfigOpts, arguments: Any) -> int:
    """Record the revision of a database that does not say which one it has."""
    revision = _wanted(arguments, FIRST)
    schema.mark(database_url(conf), revision)
    say(f"Database is recorded to be at revision {revision}.")
    return 0


def refuse_downgrade(_conf: cfg.ConfigOpts, _arguments: Any) -> int:
    """Say why the schema cannot go back."""
    complain(
        "ERROR: the schema does not go back: what the new release has written would be lost. The release before works "
        "with the newer schema until db contract; after that, restore the database from its backup."
    )
    return 1
