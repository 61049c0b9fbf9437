"""Operations as the tasks that users see (API sections 9 and 15): their project's, and not for ever."""

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from glance_common.model import errors
from glance_common.model.context import RequestContext
from glance_registry.db.row_types import ListedOperationRow, OperationRow, every, one_or_none
from glance_registry.db.tables import Text, images, operations
from glance_registry.records import operations as operation_rows
from glance_registry.records.documents import no_image
from glance_registry.records.visibility import visible_to

MAX_OF_IMAGE = 1000
"""Tasks of one image that are shown."""
SORT_KEYS = ("created_at", "updated_at", "expires_at", "id", "kind", "status", "owner")

_LATEST = sa.text("'infinity'::timestamptz")
_SORTED: dict[str, sa.ColumnElement[Any]] = {
    key: operations.c[key] for key in ("created_at", "updated_at", "id", "kind", "status")
} | {
    # Nulls sort like the end of time and like the empty text, in rows and marker alike.
    "expires_at": sa.func.coalesce(operations.c.expires_at, _LATEST),
    "owner": sa.func.coalesce(operations.c.owner, ""),
}


# Null and absent take no bytes.
_SIZE = sum(
    (sa.func.octet_length(sa.func.coalesce(sa.cast(operations.c[name], Text), ""))
     for name in ("input", "signature", "result", "message")),
    start=sa.literal_column("0", sa.BigInteger),
)


@dataclass(frozen=True, slots=True)
class TaskQuery:
    """A page of tasks: ``limit`` rows after the task ``marker``, of one kind and one status when these are given."""

    limit: int
    marker: str | None = None
    sort_key: str = "created_at"
    is_descending: bool = True
    kind: str | None = None
    status: str | None = None


def _visible_to(context: RequestContext) -> sa.ColumnElement[bool]:
    """Return the clause for the tasks that the caller may see: those of his project that did not expire."""
    unexpired = sa.or_(operations.c.expires_at.is_(None), operations.c.expires_at > sa.func.now())
    if context.is_admin:
        return unexpired
    if context.project_id is None:
        # A task without an owner is not shared by all callers without a project.
        return sa.false()
    return sa.and_(unexpired, operations.c.owner == context.project_id)


def get(connection: sa.Connection, context: RequestContext, operation_id: str) -> dict[str, Any]:
    """Return one task; raise NotFound for any that the caller may not see."""
    return operation_rows.document(_one(connection, context, operation_id))


def _one(connection: sa.Connection, context: RequestContext, operation_id: str) -> OperationRow:
    select = sa.select(operations).where(operations.c.id == operation_id, _visible_to(context))
    row = one_or_none(connection, select, OperationRow)
    if row is None:
        raise errors.NotFound(f"No task found with ID {operation_id}")
    return row


def list_tasks(connection: sa.Connection, context: RequestContext, query: TaskQuery) -> list[dict[str, Any]]:
    """Return a page of tasks, ties in the order of their ids; raise NotFound for an unknown marker.

    Input, result and message are left out, so that a page is bounded by its rows.
    """
    key = (_SORTED[query.sort_key], operations.c.id)
    select = sa.select(*operation_rows.LISTED).where(_visible_to(context))
    if query.kind is not None:
        select = select.where(operations.c.kind == query.kind)
    if query.status is not None:
        select = select.where(operations.c.status == query.status)
    if query.marker is not None:
        _one(connection, context, query.marker)
        # The marker's values never leave the database, so that no microsecond is lost on the way.
        at = sa.select(*key).where(operations.c.id == query.marker).scalar_subquery()
        select = select.where(sa.tuple_(*key) < at if query.is_descending else sa.tuple_(*key) > at)
    order = [column.desc() if query.is_descending else column.asc() for column in key]
    rows = every(connection, select.order_by(*order).limit(query.limit), ListedOperationRow)
    return [operation_rows.stub(row) for row in rows]


def of_image(
    connection: sa.Connection, context: RequestContext, image_id: str, largest: int
) -> list[dict[str, Any]]:
    """Return the tasks of a visible image that the caller may see, oldest first; raise NotFound without the image.

    When they take more than ``largest`` bytes, or are very many, it is only the newest of them, at least one (S-59).
    """
    is_there = sa.select(images.c.id).where(images.c.id == image_id, visible_to(context))
    if connection.scalar(is_there) is None:
        raise no_image(image_id)
    newest_first = (operations.c.created_at.desc(), operations.c.id.desc())
    up_to_here = sa.func.sum(_SIZE).over(order_by=newest_first, rows=(None, 0))
    ranked = (
        sa.select(operations, up_to_here.label("bytes"), sa.func.row_number().over(order_by=newest_first).label("rank"))
        .where(operations.c.image_id == image_id, _visible_to(context))
        .subquery()
    )
    fits = sa.or_(ranked.c.rank == 1, sa.and_(ranked.c.bytes <= largest, ranked.c.rank <= MAX_OF_IMAGE))
    shown = sa.select(ranked).where(fits).order_by(ranked.c.created_at, ranked.c.id)
    return [operation_rows.document(row) for row in every(connection, shown, OperationRow)]
