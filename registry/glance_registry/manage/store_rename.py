"""glance-manage store rename: rows follow a store whose id was changed in the configuration."""

from typing import Any

from oslo_config import cfg

from glance_common.model.errors import BadRequest, Conflict
from glance_common.progress import write_over
from glance_common.stores import loader
from glance_common.stores.contract import RESERVED
from glance_registry.db.session import EngineSettings, make_engine, read, run_transaction
from glance_registry.locations import store_rename
from glance_registry.locations.store_rename import Renamed
from glance_registry.manage.terminal import add_command, say
from glance_registry.wsgi import database_url

_PATIENT = EngineSettings(pool_size=1, statement_timeout=600, lock_timeout=5, application_name="glance-manage")


def add_commands(group: Any) -> None:
    """Add the command to the group ``store``."""
    parser = add_command(
        group, "rename", "give the locations and places of a store to its new id in the configuration", rename
    )
    parser.add_argument("old", metavar="OLD", help="the id that the rows have; no store is configured with it any more")
    parser.add_argument("new", metavar="NEW", help="the id that the store has in the configuration now")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, and do nothing")


def rename(conf: cfg.ConfigOpts, arguments: Any) -> int:
    """Do it, in small transactions; raises BadRequest and Conflict before anything is changed."""
    store, is_dry = Renamed(arguments.old, arguments.new), arguments.dry_run
    _check(conf, store)
    engine = make_engine(database_url(conf), _PATIENT)
    rows, places = read(engine, store_rename.examine, store)
    if is_dry:
        say(f"{rows} locations and {places} places would go from {store.old} to {store.new}.")
        return 0
    run_transaction(engine, store_rename.begin, store)
    moved, after = 0, None
    try:
        while (batch := run_transaction(engine, store_rename.move, store, after))[0]:
            moved, after = moved + batch[0], batch[1]
            write_over(f"{moved} of {rows} locations")
    finally:
        write_over("")
    left = run_transaction(engine, store_rename.end, store)
    if left:
        raise Conflict(
            f"{moved} locations moved, but {left} came to {store.old} meanwhile: a service runs that has not read the "
            "new configuration. Reload it, and do this again"
        )
    say(f"{moved} locations and {places} places went from {store.old} to {store.new}.")
    return 0


def _check(conf: cfg.ConfigOpts, store: Renamed) -> None:
    """Raise BadRequest unless the configuration has the new id and not the old one."""
    if any(name.startswith(RESERVED) for name in (store.old, store.new)):
        raise BadRequest(f"ids that begin with {RESERVED} are reserved")
    configured = loader.ids(conf)
    if store.old in configured:
        raise BadRequest(f"the store {store.old} is configured still: change its id to {store.new} first")
    if store.new not in configured:
        raise BadRequest(f"no store {store.new} is configured, but {', '.join(configured)}")
