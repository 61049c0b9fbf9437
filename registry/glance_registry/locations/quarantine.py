"""Copies that were found damaged or missing: taken out of use at once, kept until an operator or a delete ends it.

A copy in quarantine is never served and nothing purges it by itself. Its key stays taken. It does not count for usage.
The delete of its image takes it along, and a restore brings it back as quarantined. Every call may be repeated.
"""

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from glance_common.model import errors
from glance_common.model.status import LocationStatus
from glance_registry.db.row_types import ImageRow, LocationRow
from glance_registry.db.tables import images, locations
from glance_registry.locations.uploads import replaced_by
from glance_registry.records import rows as owners

OWNS_ITS_KEY = sa.text("(locations.status <> 'deleted' OR locations.late_passes > 0) AND NOT locations.external")
"""As in uq_locations_key, which serves the pages."""


@dataclass(frozen=True, slots=True)
class CopyQuery:
    """Which locations to list: those of a store, in the order of their keys, behind ``after`` or with this ``key``;
    or all of one image."""

    limit: int
    store: str | None = None
    after: str | None = None
    key: str | None = None
    image_id: str | None = None


def page(connection: sa.Connection, wanted: CopyQuery) -> list[dict[str, Any]]:
    """Return the locations that own a key, with what is known of their data. Those of others (external) are left out.

    ``lent``: an operation may still take the copy back.
    """
    conditions: list[sa.ColumnElement[bool]] = []
    if wanted.store is not None:
        conditions.append(locations.c.store == wanted.store)
    if wanted.after is not None:
        conditions.append(locations.c.key > wanted.after)
    if wanted.key is not None:
        conditions.append(locations.c.key == wanted.key)
    if wanted.image_id is not None:
        conditions.append(locations.c.image_id == wanted.image_id)
    select = (
        sa.select(
            locations.c.id, locations.c.image_id, locations.c.store, locations.c.key, locations.c.status,
            locations.c.size, locations.c.fingerprint, (locations.c.operation.is_not(None)).label("lent"),
            images.c.status.label("image_status"), images.c.size.label("image_size"), images.c.owner,
            images.c.checksum, images.c.os_hash_algo, images.c.os_hash_value,
        )
        .join(images, images.c.id == locations.c.image_id)
        .where(OWNS_ITS_KEY, *conditions)
        .order_by(locations.c.store, locations.c.key)
        .limit(wanted.limit)
    )
    return documents(connection, select)


def documents(connection: sa.Connection, select: sa.Select[Any]) -> list[dict[str, Any]]:
    """Return the rows of ``select`` as JSON objects: the names of columns are no plain text."""
    return [{str(name): value for name, value in row.items()} for row in connection.execute(select).mappings()]


def verified(connection: sa.Connection, location_id: str) -> bool:
    """Record that the bytes of an active location were read and found right; return whether it is active still.

    One statement without the image's lock: it changes nothing that others decide by.
    """
    update = sa.update(locations).where(
        locations.c.id == location_id, locations.c.status == LocationStatus.ACTIVE
    )
    return connection.execute(update.values(verified_at=sa.func.now())).rowcount == 1


def put(connection: sa.Connection, location_id: str, reason: str) -> tuple[dict[str, Any], bool]:
    """Take an active location out of use; return it, and whether this was done now.

    ``reason`` is for operators. Raises NotFound, Conflict for a location that is not active any more: it may be purged.
    """
    image, location = _lock(connection, location_id)
    if location.status == LocationStatus.QUARANTINED:
        return _document(connection, image, location), False
    if location.status != LocationStatus.ACTIVE:
        raise errors.Conflict(f"location {location_id} is {location.status}", reason=str(location.status))
    owners.set_location(
        connection, location, LocationStatus.QUARANTINED,
        # An operation does not take it back: the bytes stay for the operator however it ends.
        quarantined_at=sa.func.now(), quarantine_reason=reason, operation=None,
    )
    return _document(connection, image, location) | {"reason": reason}, True


