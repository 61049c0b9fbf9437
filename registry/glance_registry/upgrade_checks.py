"""What glance-status checks of the database and, with the places that it knows, of the stores."""

from collections.abc import Callable
from typing import TypeVar

import sqlalchemy as sa
from oslo_config import cfg

from glance_common.config.loading import OptionTable
from glance_common.model.status import OperationStatus
from glance_common.stores import loader, reserved
from glance_common.upgrade.contract import (
    FINE,
    Severity,
    UpgradeCheck,
    UpgradeChecks,
    UpgradeOutcome,
    failure,
    warning,
)
from glance_registry.config import database_opts
from glance_registry.db import schema
from glance_registry.db.schema import Phase
from glance_registry.db.session import make_engine, read
from glance_registry.db.tables import metadata, operations
from glance_registry.locations import purge
from glance_registry.manage.stores import RegisteredPlaces, reached
from glance_registry.wsgi import database_url

T = TypeVar("T")

_COMMAND_OPTS: list[cfg.Opt] = [
    cfg.IntOpt(
        "orphan-hours", default=24, min=0, metavar="HOURS",
        help="Work that has waited longer than so many hours is named: operations, purges of data.",
    ),
]


_UNKNOWN = failure("not checked: that needs the database with a schema that this code can work with.")


def _has_schema(conf: cfg.ConfigOpts) -> bool:
    return database(conf).severity < Severity.FAILURE


def database(conf: cfg.ConfigOpts) -> UpgradeOutcome:
    """Check that the database answers and that this code can work with its schema; name what comes next.

    During an upgrade without an outage a schema lacks the later phases, or is that of the next release.
    """
    url = database_url(conf)
    found, needed = schema.version(url), schema.newest()
    if found is not None and found > needed:
        return _newer(conf, f"the schema is at revision {found}, which is newer than {needed}, which this code needs")
    left = schema.pending(url)
    if not left:
        return FINE
    text = (
        f"the schema is at revision {found or 'none'}, this code needs {needed}: "
        f"next is glance-manage db {left[0].phase}"
    )
    if any(step.phase is Phase.EXPAND for step in left):
        return failure(f"{text}, or, while the service is stopped, glance-manage db sync.")
    is_last = left[0].phase is Phase.CONTRACT
    return warning(f"{text}, when no daemon of the release before runs any more." if is_last else f"{text}.")


def _newer(conf: cfg.ConfigOpts, text: str) -> UpgradeOutcome:
    """Return what a schema of a later release means: this one works with it for as long as nothing is taken away."""
    missing = _asked(conf, _missing)
    if missing:
        return failure(f"{text}; it has no {', '.join(missing[:5])} any more: install the newer release.")
    return warning(
        f"{text}; all that this code uses is there. glance-manage db check of the newer release tells what is next."
    )


def _missing(connection: sa.Connection) -> list[str]:
    """Return the tables and columns of this code that the database does not have."""
    inspector = sa.inspect(connection)
    there = {
        f"{table}.{column['name']}" for (_, table), columns in inspector.get_multi_columns().items()
        for column in columns
    }
    return [str(column) for table in metadata.sorted_tables for column in table.columns if str(column) not in there]


def stores(conf: cfg.ConfigOpts) -> UpgradeOutcome:
    """Check that each store answers. Nothing is written, as ``glance-manage store check`` does."""
    if not _has_schema(conf):
        return _UNKNOWN
    engine = make_engine(database_url(conf))
    try:
        steps = {store.id: reached(store) for store in loader.load_stores(conf, RegisteredPlaces(engine))}
    finally:
        engine.dispose()
    problems = [f"{store}: {problem}" for store, (_, _, problem) in steps.items() if problem is not None]
    return failure("; ".join(problems)) if problems else FINE


def orphan_work(conf: cfg.ConfigOpts) -> UpgradeOutcome:
    """Name work that has waited for long: does nothing do it any more?"""
    if not _has_schema(conf):
        return _UNKNOWN
    hours: int = conf.orphan_hours
    backlog = _asked(conf, purge.backlog)
    waiting = _asked(conf, lambda connection: _old_operations(connection, hours))
    found = []
    if backlog.failed:
        found.append(f"{backlog.failed} removals of data were given up: glance-manage deletions failed lists them")
    if backlog.due and backlog.oldest > hours * 3600:
        found.append(f"{backlog.due} removals of data are due, one for {backlog.oldest / 3600:.0f} hours: "
                     "does a scrubber run that works their store?")
    if waiting:
        found.append(f"{waiting} operations on images have not moved for {hours} hours: does a glance-api run?")
    return warning("; ".join(found)) if found else FINE


def _old_operations(connection: sa.Connection, hours: int) -> int:
    ended = (OperationStatus.SUCCESS, OperationStatus.FAILURE)
    since = sa.func.now() - sa.func.make_interval(0, 0, 0, 0, hours)
    count = sa.select(sa.func.count()).where(operations.c.status.not_in(ended), operations.c.updated_at < since)
    return int(connection.execute(count).scalar_one())


def _asked(conf: cfg.ConfigOpts, question: Callable[[sa.Connection], T]) -> T:
    engine = make_engine(database_url(conf))
    try:
        return read(engine, question)
    finally:
        engine.dispose()


def options() -> OptionTable:
    """Return the options of the database and the stores."""
    return [*database_opts(), *loader.list_opts(), *reserved.list_opts()]


CHECKS = UpgradeChecks(
    (
        UpgradeCheck("Database and schema", database),
        UpgradeCheck("Stores", stores),
        UpgradeCheck("Orphan work", orphan_work),
    ),
    options,
    _COMMAND_OPTS,
)
