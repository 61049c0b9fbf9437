"""glance-manage deletions: what could not be removed from the stores, and another try for it."""

from typing import Any
from uuid import UUID, uuid4

from oslo_config import cfg
from sqlalchemy import Engine

from glance_common.model.errors import GlanceError
from glance_registry.db.session import make_engine, read, run_transaction
from glance_registry.locations import purge
from glance_registry.manage.terminal import add_command, add_group, say
from glance_registry.wsgi import database_url

PAGE = 1000
HEADINGS = ("location", "image", "store", "attempts", "error")


def add_commands(parsers: Any) -> None:
    """Add the commands of ``deletions`` to the parsers of glance-manage."""
    commands = add_group(parsers, "deletions", "removals of data that failed too often")
    add_command(commands, "failed", "list the removals that failed too often", show_failed)
    again = add_command(commands, "replay", "let failed removals be tried again", replay)
    which = again.add_mutually_exclusive_group(required=True)
    which.add_argument("location", nargs="?", type=_location_id, help="the id of one location, as listed by failed")
    which.add_argument("--all", action="store_true", help="every location that is listed by failed")
    text = "record what is to be removed from a store as gone, because the store itself is lost"
    lost = add_command(commands, "write-off", text, write_off)
    lost.add_argument("store", help="the id of the store, as listed by failed or in the log of the scrubber")


def show_failed(conf: cfg.ConfigOpts, _arguments: Any) -> int:
    """Print a table of the locations whose removal failed too often."""
    rows = _all_failed(make_engine(database_url(conf)))
    if not rows:
        say("No removal has failed.")
        return 0
    cells = [HEADINGS] + [
        (row["location"], row["image_id"], row["store"], str(row["attempts"]), _one_line(row["last_error"]))
        for row in rows
    ]
    widths = [max(len(line[column]) for line in cells) for column in range(len(HEADINGS))]
    for line in cells:
        say("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
    return 0


def replay(conf: cfg.ConfigOpts, arguments: Any) -> int:
    """Make one failed location, or all of them, claimable now; return 1 when one could not be replayed."""
    engine = make_engine(database_url(conf))
    wanted = [row["location"] for row in _all_failed(engine)] if arguments.all else [arguments.location]
    refused = 0
    for location in wanted:
        try:
            row = run_transaction(engine, purge.replay, location, str(uuid4()))
        except GlanceError as error:
            refused += 1
            say(f"{location}: {error.message}")
        else:
            say(f"{location}: {row['status']}, a scrubber will try again")
    if not wanted:
        say("No removal has failed.")
    return 1 if refused else 0


def write_off(conf: cfg.ConfigOpts, arguments: Any) -> int:
    """Close every removal in a store that will never come back, so that its images are deleted at last."""
    engine = make_engine(database_url(conf))
    owed = read(engine, purge.owed, arguments.store)
    written = sum(run_transaction(engine, purge.write_off, location) for location in owed)
    say(f"{written} of {len(owed)} removals from the store {arguments.store} are written off.")
    return 0 if written == len(owed) else 1


def _location_id(text: str) -> str:
    return str(UUID(text))


def _all_failed(engine: Engine) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    while page := read(engine, purge.failed, PAGE, rows[-1]["location"] if rows else None):
        rows += page
    return rows


def _one_line(text: str | None) -> str:
    return " ".join((text or "").split())