def release(connection: sa.Connection, location_id: str) -> dict[str, Any]:
    """Put a location, which the caller has read and found right, back into use; return it.

    Raises NotFound, Conflict unless it is quarantined and no other copy replaces it.
    """
    image, location = _lock_quarantined(connection, location_id)
    if location.status == LocationStatus.QUARANTINED:
        if replaced_by(connection, location_id) is not None:
            raise errors.Conflict(
                f"location {location_id} is replaced by another copy: discard it", reason="replaced"
            )
        owners.set_location(
            connection, location, LocationStatus.ACTIVE,
            quarantined_at=None, quarantine_reason=None, verified_at=sa.func.now(),
        )
    return _document(connection, image, location)


def discard(connection: sa.Connection, location_id: str, request_id: str | None) -> dict[str, Any]:
    """Give a quarantined location to purge, due now; return it.

    Raises NotFound, Conflict unless it is quarantined, and with the reason ``last`` when the image has no other copy:
    then its bytes are the last chance of a recovery, and the delete of the image takes them along.
    """
    image, location = _lock_quarantined(connection, location_id, LocationStatus.DELETING, LocationStatus.DELETED)
    if location.status == LocationStatus.QUARANTINED:
        if not _copies(connection, image):
            raise errors.Conflict(
                f"location {location_id} is the last copy of image {image.id}: delete the image instead", reason="last"
            )
        owners.set_location(
            connection, location, LocationStatus.DELETING,
            deleted_at=sa.func.now(), not_before=sa.func.now(), request_id=request_id,
        )
    return _document(connection, image, location)


def listed(connection: sa.Connection, limit: int, marker: str | None) -> list[dict[str, Any]]:
    """Return at most ``limit`` quarantined locations, by id, after ``marker``."""
    other = locations.alias("other")
    copies = (
        sa.select(sa.func.count())
        .where(other.c.image_id == locations.c.image_id, other.c.status == LocationStatus.ACTIVE)
        .scalar_subquery()
    )
    # The constant of ix_locations_quarantined.
    is_quarantined = locations.c.status == sa.literal_column("'quarantined'")
    select = sa.select(*_COLUMNS, copies.label("copies")).where(is_quarantined)
    if marker is not None:
        select = select.where(locations.c.id > marker)
    return documents(connection, select.order_by(locations.c.id).limit(limit))


def count(connection: sa.Connection) -> int:
    """Return how many locations are in quarantine."""
    select = sa.select(sa.func.count()).where(locations.c.status == sa.literal_column("'quarantined'"))
    return connection.execute(select).scalar_one()


_COLUMNS = (
    locations.c.id, locations.c.image_id, locations.c.store, locations.c.key, locations.c.size,
    locations.c.quarantine_reason.label("reason"),
    sa.cast(locations.c.quarantined_at, sa.Text).label("since"),
)


def _document(connection: sa.Connection, image: ImageRow, location: LocationRow) -> dict[str, Any]:
    """Return a location as operators see it; ``copies`` are the active ones that its image has."""
    return {
        "id": location.id, "image_id": image.id, "store": location.store, "key": location.key, "size": location.size,
        "reason": location.quarantine_reason, "since": str(location.quarantined_at or ""),
        "copies": _copies(connection, image),
    }


def _copies(connection: sa.Connection, image: ImageRow) -> int:
    select = sa.select(sa.func.count()).where(
        locations.c.image_id == image.id, locations.c.status == LocationStatus.ACTIVE
    )
    return connection.execute(select).scalar_one()


def _lock(connection: sa.Connection, location_id: str) -> tuple[ImageRow, LocationRow]:
    found = owners.lock_owner(connection, locations.c.id == location_id)
    if found is None:
        raise errors.NotFound(f"No location found with ID {location_id}")
    return found


def _lock_quarantined(
    connection: sa.Connection, location_id: str, *done_before: LocationStatus
) -> tuple[ImageRow, LocationRow]:
    """Lock a location that is quarantined, or has left quarantine in the wanted way by an earlier call."""
    image, location = _lock(connection, location_id)
    was_quarantined = location.status in done_before and location.quarantine_reason is not None
    if location.status != LocationStatus.QUARANTINED and not was_quarantined:
        raise errors.Conflict(
            f"location {location_id} is {location.status}, not in quarantine", reason=str(location.status)
        )
    return image, location
