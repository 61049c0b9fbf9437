"""Which uuid the sentinel in each place of a store holds: how a driver proves that it looks at the right store.

A uuid belongs to the store that registered it first. Two stores that lead to one place by two names, for example two
addresses of one server, would each delete the data of the other: the second one never gets the place. The stores that
the service has for itself on each host may share a directory, which hosts may hand over to each other.

A store whose id was changed has given its places up (``store_rename``): the rows stay with a ``created_at`` of
infinity, and count for nothing here.
"""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import Insert, insert

from glance_common.model.errors import Conflict
from glance_common.model.status import LocationStatus
from glance_common.stores.contract import RESERVED
from glance_registry.db.tables import locations, store_identities

_COLUMNS = store_identities.c
_LOCK_SPACE = "glance store identities"
IS_HELD = sa.func.isfinite(_COLUMNS.created_at)
"""A store has a place that it has not given up."""
GIVEN_UP: sa.ColumnElement[Any] = sa.literal_column("'infinity'::timestamptz")
"""The ``created_at`` of a place that its store has given up."""


def known(connection: sa.Connection, store: str) -> dict[str, str]:
    """Return the uuid of every place of ``store`` that was ever used, but for places that belong to another store.

    Earlier versions registered a place for every store. Where the first one has data, it keeps the place; where it has
    none, as after a change of its id, the others go on.
    """
    held = sa.select(_COLUMNS.place, _COLUMNS.identity).where(_COLUMNS.store == store, IS_HELD)
    rows = connection.execute(held).all()
    lost = {row.place for row in rows if _has_data(connection, _owner(connection, store, row.identity))}
    return {row.place: row.identity for row in rows if row.place not in lost}


def register(connection: sa.Connection, store: str, place: str, identity: str) -> str:
    """Write the uuid of a place unless it has one; return the one it has. The first one wins, for ever.

    Raises Conflict when the uuid belongs to another store.
    """
    # The lock lets one of two stores be the first; neither sees the row of the other before its commit.
    key = sa.func.hashtext(sa.literal(identity))
    connection.execute(sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtext(_LOCK_SPACE), key)))
    registered = known(connection, store).get(place)
    if registered is not None:
        return registered
    owner = _owner(connection, store, identity)
    if owner is not None:
        raise Conflict(f"{place} is the place of the store {owner}, maybe by another name: two stores cannot share it")
    row = {"store": store, "place": place, "identity": identity}
    # The lock is that of the uuid: for the same place another one may be registered meanwhile.
    connection.execute(unless_held(insert(store_identities).values(row)))
    # A statement of its own, because only a new snapshot sees the row of a winner that committed just now.
    winner = connection.execute(
        sa.select(_COLUMNS.identity).where(_COLUMNS.store == store, _COLUMNS.place == place)
    )
    return str(winner.scalar_one())


def unless_held(rows: Insert) -> Insert:
    """Return the insertion that leaves the places alone that their stores have, and takes back those given up."""
    new = {name: rows.excluded[name] for name in ("identity", "created_at")}
    return rows.on_conflict_do_update(index_elements=["store", "place"], set_=new, where=sa.not_(IS_HELD))


def _owner(connection: sa.Connection, store: str, identity: str) -> str | None:
    """Return the other store that the uuid belongs to; None when it is free, or belongs to ``store``."""
    holders = sa.select(_COLUMNS.store).where(_COLUMNS.identity == identity, IS_HELD)
    first = holders.order_by(_COLUMNS.created_at, _COLUMNS.store).limit(1)
    owner: str | None = connection.execute(first).scalar()
    if owner is None or owner == store or (owner.startswith(RESERVED) and store.startswith(RESERVED)):
        return None
    return owner


def _has_data(connection: sa.Connection, store: str | None) -> bool:
    """Say whether a location of ``store`` may have bytes; None has none."""
    if store is None:
        return False
    found = sa.exists().where(locations.c.store == store, locations.c.status != LocationStatus.DELETED)
    return bool(connection.execute(sa.select(found)).scalar())
