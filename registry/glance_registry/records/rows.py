"""The locations table, owner of every byte: how its rows are locked and how they change.

Every transition locks the image row first and its locations after it, so that delete, restore, commit and claims of one
image happen one after another and never wait for each other in a circle. Time is the database's ``now()`` only: the
clocks of the hosts do not matter. ``now()`` is when the transaction began, so that waiting for a lock can make a lease
look longer than it is, never shorter.

What a row says beside its status:

- ``on_fail`` is set from the start of an attempt until its commit: null means that the bytes were once complete.
- ``operation`` is set while a background operation may still take the copy back, and stays on what it took back.
- ``deleted_at`` is set as soon as the bytes are no data of the image any more, long before they are gone: what was
  taken from an image before its delete, or by it, is not brought back by a restore.
- ``lease_until`` is set while a process holds the row: a writer (status ``writing``, or ``pending_delete`` when the
  image was deleted during the write), or the claim ``token``. Null together with a token means that the claim is
  over.
"""

from collections.abc import Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from glance_common.model import errors
from glance_common.model.context import RequestContext
from glance_common.model.property_names import OWN
from glance_common.model.status import ImageStatus, LocationStatus, location_may_become, may_become
from glance_registry.db.row_types import ClaimedRow, ImageRow, LocationRow, every, one_or_none
from glance_registry.db.tables import images, locations
from glance_registry.records.documents import image_document

NO_DATA: dict[str, None] = dict.fromkeys(("size", "virtual_size", "checksum", "os_hash_algo", "os_hash_value"))
"""What an image says of its data when it has none."""

_WAITING = (
    LocationStatus.WRITING,
    LocationStatus.PENDING_DELETE,
    LocationStatus.DELETING,
    LocationStatus.REAPING,
)


def after(number: float) -> sa.ColumnElement[Any]:
    """Return the database's time ``number`` seconds from now."""
    return sa.func.now() + timedelta(seconds=number)


def lock_image(connection: sa.Connection, *conditions: sa.ColumnElement[bool]) -> ImageRow | None:
    """Lock and return the one image row that meets ``conditions``, or None."""
    # FOR NO KEY UPDATE: members may be added meanwhile, nothing else.
    lock = sa.select(images).where(*conditions).with_for_update(key_share=True, of=images)
    return one_or_none(connection, lock, ImageRow)


def lock_owner(
    connection: sa.Connection, condition: sa.ColumnElement[bool]
) -> tuple[ImageRow, LocationRow] | None:
    """Lock the image of the one location that meets ``condition``, then the location; return both, or None."""
    # A location never changes its image, so the subquery may be read without a lock.
    image = lock_image(connection, images.c.id == sa.select(locations.c.image_id).where(condition).scalar_subquery())
    if image is None:
        return None
    location = one_or_none(connection, sa.select(locations).where(condition).with_for_update(), LocationRow)
    return None if location is None else (image, location)


def lock_locations(connection: sa.Connection, image_id: str) -> list[LocationRow]:
    """Lock and return the locations of an image whose row is locked already."""
    select = sa.select(locations).where(locations.c.image_id == image_id).order_by(locations.c.position)
    return every(connection, select.with_for_update(), LocationRow)


def set_image(connection: sa.Connection, image: ImageRow, new: ImageStatus, **values: Any) -> None:
    """Move a locked image to status ``new``, compare-and-set; raise StatusConflict when the table forbids it."""
    old = ImageStatus(image.status)
    if not may_become(old, new):
        raise status_conflict(old, new)
    update = (
        sa.update(images)
        .where(images.c.id == image.id, images.c.status == old)
        .values(status=new, updated_at=sa.func.now(), row_version=images.c.row_version + 1, **values)
    )
    if connection.execute(update).rowcount != 1:
        raise status_conflict(old, new)


def change_image(connection: sa.Connection, image: ImageRow, **values: Any) -> None:
    """Change columns of a locked image; its status stays."""
    update = sa.update(images).where(images.c.id == image.id)
    connection.execute(
        update.values(updated_at=sa.func.now(), row_version=images.c.row_version + 1, **values)
    )


