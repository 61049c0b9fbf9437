"""Operations: work on an image that goes on after the request that asked for it (lifecycle sections 6 and 7).

A live operation of an image is its import lock. A worker claims one with a token and a lease, as a scrubber claims
bytes; a worker that dies loses it to another one. An operation that no worker will finish is failed, so that no image
waits for ever.
"""

from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from glance_common.model import errors
from glance_common.model.context import RequestContext
from glance_common.model.limits import Limits
from glance_common.model.operation import Held
from glance_common.model.status import ImageStatus, LocationStatus, OperationStatus
from glance_registry.db.row_types import ImageRow, LocationRow, OperationRow, every, one, one_or_none
from glance_registry.db.tables import images, locations, operations
from glance_registry.operations import completion
from glance_registry.quota import usage
from glance_registry.records import expiry, import_properties, rows
from glance_registry.records import operations as operation_rows
from glance_registry.records.documents import no_image
from glance_registry.records.operations import MAX_ATTEMPTS, is_unheld
from glance_registry.records.visibility import visible_to

PREEMPTED = "Expired lock preempted"
"""What the holder of a stale lock is told (lifecycle section 7)."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A new operation: ``values`` are columns, ``stores`` those that the data are to go into.

    The image must be in one of ``allowed`` and goes to ``image_status``, None to leave it where it is.
    """

    id: str
    image_id: str | None
    values: dict[str, Any]
    stores: list[str]
    allowed: list[ImageStatus]
    image_status: ImageStatus | None
    limits: Limits | None = None
    """Of the image's owner."""


@dataclass(frozen=True, slots=True)
class OperationClaim:
    """A worker's request: its ``host``, a ``lease`` in seconds, and the projects whose operations it leaves out
    (``without``)."""

    token: str
    host: str
    lease: float
    without: tuple[str, ...] = ()


def create(connection: sa.Connection, context: RequestContext, wanted: Wanted) -> tuple[dict[str, Any], bool]:
    """Make a pending operation and take its image's lock; return the operation and whether this call made it.

    A lock whose holder gave no sign of life for too long is broken. Raises NotFound for an image that ``context`` does
    not see, StatusConflict, Conflict when the lock is held, the data are not staged yet, or the id is another's,
    TooLarge when one more transfer exceeds a limit.
    """
    if wanted.image_id is None:
        return _insert(connection, context, wanted)
    limits = usage.hold(connection, wanted.limits, "stage", "uploading")
    image = rows.lock_image(connection, images.c.id == wanted.image_id, visible_to(context))
    if image is None:
        raise no_image(wanted.image_id)
    known = one_or_none(connection, sa.select(operations).where(operations.c.id == wanted.id), OperationRow)
    if known is not None:
        return _made_before(known, context, wanted), False
    image = _break_stale_lock(connection, image)
    if image.status not in wanted.allowed:
        raise rows.status_conflict(ImageStatus(image.status), wanted.image_status or ImageStatus.IMPORTING)
    if image.status == ImageStatus.UPLOADING and not _staged(connection, image.id):
        raise errors.Conflict(f"the data of image {image.id} are still being staged", reason="staging")
    used_before = usage.before(connection, limits, image)
    made = _insert(connection, context, wanted)
    _lock_for(connection, image, wanted.id, wanted.stores, wanted.image_status)
    usage.enforce_change(connection, limits, image.id, image.owner, used_before)
    return made


def record_done(connection: sa.Connection, context: RequestContext, wanted: Wanted) -> None:
    """Write down an operation on a locked image of which nothing is left to do; the image's lock is not taken."""
    done = {
        "status": OperationStatus.SUCCESS,
        "result": {"image_id": wanted.image_id},
        "expires_at": rows.after(wanted.values["ttl"] * 3600),
    }
    _insert(connection, context, replace(wanted, values={**wanted.values, **done}))
    if wanted.image_id is not None:
        expiry.purge_oldest(connection, wanted.image_id)


def _insert(
    connection: sa.Connection, context: RequestContext, wanted: Wanted
) -> tuple[dict[str, Any], bool]:
    row = {
        "id": wanted.id,
        "image_id": wanted.image_id,
        "status": OperationStatus.PENDING,
        "owner": context.project_id,
        "user_id": context.user_id,
        "request_id": context.request_id,
        "roles": list(context.roles),
        "is_admin": context.is_admin,
        "deadline": rows.after(wanted.values["patience"]),
        **wanted.values,
    }
    statement = insert(operations).values(row).on_conflict_do_nothing(index_elements=[operations.c.id])
    made = connection.execute(statement).rowcount == 1
    known = one(connection, sa.select(operations).where(operations.c.id == wanted.id), OperationRow)
    return _made_before(known, context, wanted), made


