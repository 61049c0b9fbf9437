"""The schema of a database: which revision it has, and bringing it to a newer one, while the service runs or not.

Each revision belongs to a phase of an upgrade, which its module names in ``phase``:

- ``expand`` adds what the new release needs and the old one does not mind;
- ``migrate`` changes rows, in small transactions: the module has a function ``batch(connection, after)`` that works
  the next rows after a marker (None at the beginning) and returns the marker of the last one, None at the end. It is
  safe to begin again;
- ``contract`` takes away what only the old release needs.

Revisions are applied in their order, whatever the phase, each in a transaction of its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from itertools import groupby, takewhile
from typing import TYPE_CHECKING, Any, TypeVar

import sqlalchemy as sa
from sqlalchemy import exc

from glance_common.model.errors import BadRequest, Conflict, Unavailable
from glance_registry.db.errors import sqlstate, translate
from glance_registry.db.session import EngineSettings, make_engine, read

if TYPE_CHECKING:
    from alembic.config import Config

T = TypeVar("T")
Told = Callable[[str], None]

# Alembic is imported where it works: it is slow to import, and most commands of glance-manage do not touch the schema.

# Building an index on a large table takes longer than any request may. A lock is not waited for as long: requests that
# need the table queue behind the one that waits.
_PATIENT = EngineSettings(pool_size=1, statement_timeout=0, lock_timeout=2, idle_timeout=0,
                          application_name="glance-manage")

_TRIES = 60
"""How often a step begins again, a second later, while requests hold what it needs."""

_LOCK = sa.text("SELECT pg_try_advisory_lock(hashtext('glance schema'))")

_HELD = {"55P03", "40P01", "40001"}
"""SQLSTATEs of what may work a moment later."""


class Phase(StrEnum):
    """A part of an upgrade, in the order in which they come."""

    EXPAND = "expand"
    MIGRATE = "migrate"
    CONTRACT = "contract"


_ORDER = {phase: number for number, phase in enumerate(Phase)}


@dataclass(frozen=True, slots=True)
class Step:
    """A revision that a database does not have yet; ``batch`` changes the rows of one that migrates."""

    revision: str
    phase: Phase
    batch: Callable[[sa.Connection, str | None], str | None] | None


def newest() -> str:
    """Return the revision that this code needs."""
    from alembic.script import ScriptDirectory

    head = ScriptDirectory.from_config(_config()).get_current_head()
    assert head is not None, "the package has migrations"
    return head


def version(url: str) -> str | None:
    """Return the revision of the database at ``url``, None for an empty one. Raises Unavailable."""
    engine = make_engine(url, _PATIENT)
    try:
        return read(engine, _found)
    finally:
        engine.dispose()


def pending(url: str) -> list[Step]:
    """Return what the database at ``url`` lacks, in order.

    Raises Unavailable, and BadRequest when it has a revision that this code does not know.
    """
    return _steps(version(url), "head")


def _silence(_text: str) -> None:
    pass


def upgrade(url: str, revision: str = "head", told: Told = _silence, progress: Told = _silence) -> None:
    """Bring the database at ``url`` to ``revision``; what is there already stays.

    ``told`` gets a line for each part that is done, ``progress`` one for each batch of rows. Raises Unavailable, and
    BadRequest for a revision that this code does not know, wanted or found.

    Safe to run on several hosts at once: one works, the others wait and find nothing left to do.
    """
    with _alone(url) as connection:
        _apply(connection, _steps(_read(connection), revision), told, progress)


def advance(url: str, phase: Phase, told: Told = _silence, progress: Told = _silence) -> None:
    """Apply what comes next as long as it belongs to ``phase``.

    Raises Conflict when an earlier phase comes first; else as ``upgrade``.
    """
    with _alone(url) as connection:
        steps = _steps(_read(connection), "head")
        if steps and _ORDER[steps[0].phase] < _ORDER[phase]:
            raise Conflict(f"revision {steps[0].revision} comes first: run glance-manage db {steps[0].phase}")
        _apply(connection, list(takewhile(lambda step: step.phase is phase, steps)), told, progress)


def mark(url: str, revision: str) -> None:
    """Record that the database at ``url``, which says nothing about its schema, has that of ``revision``.

    Raises Conflict when it says something, or has no tables of ours; else as ``upgrade``.
    """
    from alembic import command

    with _alone(url) as connection:
        found = _read(connection)
        if found is not None:
            raise Conflict(f"the database is under version control already, at revision {found}")
        if not sa.inspect(connection).has_table("images"):
            raise Conflict("the database has no table images: run glance-manage db sync")
        connection.rollback()
        with _known(revision):
            command.stamp(_config(connection), revision)


def _phase(step: Step) -> Phase:
    return step.phase


def _found(connection: sa.Connection) -> str | None:
    from alembic.runtime.migration import MigrationContext

    return MigrationContext.configure(connection).get_current_revision()


def _read(connection: sa.Connection) -> str | None:
    found = _found(connection)
    connection.rollback()
    return found


def _steps(found: str | None, wanted: str) -> list[Step]:
    """Return the revisions after ``found`` up to ``wanted``, none when it is older."""
    from alembic.script import ScriptDirectory

    script = ScriptDirectory.from_config(_config())
    with _known(wanted):
        scripts = list(script.walk_revisions("base", wanted))
    with _known(found):
        older = {each.revision for each in script.walk_revisions("base", found)} if found else set()
    return [_step(each.revision, each.module) for each in reversed(scripts) if each.revision not in older]


def _step(revision: str, module: Any) -> Step:
    phase = Phase(module.phase)
    return Step(revision, phase, module.batch if phase is Phase.MIGRATE else None)


def _apply(connection: sa.Connection, steps: Sequence[Step], told: Told, progress: Told) -> None:
    for phase, some in groupby(steps, _phase):
        group = list(some)
        for step in group:
            if step.batch is not None:
                _in_batches(connection, step, progress)
        last = group[-1].revision
        _patiently(partial(_run, connection, last))
        told(f"{phase}: {', '.join(step.revision for step in group)}")


def _in_batches(connection: sa.Connection, step: Step, progress: Told) -> None:
    after: str | None = None
    assert step.batch is not None
    batch = step.batch

    def once() -> str | None:
        with connection.begin():
            return batch(connection, after)

    try:
        while (after := _patiently(once)) is not None:
            progress(f"{step.phase} {step.revision}: up to {after}")
    finally:
        progress("")


def _run(connection: sa.Connection, revision: str) -> None:
    from alembic import command

    try:
        with _known(revision):
            command.upgrade(_config(connection), revision)
    finally:
        connection.rollback()


def _patiently(work: Callable[[], T]) -> T:
    """Return what ``work`` does, begun again while requests hold what it needs. It starts where it was broken off."""
    for tries_left in reversed(range(_TRIES)):
        try:
            return work()
        except exc.SQLAlchemyError as error:
            if sqlstate(error) not in _HELD or not tries_left:
                raise
        time.sleep(1)
    raise AssertionError("the last try returns or raises")


@contextmanager
def _alone(url: str) -> Iterator[sa.Connection]:
    """Give a connection that no other process changes the schema beside. Raises Unavailable after a minute."""
    engine = make_engine(url, _PATIENT)
    try:
        with engine.connect() as connection:
            # Not by a statement that waits: an index that is built beside requests waits for such statements in turn.
            for _ in range(_TRIES * 5):
                is_ours = connection.execute(_LOCK).scalar_one()
                connection.commit()
                if is_ours:
                    break
                time.sleep(0.2)
            else:
                raise Unavailable("another glance-manage works on the schema")
            # The lock ends with the connection.
            yield connection
    except exc.SQLAlchemyError as error:
        raise translate(error) from error
    finally:
        engine.dispose()


@contextmanager
def _known(revision: str | None) -> Iterator[None]:
    from alembic.util import CommandError

    try:
        yield
    except CommandError:
        raise BadRequest(
            f"this release of the service knows no revision {revision}: it is another service's, or a newer release's"
        ) from None


def _config(connection: sa.Connection | None = None) -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "glance_registry:migrations")
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config
