"""glance-manage db purge, purge_images_table: rows of what was deleted long ago go (tools section 3)."""

import time
from collections.abc import Mapping
from typing import Any

from oslo_config import cfg
from sqlalchemy import Engine

from glance_common.model.errors import BadRequest
from glance_common.progress import write_over
from glance_registry.config import MOST_DAYS
from glance_registry.db.session import EngineSettings, make_engine, read, run_transaction
from glance_registry.manage.terminal import add_command, complain, say
from glance_registry.records import deleted_rows
from glance_registry.wsgi import database_url

ALL = -1
MOST_ROWS = 2**31 - 1

WARNING = (
    "WARNING: the ids of purged images are free: another image can have one from now on. Keep the rows for as long as "
    "anything may refer to a deleted image by its id."
)

_PATIENT = EngineSettings(pool_size=1, statement_timeout=600, lock_timeout=60, application_name="glance-manage")


def add_commands(group: Any, prefix: str) -> None:
    """Add the commands to ``group``, with ``prefix`` before their names."""
    text = "remove rows of what was deleted long ago from every table but images"
    _add_options(add_command(group, f"{prefix}purge", text, purge), days=30)
    text = "remove rows of images deleted long ago; their ids can be used again (run db purge first)"
    _add_options(add_command(group, f"{prefix}purge_images_table", text, purge_images), days=180)


def _add_options(parser: Any, days: int) -> None:
    parser.add_argument("--age_in_days", "--age-in-days", type=int, default=days, metavar="DAYS",
                        help=f"how long ago it was deleted, 0 or more ({days})")
    parser.add_argument("--max_rows", "--max-rows", type=int, default=100, metavar="ROWS",
                        help=f"most rows of each table, {ALL} for all (100)")
    parser.add_argument("--dry-run", "--dry_run", action="store_true", help="count the rows and remove none")


def purge(conf: cfg.ConfigOpts, arguments: Any) -> int:
    """Remove rows from every table but images."""
    _check(arguments)
    _purge(_engine(conf), deleted_rows.CHILDREN, arguments)
    return 0


def purge_images(conf: cfg.ConfigOpts, arguments: Any) -> int:
    """Remove rows of images; return 1 when some have to stay because other rows refer to them."""
    _check(arguments)
    engine = _engine(conf)
    if not arguments.dry_run:
        complain(WARNING)
    _purge(engine, {"images": deleted_rows.purge_images}, arguments)
    kept = read(engine, deleted_rows.images_with_rows, arguments.age_in_days)
    if kept:
        complain(f"ERROR: {kept} deleted images stay, as rows of the table locations refer to them: run db purge first")
    return 1 if kept else 0


def _engine(conf: cfg.ConfigOpts) -> Engine:
    return make_engine(database_url(conf), _PATIENT)


def _check(arguments: Any) -> None:
    """Raise BadRequest for numbers that make no sense."""
    since_epoch = int(time.time()) // 86400
    if not 0 <= arguments.age_in_days <= min(MOST_DAYS, since_epoch):
        raise BadRequest(f"--age_in_days = {arguments.age_in_days}: must be a number of days from 0 to {since_epoch}")
    if arguments.max_rows != ALL and not 1 <= arguments.max_rows <= MOST_ROWS:
        raise BadRequest(f"--max_rows = {arguments.max_rows}: must be a number from 1 to {MOST_ROWS}, or {ALL} for all")


def _purge(engine: Engine, purges: Mapping[str, deleted_rows.Purge], arguments: Any) -> None:
    most = MOST_ROWS if arguments.max_rows == ALL else arguments.max_rows
    for table, work in purges.items():
        if arguments.dry_run:
            count = min(read(engine, deleted_rows.count, table, arguments.age_in_days), most)
            say(f"{table}: {count} rows would be purged")
        else:
            say(f"{table}: {_in_batches(engine, table, work, arguments.age_in_days, most)} rows purged")


def _in_batches(engine: Engine, table: str, work: deleted_rows.Purge, days: int, most: int) -> int:
    done, full = 0, True
    try:
        while full and done < most:
            limit = min(deleted_rows.BATCH, most - done)
            purged = run_transaction(engine, work, days, limit)
            done += purged
            full = purged == limit
            write_over(f"{table}: {done} rows purged")
    finally:
        write_over("")
    return done
