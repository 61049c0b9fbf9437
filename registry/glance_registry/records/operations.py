"""Rows of operations: how they are locked, who holds them, and how they are shown.

Locks are taken in the order image, operation, locations. A claim and a renewal lock nothing but the operation's row.
"""

from typing import Any

import sqlalchemy as sa

from glance_common.model import errors
from glance_common.model.operation import Held
from glance_common.model.status import OPERATION_TRANSITIONS, OperationStatus
from glance_registry.db.errors import RetryTransaction
from glance_registry.db.row_types import ImageRow, ListedOperationRow, OperationRow, one, one_or_none
from glance_registry.db.tables import images, operations
from glance_registry.records import expiry, rows

LIVE = (OperationStatus.PENDING, OperationStatus.PROCESSING)

MAX_ATTEMPTS = 5
"""How often an operation is claimed: one that kills its worker each time must end."""

_PLAIN = (
    "id", "kind", "image_id", "owner", "user_id", "request_id", "roles", "is_admin", "status", "input", "signature",
    "result", "message", "host", "attempts", "cancelled",
)
_TIMES = ("created_at", "updated_at", "expires_at")
_UNLISTED: dict[str, Any] = {"input": {}, "signature": None, "result": None, "message": "", "roles": []}
"""What a list of operations leaves empty: it would be most of it (API section 15)."""
LISTED = tuple(operations.c[name] for name in (*_PLAIN, *_TIMES) if name not in _UNLISTED)
"""The columns of ``stub``."""


def is_live() -> sa.TextClause:
    """Return the condition that an operation has not ended, in constants so that the index of live rows is used."""
    return sa.text("operations.status IN ('pending','processing')")


def is_unheld() -> sa.ColumnElement[bool]:
    """Return the condition that an operation is live and not claimed."""
    return sa.and_(
        is_live(),
        sa.or_(operations.c.lease_until.is_(None), operations.c.lease_until <= sa.func.now()),
    )


def lock(connection: sa.Connection, operation_id: str) -> tuple[ImageRow | None, OperationRow] | None:
    """Lock the image of an operation, when it has one, then the operation; return both, None without such a row."""
    image_id = connection.scalar(sa.select(operations.c.image_id).where(operations.c.id == operation_id))
    image = None if image_id is None else rows.lock_image(connection, images.c.id == image_id)
    row = _lock_row(connection, operations.c.id == operation_id)
    if row is None:
        return None
    if row.image_id != image_id:
        raise RetryTransaction("the operation got its image just now")
    return image, row


def lock_live_of(connection: sa.Connection, image_id: str) -> OperationRow | None:
    """Lock and return the live operation of an image whose row is locked already."""
    return _lock_row(connection, sa.and_(operations.c.image_id == image_id, operations.c.status.in_(LIVE)))


def _lock_row(connection: sa.Connection, condition: sa.ColumnElement[bool]) -> OperationRow | None:
    return one_or_none(connection, sa.select(operations).where(condition).with_for_update(), OperationRow)


def lock_held(connection: sa.Connection, held: Held) -> tuple[ImageRow | None, OperationRow]:
    """Lock image and operation for a write by the worker that holds it; raise Gone for any other.

    An expired lease is no obstacle as long as no other worker claimed the operation or ended it.
    """
    found = lock(connection, held.operation)
    if found is None or found[1].token != held.token:
        raise lost(held.operation)
    if found[1].status != OperationStatus.PROCESSING:
        raise over(found[1])
    return found


def check_held(connection: sa.Connection, image_id: str, held: Held) -> OperationRow:
    """Lock and return the live operation of a locked image; raise Gone unless ``held`` holds it."""
    row = lock_live_of(connection, image_id)
    if row is None or row.id != held.operation or row.token != held.token or row.status != OperationStatus.PROCESSING:
        raise lost(held.operation)
    return row


def lost(operation_id: str) -> errors.Gone:
    """Return the error for a worker that does not hold the operation, or not any more."""
    return errors.Gone(f"the operation {operation_id} is over or another's", reason="operation")


def over(row: OperationRow) -> errors.Gone:
    """Return the error for a write of an operation that has ended."""
    return errors.Gone(f"the operation {row.id} ended: {row.message}", reason="operation")


def change(connection: sa.Connection, row: OperationRow, new: OperationStatus, **values: Any) -> OperationRow:
    """Move a locked operation to ``new``, or change it in place, and return it; Conflict when the table forbids it."""
    old = OperationStatus(row.status)
    if new is not old and new not in OPERATION_TRANSITIONS[old]:
        raise errors.Conflict(f"an operation cannot go from {old} to {new}", reason=str(old))
    update = sa.update(operations).where(operations.c.id == row.id, operations.c.status == old)
    changed = update.values(status=new, updated_at=sa.func.now(), **values).returning(operations)
    return one(connection, changed, OperationRow)


def end(
    connection: sa.Connection, row: OperationRow, status: OperationStatus, message: str, **values: Any
) -> OperationRow:
    """End a locked operation; it is shown for ``ttl`` hours more (lifecycle section 6), the newest of its image."""
    ended = change(
        connection, row, status,
        message=message, lease_until=None, expires_at=rows.after(row.ttl * 3600), **values,
    )
    if row.image_id is not None:
        expiry.purge_oldest(connection, row.image_id)
    return ended


def document(row: OperationRow) -> dict[str, Any]:
    """Return an operation as the protocol shows it."""
    values = {name: getattr(row, name) for name in _PLAIN}
    return values | {name: _time(getattr(row, name)) for name in _TIMES}


def stub(row: ListedOperationRow) -> dict[str, Any]:
    """Return an operation as a list shows it: without what it was asked for and what came of it."""
    values = {name: getattr(row, name) for name in _PLAIN if name not in _UNLISTED}
    return values | {name: _time(getattr(row, name)) for name in _TIMES} | _UNLISTED


def _time(value: Any) -> str | None:
    return None if value is None else value.strftime("%Y-%m-%dT%H:%M:%S.%f")
