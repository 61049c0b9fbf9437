"""Orphans: objects in a store that no location owns, listed by reconcile and kept until an operator discards them.

The list alone is the quarantine: an object without a location is served to no client. While it is listed, no upload
gets its key. Every call may be repeated.
"""

from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from glance_common.model import errors
from glance_registry.db.tables import locations, orphans
from glance_registry.locations.quarantine import OWNS_ITS_KEY, documents
from glance_registry.records.rows import after

NEW = 60.0
"""Seconds before a listed orphan can be claimed. An upload that began before the listing has committed its location by
then, and one that begins after it gets another key: transactions of the registry are much shorter."""

_COLUMNS = orphans.c


@dataclass(frozen=True, slots=True)
class Orphan:
    """An object as the store lists it; ``size`` in bytes."""

    key: str
    size: int


def record(connection: sa.Connection, store: str, found: list[Orphan]) -> int:
    """List objects of ``store`` that no location owns; return how many were not listed before."""
    owned = set(connection.scalars(
        sa.select(locations.c.key).where(
            OWNS_ITS_KEY, locations.c.store == store, locations.c.key.in_([orphan.key for orphan in found])
        )
    ))
    rows = [
        {"id": str(uuid4()), "store": store, "key": orphan.key, "size": orphan.size}
        for orphan in found if orphan.key not in owned
    ]
    if not rows:
        return 0
    return connection.execute(insert(orphans).values(rows).on_conflict_do_nothing()).rowcount


def listed(connection: sa.Connection, limit: int, marker: str | None, store: str | None) -> list[dict[str, Any]]:
    """Return at most ``limit`` orphans, of one store or of all, by id, after ``marker``."""
    select = sa.select(
        _COLUMNS.id, _COLUMNS.store, _COLUMNS.key, _COLUMNS.size, sa.cast(_COLUMNS.found_at, sa.Text).label("since")
    )
    if marker is not None:
        select = select.where(_COLUMNS.id > marker)
    if store is not None:
        select = select.where(_COLUMNS.store == store)
    return documents(connection, select.order_by(_COLUMNS.id).limit(limit))


def claim(connection: sa.Connection, orphan_id: str, token: str, lease: float) -> dict[str, Any]:
    """Let ``token`` remove the bytes of an orphan within ``lease`` seconds, or go on with it; return the orphan.

    Raises NotFound, Conflict with the reason ``claimed``, ``owned`` or ``new``.
    """
    held = sa.func.coalesce(sa.and_(_COLUMNS.lease_until > sa.func.now(), _COLUMNS.token != token), sa.false())
    select = sa.select(
        _COLUMNS.id, _COLUMNS.store, _COLUMNS.key, _COLUMNS.size, held.label("held"),
        (_COLUMNS.found_at > after(-NEW)).label("new"),
    )
    row = connection.execute(select.where(_COLUMNS.id == orphan_id).with_for_update()).one_or_none()
    if row is None:
        raise errors.NotFound(f"No orphan found with ID {orphan_id}")
    if row.held:
        raise errors.Conflict(f"another process is removing orphan {orphan_id}", reason="claimed")
    if _is_owned(connection, row.store, row.key):
        raise errors.Conflict(f"the bytes of orphan {orphan_id} belong to an image now", reason="owned")
    if row.new:
        raise errors.Conflict(f"orphan {orphan_id} was listed less than a minute ago: try again", reason="new")
    connection.execute(
        sa.update(orphans).where(_COLUMNS.id == orphan_id).values(token=token, lease_until=after(lease))
    )
    return {"id": row.id, "store": row.store, "key": row.key, "size": row.size}


def done(connection: sa.Connection, orphan_id: str, token: str) -> None:
    """Take an orphan, whose bytes the holder of ``token`` has removed, off the list."""
    connection.execute(sa.delete(orphans).where(_COLUMNS.id == orphan_id, _COLUMNS.token == token))


def forget(connection: sa.Connection, orphan_id: str) -> bool:
    """Take an orphan off the list that the store does not hold any more or that a location owns; tell whether it was
    there. A claim that is held stays."""
    is_free = sa.or_(_COLUMNS.lease_until.is_(None), _COLUMNS.lease_until <= sa.func.now())
    return connection.execute(sa.delete(orphans).where(_COLUMNS.id == orphan_id, is_free)).rowcount == 1


def count(connection: sa.Connection) -> int:
    """Return how many orphans are listed."""
    return connection.execute(sa.select(sa.func.count()).select_from(orphans)).scalar_one()


def _is_owned(connection: sa.Connection, store: str, key: str) -> bool:
    owner = sa.select(locations.c.id).where(OWNS_ITS_KEY, locations.c.store == store, locations.c.key == key)
    return connection.execute(owner.limit(1)).first() is not None
