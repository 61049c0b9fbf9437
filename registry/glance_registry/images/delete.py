"""Delete and restore of an image: what hides it, what its bytes wait for, and the way back (lifecycle section 4).

Properties, tags and members stay on their rows. They are hidden because the image is, and a restored image therefore
has all of them again (S-74).
"""

from dataclasses import dataclass
from functools import lru_cache

import sqlalchemy as sa

from glance_common.model import errors
from glance_common.model.context import RequestContext
from glance_common.model.limits import Limits
from glance_common.model.status import ImageStatus, LocationStatus, OperationStatus, location_sources, may_become
from glance_registry.db.prepared import Prepared
from glance_registry.db.row_types import ImageRow, LocationRow
from glance_registry.db.tables import images, locations, operations
from glance_registry.quota import usage
from glance_registry.records import import_properties
from glance_registry.records import operations as operation_rows
from glance_registry.records import rows as owners
from glance_registry.records.documents import no_image
from glance_registry.records.visibility import kind_of, restorable_by, visible_to

_DELETABLE = tuple(
    status for status in ImageStatus
    if status not in (ImageStatus.PENDING_DELETE, ImageStatus.DELETED) and may_become(status, ImageStatus.DELETED)
)
_HIDDEN = (ImageStatus.PENDING_DELETE, ImageStatus.DELETED)
# Constants in the statement, which has a parameter for every other value.
_DELETED = sa.literal_column(f"'{ImageStatus.DELETED}'", sa.Text())
_NO_IMPORT_PROPERTY = f"NOT images.properties ?| ARRAY[{', '.join(map(repr, import_properties.NAMES))}]"
_BACK_TO = {ImageStatus.UPLOADING: ImageStatus.QUEUED, ImageStatus.IMPORTING: ImageStatus.QUEUED}


@dataclass(frozen=True, slots=True)
class Delete:
    """A delete as asked for: ``delayed`` keeps the bytes for ``scrub_time`` seconds, for restore."""

    attempt: str
    delayed: bool
    scrub_time: float


def delete(connection: sa.Connection, context: RequestContext, image_id: str, asked: Delete) -> list[str]:
    """Hide the image, whatever its status, and return the ids of its locations that are due now.

    With rows that may own bytes the image waits in ``pending_delete`` for their purge, otherwise it is ``deleted`` at
    once. A running upload keeps its lease: its bytes can be claimed when it aborts or when the lease ran out (S-11).
    Raises NotFound for an image that ``context`` does not see, Forbidden for a protected one (S-01).
    """
    mine = sa.and_(images.c.write_attempt == asked.attempt, images.c.status.in_(_HIDDEN))
    image = owners.lock_image(connection, images.c.id == image_id, sa.or_(visible_to(context), mine))
    if image is None:
        raise no_image(image_id)
    if image.status not in _HIDDEN:
        if image.protected:
            raise errors.Forbidden(f"Image {image.id} is protected and cannot be deleted.")
        image_status = hide(connection, context, image, asked)
    else:
        image_status = ImageStatus(image.status)
    return _due_now(connection, image_id) if image_status is ImageStatus.PENDING_DELETE else []


def delete_empty(connection: sa.Connection, context: RequestContext, image_id: str, asked: Delete) -> bool:
    """Delete an image that never had anything to remove or to end, in one round trip; tell whether it was such a one.

    Any other image stays as it is, also one that is protected, hidden already, or not visible to ``context``.
    """
    lock, update = _delete_empty(kind_of(context))
    values = {
        "project": context.project_id, "image_id": image_id, "new_delayed": asked.delayed, "attempt": asked.attempt,
    }
    return bool(update.run(connection, values, after=lock))


@lru_cache(maxsize=8)
def _delete_empty(kind: RequestContext) -> tuple[Prepared[tuple[str]], Prepared[tuple[str]]]:
    """Return the lock of the image and its update.

    The lock comes first, as everywhere: a transaction that gives an image bytes or an operation holds it until its
    commit.
    """
    named = sa.and_(images.c.id == sa.bindparam("image_id", type_=images.c.id.type), visible_to(kind))
    lock = sa.select(images.c.id).where(named).with_for_update(key_share=True)
    bytes_of = sa.exists().where(locations.c.image_id == images.c.id, locations.c.status != _DELETED)
    work_on = sa.exists().where(operations.c.image_id == images.c.id, operation_rows.is_live())
    update = (
        sa.update(images)
        .where(
            named,
            images.c.status.in_([sa.literal_column(f"'{status}'") for status in _DELETABLE]),
            sa.not_(images.c.protected),
            sa.text(_NO_IMPORT_PROPERTY),
            sa.not_(bytes_of),
            sa.not_(work_on),
        )
        .values(
            status=_DELETED,
            status_before_delete=images.c.status,
            deleted_at=sa.func.now(),
            updated_at=sa.func.now(),
            row_version=images.c.row_version + sa.literal_column("1"),
            delayed=sa.bindparam("new_delayed", type_=sa.Boolean),
            write_attempt=sa.bindparam("attempt", type_=images.c.write_attempt.type),
        )
        .returning(images.c.id)
    )
    return Prepared(lock), Prepared(update)


