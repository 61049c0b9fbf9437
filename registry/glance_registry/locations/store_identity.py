"""Which uuid the sentinel in each place of a store holds: how a driver proves that it looks at the right store."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from glance_registry.db.tables import store_identities

_COLUMNS = store_identities.c


def known(connection: sa.Connection, store: str) -> dict[str, str]:
    """Return the uuid of every place of ``store`` that was ever used."""
    rows = connection.execute(sa.select(_COLUMNS.place, _COLUMNS.identity).where(_COLUMNS.store == store))
    return {row.place: row.identity for row in rows}


def register(connection: sa.Connection, store: str, place: str, identity: str) -> str:
    """Write the uuid of a place unless it has one; return the one it has. The first one wins, for ever."""
    row = {"store": store, "place": place, "identity": identity}
    connection.execute(insert(store_identities).values(row).on_conflict_do_nothing())
    # A statement of its own, because only a new snapshot sees the row of a winner that committed just now.
    winner = connection.execute(
        sa.select(_COLUMNS.identity).where(_COLUMNS.store == store, _COLUMNS.place == place)
    )
    return str(winner.scalar_one())
