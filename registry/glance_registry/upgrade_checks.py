"""What glance-status checks of the database and, with the places that it knows, of the stores."""

from collections.abc import Callable
from typing import TypeVar

import sqlalchemy as sa
from oslo_config import cfg

from glance_common.config.loading import OptionTable
from glance_common.model.status import OperationStatus
from glance_common.stores import loader, reserved
from glance_common.upgrade.contract import FINE, UpgradeCheck, UpgradeChecks, UpgradeOutcome, failure, warning
from glance_registry.config import database_opts
from glance_registry.db import schema
from glance_registry.db.session import make_engine, read
from glance_registry.db.tables import operations
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


_UNKNOWN = failure("not checked: that needs the database with the right schema.")


def _has_schema(conf: cfg.ConfigOpts) -> bool:
    return schema.version(database_url(conf)) == schema.newest()


def database(conf: cfg.ConfigOpts) -> UpgradeOutcome:
    """Check that the database answers and that its schema is the one that this code needs."""
    found, needed = schema.version(database_url(conf)), schema.newest()
    if found == needed:
        return FINE
    if found is not None and found > needed:
        return failure(f"the schema is at revision {found}, which is newer than this code, which needs {needed}.")
    return failure(f"the schema is at revision {found or 'none'}, this code needs {needed}: run glance-manage db sync.")


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