def _made_before(row: OperationRow, context: RequestContext, wanted: Wanted) -> dict[str, Any]:
    if row.image_id != wanted.image_id or row.owner != context.project_id or row.kind != wanted.values["kind"]:
        raise errors.Duplicate(f"the operation {wanted.id} is another one")
    return operation_rows.document(row)


def _break_stale_lock(connection: sa.Connection, image: ImageRow) -> ImageRow:
    """Return the locked image without a live operation; raise Conflict while one may still be worked on."""
    holder = operation_rows.lock_live_of(connection, image.id)
    if holder is None:
        return image
    is_stale = sa.and_(operations.c.id == holder.id, is_unheld(), operations.c.deadline <= sa.func.now())
    if connection.scalar(sa.select(operations.c.id).where(is_stale)) is None:
        raise errors.Conflict(
            f"Image {image.id} is being worked on by the task {holder.id}", operation=holder.id, reason="locked"
        )
    completion.fail(connection, image, holder, PREEMPTED)
    return one(connection, sa.select(images).where(images.c.id == image.id), ImageRow)


def _lock_for(
    connection: sa.Connection, image: ImageRow, operation_id: str, stores: list[str], status: ImageStatus | None
) -> None:
    properties = import_properties.begun(image.properties, operation_id, stores)
    if status is None:
        rows.change_image(connection, image, properties=properties)
    else:
        rows.set_image(connection, image, status, properties=properties)


def attach(connection: sa.Connection, held: Held, image_id: str, stores: list[str]) -> str:
    """Give the operation the queued image that its worker made, which becomes importing; return the image's id.

    Raises NotFound, Gone when the operation is lost, StatusConflict, Conflict when the image has another operation.
    """
    image = rows.lock_image(connection, images.c.id == image_id, visible_to(_worker()))
    if image is None:
        raise no_image(image_id)
    _, row = operation_rows.lock_held(connection, held)
    if row.image_id == image_id:
        return image_id
    if row.image_id is not None:
        raise errors.Conflict(f"the operation {row.id} works on another image", reason="attached")
    image = _break_stale_lock(connection, image)
    if image.status != ImageStatus.QUEUED:
        raise rows.status_conflict(ImageStatus(image.status), ImageStatus.IMPORTING)
    operation_rows.change(connection, row, OperationStatus.PROCESSING, image_id=image_id)
    _lock_for(connection, image, row.id, stores, ImageStatus.IMPORTING)
    return image_id


def _worker() -> RequestContext:
    return RequestContext(request_id="-", is_admin=True)


