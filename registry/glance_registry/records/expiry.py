"""Finished operations leave the table: when their time is over, and the oldest of an image that has very many (S-59).

No row goes while bytes of its operation are under way still, or wait for their purge.
"""

import sqlalchemy as sa

from glance_common.model.status import LocationStatus, OperationStatus
from glance_registry.db.tables import locations, operations

KEPT_OF_IMAGE = 100
"""Finished operations that an image keeps; an owner may repeat an import as often as he likes."""

BATCH = 500
"""Rows that one statement removes."""

_UNREPEATED = sa.text("interval '10 minutes'")
"""Far longer than a worker repeats the end of an operation, which is answered with the row."""

_OVER = (OperationStatus.SUCCESS, OperationStatus.FAILURE)
_AT_REST = (LocationStatus.ACTIVE, LocationStatus.DELETED, LocationStatus.FAILED)


def purge_expired(connection: sa.Connection) -> int:
    """Remove finished operations whose time is over, one batch at most; return how many."""
    return purge_older(connection, 0, BATCH)


def older(days: int) -> sa.Select[str]:
    """Return the select of finished operations that have not been shown for ``days``, and ten minutes at least."""
    age = sa.func.greatest(sa.func.make_interval(0, 0, 0, days), _UNREPEATED)
    return sa.select(operations.c.id).where(operations.c.expires_at < sa.func.now() - age, *_is_removable())


def purge_older(connection: sa.Connection, days: int, limit: int) -> int:
    """Remove such operations, at most ``limit``; return how many."""
    return _purge(connection, older(days), limit)


def purge_oldest(connection: sa.Connection, image_id: str) -> int:
    """Remove what a locked image has beyond the newest ``KEPT_OF_IMAGE`` finished operations; return how many."""
    newest_first = (operations.c.updated_at.desc(), operations.c.id.desc())
    of_image = sa.and_(operations.c.image_id == image_id, operations.c.status.in_(_OVER))
    beyond = sa.select(operations.c.id).where(of_image).order_by(*newest_first).offset(KEPT_OF_IMAGE)
    return _purge(connection, sa.select(operations.c.id).where(operations.c.id.in_(beyond), *_is_removable()), BATCH)


def _is_removable() -> tuple[sa.ColumnElement[bool], ...]:
    under_way = sa.select(locations.c.id).where(
        locations.c.operation == operations.c.id, locations.c.status.not_in(_AT_REST)
    )
    return operations.c.status.in_(_OVER), sa.not_(under_way.exists())


def _purge(connection: sa.Connection, chosen: sa.Select[str], limit: int) -> int:
    # Rows that another registry is removing are skipped, so that the two do not wait for each other.
    some = chosen.limit(limit).with_for_update(of=operations, skip_locked=True)
    return connection.execute(sa.delete(operations).where(operations.c.id.in_(some))).rowcount