def hide(connection: sa.Connection, context: RequestContext, image: ImageRow, asked: Delete) -> ImageStatus:
    """Hide a locked image, end what works on it, and return its new status.

    What was staged or only lent to an operation goes to purge at once: no restore brings it back. Nor does one bring
    back what an upload wrote that never committed, so that waits for its lease alone.
    """
    _cancel_operation(connection, image)
    rows = owners.lock_locations(connection, image.id)
    if any(row.status == LocationStatus.STAGED for row in rows):
        owners.discard_staged(connection, image.id)
    has_bytes = any(row.status != LocationStatus.DELETED for row in rows)
    status = ImageStatus.PENDING_DELETE if has_bytes else ImageStatus.DELETED
    owners.set_image(
        connection, image, status,
        deleted_at=sa.func.now(),
        delayed=asked.delayed,
        status_before_delete=image.status,
        write_attempt=asked.attempt,
        properties=import_properties.ended(image.properties),
    )
    if not has_bytes:
        return status
    # Rows that are being removed already, or that wait for an operator, stay as they are.
    connection.execute(
        sa.update(locations)
        .where(
            locations.c.image_id == image.id,
            locations.c.status.in_(location_sources(LocationStatus.PENDING_DELETE)),
        )
        .values(
            status=LocationStatus.PENDING_DELETE,
            not_before=sa.case(
                (locations.c.on_fail.is_(None), owners.after(asked.scrub_time if asked.delayed else 0)),
                else_=sa.func.now(),
            ),
            request_id=context.request_id,
        )
    )
    return status


def _cancel_operation(connection: sa.Connection, image: ImageRow) -> None:
    operation = operation_rows.lock_live_of(connection, image.id)
    if operation is not None:
        message = "the image was deleted"
        operation_rows.end(connection, operation, OperationStatus.FAILURE, message, cancelled=True)
        owners.discard_copies(connection, operation.id)


def _due_now(connection: sa.Connection, image_id: str) -> list[str]:
    due = (
        sa.select(locations.c.id)
        .join(images, images.c.id == locations.c.image_id)
        .where(locations.c.image_id == image_id, owners.is_due(scrub_time=0))
        .order_by(locations.c.position)
    )
    return list(connection.scalars(due))


def restore(
    connection: sa.Connection, context: RequestContext, image_id: str, attempt: str, limits: Limits | None = None
) -> None:
    """Bring an image back to the status before its delete, with locations, properties, tags and members (S-74).

    An image that was staged or being imported comes back queued, without what there was of its data.
    All or nothing: raises Conflict when it is not waiting for purge, when its data were never complete, or when the
    purge of any of its data has begun. A caller who is no administrator restores what was kept for a restore, and only
    until its time is over: else Conflict. Raises NotFound for an unknown image and for one of another project, TooLarge
    when the owner's ``limits`` have no room for it any more.
    """
    held = usage.hold(connection, limits, *usage.MEASURES)
    image = owners.lock_image(connection, images.c.id == image_id, restorable_by(context))
    if image is None:
        raise no_image(image_id)
    if image.write_attempt == attempt and image.status not in _HIDDEN:
        return
    used_before = usage.before(connection, held, image)
    before = _status_to_restore(image)
    rows = owners.lock_locations(connection, image_id)
    _check_restorable(image, rows)
    if not context.is_admin:
        _check_kept(connection, image, rows)
    for row in rows:
        # What a dead upload left in a row of its own still waits for the reaper.
        if row.status == LocationStatus.PENDING_DELETE and row.on_fail is None:
            # A copy that was found damaged stays out of use.
            back_to = LocationStatus.ACTIVE if row.quarantine_reason is None else LocationStatus.QUARANTINED
            owners.set_location(connection, row, back_to, not_before=None, request_id=None)
    no_data = owners.NO_DATA if before is ImageStatus.QUEUED else {}
    owners.set_image(
        connection, image, before,
        deleted_at=None, status_before_delete=None, delayed=False, write_attempt=attempt, **no_data,
    )
    usage.enforce_change(connection, held, image_id, image.owner, used_before)


def _status_to_restore(image: ImageRow) -> ImageStatus:
    status = ImageStatus(image.status)
    if status is not ImageStatus.PENDING_DELETE:
        raise errors.Conflict(f"image {image.id} is {status}, only pending_delete can be restored", reason=str(status))
    assert image.status_before_delete is not None, "the delete wrote it"
    was = ImageStatus(image.status_before_delete)
    before = _BACK_TO.get(was, was)
    if not may_become(status, before):
        raise errors.Conflict(
            f"image {image.id} was {before} when it was deleted, its data were never complete", reason=str(before)
        )
    return before


def _check_restorable(image: ImageRow, rows: list[LocationRow]) -> None:
    """Raise Conflict when data that the image had at its delete are being removed or gone.

    Rows of attempts that never committed were not the image's data, nor were rows taken away before the delete or
    by it.
    """
    assert image.deleted_at is not None, "the delete wrote it"
    for row in rows:
        was_removed_before = row.deleted_at is not None and row.deleted_at <= image.deleted_at
        if row.on_fail is not None or was_removed_before or row.status == LocationStatus.PENDING_DELETE:
            continue
        raise errors.Conflict(
            f"the data of image {image.id} in store {row.store} are {row.status}, it cannot be restored whole",
            reason=str(row.status),
        )


def _check_kept(connection: sa.Connection, image: ImageRow, rows: list[LocationRow]) -> None:
    """Raise Conflict unless the data of the image are kept for a restore, and their time is not over.

    Only a purge ends the time of an administrator.
    """
    if not image.delayed or image.status_before_delete not in (ImageStatus.ACTIVE, ImageStatus.DEACTIVATED):
        raise errors.Conflict(
            f"image {image.id} is deleted, its data are not kept for a restore", reason=str(ImageStatus.DELETED)
        )
    waiting = [row.not_before for row in rows if row.status == LocationStatus.PENDING_DELETE and row.on_fail is None]
    now = connection.execute(sa.select(sa.func.now())).scalar_one()
    if any(not_before is None or not_before <= now for not_before in waiting):
        raise errors.Conflict(f"the time to restore image {image.id} is over", reason="time_over")
