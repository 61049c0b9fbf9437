"""A store whose id was changed in the configuration: its rows follow, while the service runs.

First the new id gets the places of the old one, then the locations move in small transactions, then the old id gives
its places up. Until all have moved, the store stays unavailable under the new id: what compares a store with the rows
of its id would take the data of the others for orphans. A rename that was broken off is completed by doing it again.
"""

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from glance_common.model.errors import Conflict, NotFound
from glance_common.model.status import LocationStatus
from glance_registry.db.tables import locations, metadata, store_identities

BATCH = 500
"""Rows that one transaction moves."""

FOUND_AGAIN = ("orphans", "store_runs")
"""Tables of what runs over a store have found: the next run under the new id finds it again."""

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
    olds, news = _places(connection, store.old), _places(connection, store.new)
    if not rows and not olds:
        raise NotFound(f"no location and no place belongs to the store {store.old}")
    is_same = bool(olds.keys() & news.keys() or set(olds.values()) & set(news.values()))
    if news and not is_same:
        raise Conflict(f"the store {store.new} has another place: {', '.join(sorted(news))}")
    if olds and not is_same and _count(connection, store.new, locations.c.status != LocationStatus.DELETED):
        raise Conflict(f"the store {store.new} has locations already, which are not at a place of {store.old}")
    return rows, len(olds)


def begin(connection: sa.Connection, store: Renamed) -> None:
    """Give the places of the old id to the new one, which keeps what it has. Raises as ``examine``."""
    examine(connection, store)
    # The first owner of a place has it as long as it has data (store_identity).
    later = _COLUMNS.created_at + sa.text("interval '1 microsecond'")
    olds = sa.select(sa.literal(store.new), _COLUMNS.place, _COLUMNS.identity, later).where(
        _COLUMNS.store == store.old
    )
    columns = ["store", "place", "identity", "created_at"]
    connection.execute(insert(store_identities).from_select(columns, olds).on_conflict_do_nothing())


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
    """Let the old id give up its places when no location is left to it; return how many are."""
    left = _count(connection, store.old)
    if not left:
        for table in (store_identities, *(each for each in metadata.sorted_tables if each.name in FOUND_AGAIN)):
            connection.execute(sa.delete(table).where(table.c.store == store.old))
    return left


def _count(connection: sa.Connection, store: str, *more: sa.ColumnElement[bool]) -> int:
    select = sa.select(sa.func.count()).select_from(locations).where(locations.c.store == store, *more)
    return int(connection.execute(select).scalar_one())


def _places(connection: sa.Connection, store: str) -> dict[str, str]:
    rows = connection.execute(sa.select(_COLUMNS.place, _COLUMNS.identity).where(_COLUMNS.store == store))
    return {row.place: row.identity for row in rows}
