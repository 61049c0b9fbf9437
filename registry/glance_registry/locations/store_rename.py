"""A store whose id was changed in the configuration: its rows follow, while the service runs.

First the new id gets the places of the old one, then the locations move in small transactions, then the old id gives
its places up. Until all have moved, the store stays unavailable under the new id: what compares a store with the rows
of its id would take the data of the others for orphans. A rename that was broken off is completed by doing it again,
and so is one after which a service that had not read the new configuration wrote under the old id.
"""

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from glance_common.model.errors import Conflict, NotFound
from glance_common.model.status import LocationStatus
from glance_registry.db.tables import locations, orphans, store_identities, store_runs
from glance_registry.locations.store_identity import GIVEN_UP, IS_HELD, unless_held

BATCH = 500
"""Rows that one transaction moves."""

_COLUMNS = store_identities.c


@dataclass(frozen=True, slots=True)
class Renamed:
    """The two ids of a store."""

    old: str
    new: str


def examine(connection: sa.Connection, store: Renamed) -> tuple[int, int]:
    """Return how many rows of locations and how many places the old id has.

    Raises NotFound when it has none, Conflict when the new id belongs to another place.
    """
    rows = _count(connection, store.old)
    held, news = _places(connection, store.old, IS_HELD), _places(connection, store.new, IS_HELD)
    if not rows and not held:
        raise NotFound(f"no location and no place belongs to the store {store.old}")
    # What came to an id after its rename is at the places that it has given up.
    olds = held or _places(connection, store.old)
    is_same = bool(olds.keys() & news.keys() or set(olds.values()) & set(news.values()))
    if news and not is_same:
        raise Conflict(f"the store {store.new} has another place: {', '.join(sorted(news))}")
    if olds and not is_same and _count(connection, store.new, locations.c.status != LocationStatus.DELETED):
        raise Conflict(f"the store {store.new} has locations already, which are not at a place of {store.old}")
    return rows, len(held)


def begin(connection: sa.Connection, store: Renamed) -> None:
    """Give the places of the old id to the new one, which keeps what it has. Raises as ``examine``."""
    examine(connection, store)
    # The first owner of a place has it as long as it has data (store_identity).
    later = _COLUMNS.created_at + sa.text("interval '1 microsecond'")
    olds = sa.select(sa.literal(store.new), _COLUMNS.place, _COLUMNS.identity, later).where(
        _COLUMNS.store == store.old, IS_HELD
    )
    columns = ["store", "place", "identity", "created_at"]
    connection.execute(unless_held(insert(store_identities).from_select(columns, olds)))


def move(connection: sa.Connection, store: Renamed, after: str | None) -> tuple[int, str | None]:
    """Move the next locations by id; return how many, and the last of them.

    Raises Conflict when both ids have data under one key.
    """
    page = sa.select(locations.c.id).where(locations.c.store == store.old)
    if after is not None:
        page = page.where(locations.c.id > after)
    ids = list(connection.scalars(page.order_by(locations.c.id).limit(BATCH).with_for_update()))
    if not ids:
        return 0, None
    try:
        connection.execute(sa.update(locations).where(locations.c.id.in_(ids)).values(store=store.new))
    except sa.exc.IntegrityError as error:
        raise Conflict(f"the stores {store.old} and {store.new} have data under the same key") from error
    return len(ids), ids[-1]


def end(connection: sa.Connection, store: Renamed) -> int:
    """Let the old id give up its places when no location is left to it; return how many are.

    Orphans stay listed, also those whose bytes a process is removing. Runs under the new id begin at the start.
    """
    left = _count(connection, store.old)
    if not left:
        connection.execute(sa.update(store_identities).where(_COLUMNS.store == store.old).values(created_at=GIVEN_UP))
        _move_orphans(connection, store)
        connection.execute(sa.delete(store_runs).where(store_runs.c.store == store.old))
    return left


def _move_orphans(connection: sa.Connection, store: Renamed) -> None:
    """Give the orphans of the old id to the new one. Where both list a key, a claim stays."""
    twin = orphans.alias("twin")
    is_twin = twin.c.key == orphans.c.key
    is_claimed = sa.exists().where(is_twin, twin.c.store == store.old, twin.c.token.is_not(None))
    connection.execute(
        sa.delete(orphans).where(orphans.c.store == store.new, orphans.c.token.is_(None), is_claimed)
    )
    is_listed = sa.exists().where(is_twin, twin.c.store == store.new)
    connection.execute(sa.delete(orphans).where(orphans.c.store == store.old, is_listed))
    connection.execute(sa.update(orphans).where(orphans.c.store == store.old).values(store=store.new))


def _count(connection: sa.Connection, store: str, *more: sa.ColumnElement[bool]) -> int:
    select = sa.select(sa.func.count()).select_from(locations).where(locations.c.store == store, *more)
    return int(connection.execute(select).scalar_one())


def _places(connection: sa.Connection, store: str, *more: sa.ColumnElement[bool]) -> dict[str, str]:
    rows = connection.execute(sa.select(_COLUMNS.place, _COLUMNS.identity).where(_COLUMNS.store == store, *more))
    return {row.place: row.identity for row in rows}
