"""How an operation ends: what becomes of its image, of the copies that it made, and of what was staged."""

from typing import Any

import sqlalchemy as sa

from glance_common.model import errors
from glance_common.model.context import RequestContext
from glance_common.model.operation import Held, OnFail
from glance_common.model.status import ImageStatus, LocationStatus, OperationStatus
from glance_registry.db.row_types import ImageRow, OperationRow
from glance_registry.db.tables import locations
from glance_registry.images import delete
from glance_registry.operations import written
from glance_registry.records import import_properties, operations
from glance_registry.records import rows as owners

_UNFINISHED = (ImageStatus.IMPORTING, ImageStatus.SAVING)


def finish(
    connection: sa.Connection, held: Held, success: bool, message: str, result: dict[str, Any] | None
) -> dict[str, Any]:
    """End the operation that ``held`` holds and return it; one that has ended stays as it is.

    Raises Gone when another worker has claimed it, Conflict for the success of an image without data.
    """
    found = operations.lock(connection, held.operation)
    if found is None or found[1].token != held.token:
        raise operations.lost(held.operation)
    image, row = found
    if row.status not in operations.LIVE:
        return operations.document(row)
    if row.status != OperationStatus.PROCESSING:
        raise operations.lost(held.operation)
    if not success:
        return operations.document(fail(connection, image, row, message, result))
    if image is not None:
        _keep(connection, image, row)
    ended = operations.end(connection, row, OperationStatus.SUCCESS, message, result=result)
    return operations.document(ended)


def _keep(connection: sa.Connection, image: ImageRow, row: OperationRow) -> None:
    """Make the image active with every copy that it has."""
    owners.discard_staged(connection, image.id)
    owners.keep_copies(connection, row.id)
    properties = import_properties.ended(image.properties)
    if image.status not in _UNFINISHED:
        owners.change_image(connection, image, properties=properties)
        return
    if not _has_data(connection, image):
        raise errors.Conflict(f"image {image.id} has no data, its operation cannot succeed", reason="no_data")
    owners.set_image(connection, image, ImageStatus.ACTIVE, properties=properties)


def fail(
    connection: sa.Connection,
    image: ImageRow | None,
    row: OperationRow,
    message: str,
    result: dict[str, Any] | None = None,
) -> OperationRow:
    """End a locked live operation as failed, take back its copies that must not stay, and return its row.

    An image that waited for it gets the status ``on_fail``; an active one stays active with the copies that were kept.
    """
    ended = operations.end(connection, row, OperationStatus.FAILURE, message, result=result)
    if image is not None:
        _take_back(connection, image, row)
    return ended


def _take_back(connection: sa.Connection, image: ImageRow, row: OperationRow) -> None:
    owners.discard_staged(connection, image.id)
    is_unfinished = image.status in _UNFINISHED
    if is_unfinished or _has_data(connection, image, locations.c.operation.is_distinct_from(row.id)):
        owners.discard_copies(connection, row.id)
    else:
        # Every other copy was taken away meanwhile: an active image keeps its data.
        owners.keep_copies(connection, row.id)
    properties = import_properties.ended(image.properties)
    if not is_unfinished:
        # The algorithm of digests that nothing computes any more says nothing.
        algorithm = {"os_hash_algo": None} if image.os_hash_value is None else {}
        owners.change_image(connection, image, properties=properties, **algorithm)
    elif row.on_fail == OnFail.DELETE:
        asked = delete.Delete(attempt=row.id, delayed=False, scrub_time=0)
        delete.hide(connection, RequestContext(request_id=row.request_id or "-"), image, asked)
    else:
        values = {**written.taken_back(row, image, properties), **owners.NO_DATA}
        owners.set_image(connection, image, ImageStatus(row.on_fail), **values)


def _has_data(connection: sa.Connection, image: ImageRow, *conditions: sa.ColumnElement[bool]) -> bool:
    rows = sa.select(locations.c.id).where(
        locations.c.image_id == image.id, locations.c.status == LocationStatus.ACTIVE, *conditions
    )
    return connection.execute(rows.limit(1)).one_or_none() is not None