def as_written(changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns that a caller's ``changes`` of an image write: the service's own properties stay (S-68)."""
    if "properties" not in changes:
        return dict(changes)
    each = sa.func.jsonb_each(images.c.properties).table_valued("key", "value")
    own = sa.select(sa.func.jsonb_object_agg(each.c.key, each.c.value)).where(each.c.key.in_(sorted(OWN)))
    nothing = sa.cast({}, JSONB)
    kept = sa.func.coalesce(own.scalar_subquery(), nothing)
    return {**changes, "properties": sa.cast(changes["properties"], JSONB).op("||")(kept)}


def fail_image(connection: sa.Connection, image: ImageRow, location: LocationRow) -> None:
    """Give the image of a failed or dead attempt the status that the attempt named for this case.

    Nothing happens to an image that is not waiting for this attempt any more, or that waits for an operation, which
    may try again. Size and virtual size go back to unknown (lifecycle section 2).
    """
    waiting = ImageStatus.UPLOADING if location.staging else ImageStatus.SAVING
    if location.operation is None and image.status == waiting:
        assert location.on_fail is not None, "the attempt never committed"
        set_image(connection, image, ImageStatus(location.on_fail), size=None, virtual_size=None)


def discard_staged(connection: sa.Connection, image_id: str) -> None:
    """Give what is staged of a locked image to purge."""
    _discard(connection, locations.c.image_id == image_id, locations.c.status == LocationStatus.STAGED)


def discard_copies(connection: sa.Connection, operation_id: str) -> None:
    """Give the copies that an operation made and did not keep to purge; its image is locked.

    What it is still writing keeps its lease: it can never be committed, and the reaper finds it.
    """
    _discard(connection, locations.c.operation == operation_id, locations.c.status == LocationStatus.ACTIVE)


def keep_copies(connection: sa.Connection, operation_id: str) -> None:
    """Make the copies that an operation made the image's for good; its image is locked."""
    kept = sa.and_(locations.c.operation == operation_id, locations.c.status == LocationStatus.ACTIVE)
    connection.execute(sa.update(locations).where(kept).values(operation=None))


def _discard(connection: sa.Connection, *conditions: sa.ColumnElement[bool]) -> None:
    connection.execute(
        sa.update(locations)
        .where(*conditions)
        .values(status=LocationStatus.DELETING, deleted_at=sa.func.now(), not_before=sa.func.now())
    )


def check_formats(image: ImageRow, changes: Mapping[str, Any] = MappingProxyType({})) -> None:
    """Raise BadRequest when the image, with ``changes``, lacks a format: it cannot have data (lifecycle section 2)."""
    for name in ("disk_format", "container_format"):
        if changes.get(name, getattr(image, name)) is None:
            raise errors.BadRequest(f"{name} must be set before the image can have data", field=name)


def set_location(connection: sa.Connection, location: LocationRow, new: LocationStatus, **values: Any) -> None:
    """Move a locked location to status ``new``, compare-and-set; raise Conflict when the table forbids it."""
    old = LocationStatus(location.status)
    if not location_may_become(old, new):
        raise errors.Conflict(f"a location cannot go from {old} to {new}", reason=str(old))
    change_location(connection, location, status=new, **values)


def change_location(connection: sa.Connection, location: LocationRow, **values: Any) -> None:
    """Change columns of a locked location."""
    update = sa.update(locations).where(locations.c.id == location.id, locations.c.status == location.status)
    if connection.execute(update.values(**values)).rowcount != 1:
        raise errors.Conflict(f"location {location.id} is not {location.status} any more")


def document(connection: sa.Connection, context: RequestContext, image_id: str) -> str:
    """Return the document of an image after a write to it, also of a hidden one."""
    select = sa.select(image_document(context)).select_from(images).where(images.c.id == image_id)
    text: str = connection.execute(select).scalar_one()
    return text


def is_due(scrub_time: float) -> sa.ColumnElement[bool]:
    """Return the condition, on locations joined with images, that a claim would be accepted now.

    ``scrub_time`` (seconds) is the asking scrubber's: the data of an image deleted with a delay wait for the longer of
    this one and the one written into ``not_before``. A running lease excludes all others, a writer's as well as a
    claim's.
    """
    now = sa.func.now()
    return sa.and_(
        sa.or_(
            locations.c.status.in_(_WAITING),
            sa.and_(locations.c.status == LocationStatus.DELETED, locations.c.late_passes > 0),
        ),
        # Written as in ix_locations_due, so that rows of the far future cost nothing.
        sa.func.coalesce(locations.c.not_before, locations.c.lease_until) <= now,
        sa.func.coalesce(locations.c.lease_until, locations.c.not_before) <= now,
        sa.or_(locations.c.status != LocationStatus.PENDING_DELETE, is_kept_no_longer(after(-scrub_time))),
    )


def is_kept_no_longer(before: sa.ColumnElement[Any]) -> sa.ColumnElement[bool]:
    """Return the condition, on locations joined with images, that data of a deleted image need not wait for a restore.

    ``before`` is the latest time at which an image deleted with a delay may have been deleted.
    """
    return sa.or_(sa.not_(images.c.delayed), locations.c.on_fail.is_not(None), images.c.deleted_at <= before)


def status_conflict(old: ImageStatus, new: ImageStatus) -> errors.StatusConflict:
    """Return the error for a transition that the image's status does not allow (lifecycle section 2)."""
    return errors.StatusConflict(f"the image is {old} and cannot become {new}", status=str(old), wanted=str(new))


def location_document(location: LocationRow) -> dict[str, Any]:
    """Return a location as the API needs it."""
    return {"id": location.id, "store": location.store, "key": location.key, "metadata": location.metadata}


def deletion_document(location: ClaimedRow, token: str | None) -> dict[str, Any]:
    """Return the claim ``token`` on the bytes of ``location``."""
    return {
        "location": location.id,
        "image_id": location.image_id,
        "store": location.store,
        "key": location.key,
        "token": token,
        "attempts": location.attempts,
        "request_id": location.request_id,
    }
