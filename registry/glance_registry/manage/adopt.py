"""glance-manage adopt: take over the database of an installation of the original, and compare both sides."""

import argparse
import os
import time
from datetime import UTC, datetime
from typing import Any

from oslo_config import cfg

from glance_common import progress
from glance_common.model.errors import BadRequest
from glance_common.stores import loader
from glance_registry.adopt import run, verify
from glance_registry.adopt.cipher import LocationCipher
from glance_registry.adopt.places import Places
from glance_registry.adopt.report import table
from glance_registry.adopt.source import parse
from glance_registry.db.session import make_engine
from glance_registry.manage.stores import RegisteredPlaces
from glance_registry.manage.terminal import say
from glance_registry.wsgi import database_url

LEFT_OUT = 3
"""Exit code of a run after which something is not here as it is there; the report names it."""
MOST_SHOWN = 1000
"""Differences that are printed; all are counted."""

URL_VARIABLE, KEY_VARIABLE = "GLANCE_ADOPT_FROM", "GLANCE_ADOPT_ENCRYPTION_KEY"
_WIDTH = 30


def add_commands(parsers: Any) -> None:
    """Add the command to the parsers of glance-manage."""
    text = "take over the database of the original service; it is only read, and the run may be repeated"
    parser = parsers.add_parser("adopt", help=text, description=text)
    parser.add_argument(
        "--from", dest="source", metavar="URL",
        help="its database: postgresql://user:password@host/glance or mysql+pymysql://…; "
        f"instead the variable {URL_VARIABLE}, which no list of processes shows",
    )
    parser.add_argument(
        "--since", type=_moment, metavar="TIME",
        help="only what changed there at this time (ISO 8601, UTC) or later, as the report of the last run says it",
    )
    parser.add_argument(
        "--metadata-encryption-key", dest="encryption_key", metavar="KEY",
        help="its metadata_encryption_key, if it is not the one of the configuration; "
        f"instead the variable {KEY_VARIABLE}",
    )
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--dry-run", action="store_true", help="report what a run would do, and change nothing")
    mode.add_argument("--verify", action="store_true", help="compare both sides row by row, and change nothing")
    parser.set_defaults(run=adopt)


def adopt(conf: cfg.ConfigOpts, arguments: Any) -> int:
    """Take over, or compare; return 0, or 1 (--verify) or 3 when not all is here as it is there."""
    source = arguments.source or os.environ.get(URL_VARIABLE)
    if not source:
        raise BadRequest("--from: the URL of the other database must be given")
    target = database_url(conf)
    url = parse(source)
    engine = run.target_engine(target)
    key = arguments.encryption_key or os.environ.get(KEY_VARIABLE) or conf.metadata_encryption_key
    stores = loader.load_stores(conf, RegisteredPlaces(make_engine(target)))
    places = Places(stores, LocationCipher(key) if key else None)
    wanted = run.TakeOver(url, places, arguments.since, arguments.dry_run)
    return _verify(engine, wanted) if arguments.verify else _adopt(engine, wanted)


def _adopt(engine: Any, wanted: run.TakeOver) -> int:
    bar = _Bar()
    with progress.shown(bar.line):
        report = run.adopt(engine, wanted, bar.note)
    say(f"Revision of the schema there: {report.revision}.")
    for line in report.lines():
        say(line)
    say("")
    if wanted.is_dry:
        say("Nothing was changed: this was a dry run.")
    else:
        say(f"What changes there from now on comes with --since {report.next_since}")
    return 0 if report.is_complete else LEFT_OUT


def _verify(engine: Any, wanted: run.TakeOver) -> int:
    compared, shown, total = verify.Compared(), [("what", "field", "there", "here")], 0
    bar = _Bar()
    with progress.shown(bar.line):
        for each in verify.compare(engine, wanted, compared, bar.note):
            total += 1
            if total <= MOST_SHOWN:
                shown.append((each.thing, each.field, each.there, each.here))
    if total:
        for line in table(shown):
            say(line)
    if total > MOST_SHOWN:
        say(f"and {total - MOST_SHOWN} more")
    say(
        f"{compared.images} images, {compared.tasks} tasks and {compared.namespaces} namespaces were compared: "
        f"{total or 'no'} difference{'' if total == 1 else 's'}."
    )
    return 1 if total else 0


def _moment(text: str) -> datetime:
    """Return a time in UTC without a zone, as the other database has it. Raises ArgumentTypeError."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no time such as 2026-03-01T11:50:00") from None
    return moment if moment.tzinfo is None else moment.astimezone(UTC).replace(tzinfo=None)


class _Bar:
    """How many images are done, as a line for a terminal."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._done = self._total = 0

    def note(self, done: int, total: int) -> None:
        """Note that ``done`` of ``total`` images are done."""
        self._done, self._total = done, total

    def line(self) -> str:
        """Return what is to be said now."""
        done, total = self._done, self._total
        rate = done / max(time.monotonic() - self._began, 0.001)
        part = min(done / total, 1) if total else 1
        return f"[{'#' * int(_WIDTH * part):<{_WIDTH}}] {done} of {total} images, {rate:.0f}/s"