def claim(connection: sa.Connection, wanted: OperationClaim) -> dict[str, Any] | None:
    """Give the oldest operation that the worker can do to its token, and return it with what is staged of its image.

    None without one. Repeating the call with the same token answers the same operation while it is held.
    """
    show_life(connection, wanted.host)
    mine = sa.and_(operations.c.token == wanted.token, operations.c.status.in_(operation_rows.LIVE))
    oldest = (
        sa.select(operations.c.id)
        .where(
            is_unheld(),
            operations.c.attempts < MAX_ATTEMPTS,
            sa.or_(operations.c.host.is_(None), operations.c.host == wanted.host),
            sa.or_(operations.c.owner.is_(None), operations.c.owner.not_in(wanted.without)),
        )
        .order_by(operations.c.created_at, operations.c.id)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    row = one_or_none(connection, sa.select(operations).where(mine).with_for_update(), OperationRow)
    if row is None:
        chosen = connection.scalar(oldest)
        row = one_or_none(connection, sa.select(operations).where(operations.c.id == chosen), OperationRow)
        if row is None:
            return None
        row = operation_rows.change(
            connection, row, OperationStatus.PROCESSING,
            token=wanted.token, worker=wanted.host, attempts=row.attempts + 1, **_held_for(wanted.lease),
        )
    return operation_rows.document(row) | {"staged": _staged(connection, row.image_id)}


def _held_for(lease: float) -> dict[str, Any]:
    longest = sa.func.greatest(operations.c.patience, lease)
    return {"lease_until": rows.after(lease), "deadline": _in_seconds(longest)}


def _in_seconds(number: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    return sa.func.now() + number * sa.text("interval '1 second'")


def bound_to(connection: sa.Connection, host: str) -> list[str]:
    """Return the live operations that only ``host`` can do, oldest first."""
    bound = sa.select(operations.c.id).where(operations.c.host == host, operations.c.status.in_(operation_rows.LIVE))
    return list(connection.scalars(bound.order_by(operations.c.created_at, operations.c.id)))


def show_life(connection: sa.Connection, host: str) -> None:
    """Move the deadlines of what waits for ``host``: it is there, only busy, perhaps with no worker left to claim."""
    waiting = (
        sa.select(operations.c.id)
        .where(is_unheld(), operations.c.host == host, operations.c.deadline < _in_seconds(operations.c.patience / 2))
        .with_for_update(skip_locked=True)
    )
    update = sa.update(operations).where(operations.c.id.in_(waiting))
    connection.execute(update.values(deadline=_in_seconds(operations.c.patience)))


def _staged(connection: sa.Connection, image_id: str | None) -> list[dict[str, Any]]:
    select = (
        sa.select(locations)
        .where(locations.c.image_id == image_id, locations.c.status == LocationStatus.STAGED)
        .order_by(locations.c.position)
    )
    found = every(connection, select, LocationRow)
    return [{"location": each.id, "store": each.store, "key": each.key, "size": each.size} for each in found]


def hopeless(connection: sa.Connection, host: str) -> list[str]:
    """Return the operations that no worker will finish, as far as ``host`` can tell, oldest first."""
    select = sa.select(operations.c.id).where(_is_hopeless(host)).order_by(operations.c.created_at).limit(100)
    return list(connection.scalars(select))


def _is_hopeless(host: str) -> sa.ColumnElement[bool]:
    host_is_gone = sa.and_(operations.c.host != host, operations.c.deadline <= sa.func.now())
    return sa.and_(is_unheld(), sa.or_(operations.c.attempts >= MAX_ATTEMPTS, host_is_gone))


def give_up(connection: sa.Connection, operation_id: str, host: str) -> None:
    """Fail an operation of ``hopeless``, unless a worker took it up or ended it meanwhile."""
    found = operation_rows.lock(connection, operation_id)
    if found is None:
        return
    image, row = found
    still = sa.and_(operations.c.id == operation_id, _is_hopeless(host))
    if connection.scalar(sa.select(operations.c.id).where(still)) is None:
        return
    if row.attempts >= MAX_ATTEMPTS:
        last = f"; the last message: {row.message}" if row.message else ""
        reason = f"given up after {row.attempts} attempts, of which none ended{last}"
    else:
        reason = f"the host {row.host}, which holds the data of this task, has not been seen for too long"
    completion.fail(connection, image, row, reason)


def renew(connection: sa.Connection, held: Held, lease: float, message: str | None) -> bool:
    """Hold the operation for ``lease`` more seconds from now; False when it was ended from outside.

    No image is locked: nothing changes but leases and what users are told. Raises Gone when the
    operation is another's.
    """
    update = sa.update(operations).where(
        operations.c.id == held.operation,
        operations.c.token == held.token,
        operations.c.status == OperationStatus.PROCESSING,
    )
    told = {} if message is None else {"message": message}
    values = {"updated_at": sa.func.now(), **_held_for(lease), **told}
    worker = connection.execute(update.values(values).returning(operations.c.worker)).one_or_none()
    if worker is not None:
        show_life(connection, worker.worker)
        return True
    row = one_or_none(connection, sa.select(operations).where(operations.c.id == held.operation), OperationRow)
    if row is None or row.token != held.token or row.status in operation_rows.LIVE:
        raise operation_rows.lost(held.operation)
    return False


def release(connection: sa.Connection, held: Held) -> None:
    """Give the operation back for others to claim; this attempt does not count. Raises Gone when it is lost."""
    select = sa.select(operations).where(operations.c.id == held.operation).with_for_update()
    row = one_or_none(connection, select, OperationRow)
    if row is None or row.token != held.token:
        raise operation_rows.lost(held.operation)
    if row.status == OperationStatus.PROCESSING:
        operation_rows.change(
            connection, row, OperationStatus.PENDING, lease_until=None, attempts=row.attempts - 1
        )
