"""Locations as users manage them: add, describe, reorder and take away, in one step with fields of the image.

A location that a user registers is complete when it comes, so its row is ``active`` at once and a queued image becomes
active without ever saving (lifecycle section 2). One that is taken away goes straight to ``deleting``, due now: a
restore of the image must not bring it back.

Who owns which bytes is decided by the unique index on store and key: what one image owns, no other can register. Rows
of stores that delete nothing are ``external`` and may share a key.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from glance_common.model import errors
from glance_common.model.context import RequestContext
from glance_common.model.image import NewLocation
from glance_common.model.limits import Limits
from glance_common.model.status import ImageStatus, LocationStatus
from glance_registry.db.row_types import ImageRow
from glance_registry.db.tables import images, locations, orphans
from glance_registry.quota import usage
from glance_registry.records import rows as owners
from glance_registry.records import sizes
from glance_registry.records.bounds import MAX_IMAGE_DOCUMENT
from glance_registry.records.documents import image_document, no_image
from glance_registry.records.visibility import visible_to


@dataclass(frozen=True, slots=True)
class Edit:
    """What one request changes, of the row as it was read.

    ``changes`` are columns of the image; ``data`` are its size and digests, set only together with its first location;
    ``metadata`` and ``remove`` name locations by id; ``order`` is the ids of all active ones afterwards.
    """

    attempt: str
    row_version: int
    changes: Mapping[str, Any]
    data: Mapping[str, Any]
    add: tuple[NewLocation, ...]
    metadata: Mapping[str, dict[str, Any]]
    remove: tuple[str, ...]
    order: tuple[str, ...]
    limits: Limits | None = None
    """Of the owner whom the image has afterwards."""
    largest: int = MAX_IMAGE_DOCUMENT
    """Bytes that the document of the image may have, its locations included."""


def edit(connection: sa.Connection, context: RequestContext, image_id: str, wanted: Edit) -> str:
    """Do all of ``wanted`` or nothing; return the image's document with its active locations.

    Raises NotFound; VersionConflict when another caller wrote the image or its locations since; StatusConflict unless
    it is active, or queued and gets its first location; BadRequest without formats; Forbidden for the purge of the
    last location (S-17); Duplicate when another row owns the bytes; TooLarge when the image then exceeds a limit or
    its document the bound.
    """
    limits = usage.hold(connection, wanted.limits, *usage.MEASURES)
    image = owners.lock_image(connection, images.c.id == image_id, visible_to(context))
    if image is None:
        raise no_image(image_id)
    if image.write_attempt != wanted.attempt:
        if image.row_version != wanted.row_version:
            raise changed(image_id)
        used_before, size_before = usage.before(connection, limits, image), sizes.read(connection, image_id)
        _write_image(connection, image, wanted)
        _write_locations(connection, context, image, wanted)
        sizes.check_growth(connection, image_id, size_before, wanted.largest)
        owner = wanted.changes.get("owner", image.owner)
        usage.enforce_change(connection, limits, image_id, owner, used_before)
    return document(connection, context, image_id)


def document(connection: sa.Connection, context: RequestContext, image_id: str) -> str:
    """Return the document of an image after a write to it, with its active locations."""
    select = sa.select(image_document(context, locations=True)).select_from(images).where(images.c.id == image_id)
    return str(connection.execute(select).scalar_one())


def _write_image(connection: sa.Connection, image: ImageRow, wanted: Edit) -> None:
    columns = owners.as_written(wanted.changes)
    if image.status == ImageStatus.QUEUED and wanted.add:
        owners.check_formats(image, wanted.changes)
        owners.set_image(
            connection, image, ImageStatus.ACTIVE, **columns, **wanted.data, write_attempt=wanted.attempt
        )
        return
    if image.status != ImageStatus.ACTIVE:
        raise owners.status_conflict(ImageStatus(image.status), ImageStatus.ACTIVE)
    if wanted.data:
        raise errors.Conflict("size and digests of an image that has data do not change")
    owners.change_image(connection, image, **columns, write_attempt=wanted.attempt)


def _write_locations(
    connection: sa.Connection, context: RequestContext, image: ImageRow, wanted: Edit
) -> None:
    rows = {
        row.id: row for row in owners.lock_locations(connection, image.id) if row.status == LocationStatus.ACTIVE
    }
    if not rows.keys() >= {*wanted.remove, *wanted.metadata}:
        raise changed(image.id)
    if len(rows) + len(wanted.add) <= len(wanted.remove):
        raise errors.Forbidden("the last location of an image cannot be removed")
    for location in wanted.add:
        add(connection, image.id, location)
    for identifier in wanted.remove:
        owners.set_location(
            connection, rows[identifier], LocationStatus.DELETING,
            deleted_at=sa.func.now(), not_before=sa.func.now(), request_id=context.request_id,
        )
    for identifier, metadata in wanted.metadata.items():
        owners.change_location(connection, rows[identifier], metadata=metadata)
    _reorder(connection, image, wanted.order)


def add(connection: sa.Connection, image_id: str, location: NewLocation, operation: str | None = None) -> None:
    """Make the row of a new location of a locked image, which ``operation`` may take back when one is named.

    Raises Duplicate when another row owns the bytes, or when they are an orphan that is being removed.
    """
    values = {
        "id": location.id,
        "image_id": image_id,
        "store": location.store,
        "key": location.key,
        "status": LocationStatus.ACTIVE,
        "size": location.size,
        "metadata": location.metadata,
        "attempt": location.id,
        "external": location.external,
        "operation": operation,
    }
    if connection.execute(insert(locations).values(values).on_conflict_do_nothing()).rowcount != 1:
        raise errors.Duplicate("the data at this location belong to an image already")
    # A claim looks for an owner while it holds the row; this waits for it.
    removed = sa.select(orphans.c.id).where(
        orphans.c.store == location.store, orphans.c.key == location.key, orphans.c.lease_until > sa.func.now()
    )
    if connection.execute(removed.with_for_update(read=True)).first() is not None:
        raise errors.Duplicate("the data at this location are being removed")


def _reorder(connection: sa.Connection, image: ImageRow, order: Iterable[str]) -> None:
    """Give the active rows the positions that they have among them, in the wanted order."""
    active = sa.select(locations.c.id, locations.c.position).where(
        locations.c.image_id == image.id, locations.c.status == LocationStatus.ACTIVE
    )
    positions = {row.id: row.position for row in connection.execute(active)}
    if sorted(order) != sorted(positions):
        raise changed(image.id)
    for identifier, position in zip(order, sorted(positions.values()), strict=True):
        if positions[identifier] != position:
            connection.execute(sa.update(locations).where(locations.c.id == identifier).values(position=position))


def changed(image_id: str) -> errors.VersionConflict:
    """Return the error for an edit of a state that is over."""
    return errors.VersionConflict(f"Image {image_id} was changed by another request in the meantime")
