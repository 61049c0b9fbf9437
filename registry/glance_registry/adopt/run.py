"""A whole run: everything of the other side in one snapshot, written page by page.

A run may be repeated and broken off at any time: each page is complete, and a later run changes only what differs. A
dry run does the same in one transaction that is given up at its end, so that its report is that of a real run.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import sqlalchemy as sa

from glance_common.model.errors import BadRequest, Conflict, GlanceError, Unavailable
from glance_registry.adopt import definitions, tasks, translation
from glance_registry.adopt.places import CannotCome, Places
from glance_registry.adopt.reading import ImageRows, SourceRows
from glance_registry.adopt.recognition import recognize
from glance_registry.adopt.report import Report, RowOutcome
from glance_registry.adopt.source import snapshot
from glance_registry.adopt.writing import Written, write_page
from glance_registry.db import schema
from glance_registry.db.session import EngineSettings, make_engine, run_transaction

Apply = Callable[..., Any]
"""Does ``work(connection, …)`` in a transaction and returns what it returns."""
Progress = Callable[[int, int], None]
"""Is told how many images are done, and how many there are."""

_MARGIN = timedelta(minutes=10)
"""How much before its start a run is followed by the next one: clocks of hosts differ, and commits take time."""
_LOCK = sa.text("SELECT pg_try_advisory_xact_lock(hashtext('glance adopt'))")


@dataclass(frozen=True, slots=True)
class TakeOver:
    """What to take over: from which database, which stores have the data, and what changed since when (UTC)."""

    url: sa.URL
    places: Places
    since: datetime | None = None
    is_dry: bool = False


class _GiveUp(Exception):
    """Ends the transaction of a dry run."""

    def __init__(self, report: Report) -> None:
        super().__init__()
        self.report = report


def target_engine(url: str) -> sa.Engine:
    """Return an engine for our own database, with time for whole pages. Raises BadRequest without the newest schema."""
    found, needed = schema.version(url), schema.newest()
    if found != needed:
        raise BadRequest(
            f"our database is at revision {found or 'none'}, this needs {needed}: run glance-manage db sync"
        )
    return make_engine(url, EngineSettings(
        2, statement_timeout=900, lock_timeout=60, idle_timeout=0, application_name="glance-manage adopt"
    ))


def adopt(engine: sa.Engine, wanted: TakeOver, progress: Progress) -> Report:
    """Take over what is there, and return the report.

    Raises Conflict while another run is under way, BadRequest for a database that is not understood, Unavailable.
    """

    def alone(connection: sa.Connection) -> Report:
        if not connection.execute(_LOCK).scalar_one():
            raise Conflict("another run of glance-manage adopt writes to our database")
        if not wanted.is_dry:
            return _Run(wanted, progress, partial(run_transaction, engine)).all()
        raise _GiveUp(_Run(wanted, progress, lambda work, *values: work(connection, *values)).all())

    try:
        return run_transaction(engine, alone)
    except _GiveUp as end:
        return end.report


class _Run:
    """One run, with what it has counted."""

    def __init__(self, wanted: TakeOver, progress: Progress, apply: Apply) -> None:
        self._wanted = wanted
        self._progress = progress
        self._apply = apply
        self._report = Report()
        self._done = 0

    def all(self) -> Report:
        with snapshot(self._wanted.url) as connection:
            found = recognize(connection)
            source = SourceRows(connection, found, self._wanted.since)
            began, before = source.now(), source.state()
            try:
                self._images(source)
                self._tasks(source, began)
                self._definitions(source)
            except GlanceError as error:
                if self._done and not self._wanted.is_dry:
                    text = f"{error}; {self._done} images were done before and stay: run it again"
                    raise Unavailable(text) from error
                raise
        self._report.revision = found.revision
        self._report.next_since = (began - _MARGIN).isoformat()
        self._warn_of_writes(before)
        return self._report

    def _warn_of_writes(self, before: tuple[Any, ...]) -> None:
        with snapshot(self._wanted.url) as connection:
            if SourceRows(connection, recognize(connection)).state() != before:
                self._report.warnings.append(
                    "rows changed there during the run: it is being written to. What came is as it was when the run "
                    f"began. Stop it, and run again with --since {self._report.next_since}"
                )

    def _images(self, source: SourceRows) -> None:
        total = source.count()
        self._progress(0, total)
        for page in source.images():
            translated = [each for each in map(self._translated, page) if each is not None]
            if translated:
                self._note(translated, self._apply(write_page, translated))
            self._done += len(page)
            self._progress(self._done, total)

    def _translated(self, rows: ImageRows) -> translation.Translated | None:
        try:
            return translation.image(rows, self._wanted.places)
        except CannotCome as reason:
            self._report.count("images", str(rows.image.status)[:40], RowOutcome.LEFT)
            self._report.problem(f"image {rows.image.id}", str(reason))
            return None

    def _note(self, page: Sequence[translation.Translated], written: Written) -> None:
        for each in page:
            name = each.image["id"]
            is_kept = name in written.kept
            outcome = RowOutcome.KEPT if is_kept else outcome_of(written.images.get(name))
            self._report.count("images", each.image["status"], outcome)
            if is_kept:
                self._report.problem(f"image {name}", "the image was made or changed here: it stays as it is here")
                continue
            for problem in each.problems:
                self._report.problem(f"image {name}", problem)
                if problem.startswith("location:"):
                    self._report.count("locations", "", RowOutcome.LEFT)
            for row in [] if name in written.purged else each.locations:
                if row["id"] in written.owned:
                    self._report.count("locations", row["store"], RowOutcome.LEFT)
                    self._report.problem(f"image {name}", "location: its data belong to another image already")
                else:
                    self._report.count("locations", row["store"], outcome_of(written.locations.get(row["id"])))
        others = written.kept | written.purged
        members = sum(len(each.members) for each in page if each.image["id"] not in others)
        new = sum(written.members)
        self._report.count("members", "", RowOutcome.NEW, new)
        self._report.count("members", "", RowOutcome.CHANGED, len(written.members) - new)
        self._report.count("members", "", RowOutcome.SAME, members - len(written.members))

    def _tasks(self, source: SourceRows, now: datetime) -> None:
        for page in source.tasks():
            rows = []
            for row in page:
                try:
                    found = tasks.task(row, now)
                except CannotCome as reason:
                    self._report.count("tasks", row.status[:40], RowOutcome.LEFT)
                    self._report.problem(f"task {row.id}", str(reason))
                    continue
                if found is None:
                    continue
                values, problem = found
                rows.append(values)
                if problem is not None:
                    self._report.problem(f"task {row.id}", problem)
            if rows:
                written = self._apply(tasks.write, rows)
                for values in rows:
                    self._report.count("tasks", values["status"], outcome_of(written.get(values["id"])))

    def _definitions(self, source: SourceRows) -> None:
        def refuse(name: str, reason: str) -> None:
            self._report.count("definitions", "", RowOutcome.LEFT)
            self._report.problem(name, reason)

        for namespace in definitions.read(source, refuse):
            done = self._apply(definitions.write, namespace)
            for kind, outcome in done:
                self._report.count("definitions", kind, outcome)
                if outcome is RowOutcome.KEPT:
                    self._report.problem(
                        f"namespace {namespace.values['namespace']}, {kind}", "the definition here differs and is newer"
                    )


def outcome_of(is_new: bool | None) -> RowOutcome:
    """Return what became of a row that a statement wrote as new, or over another one, or not at all."""
    return RowOutcome.SAME if is_new is None else RowOutcome.NEW if is_new else RowOutcome.CHANGED
