"""What a worker writes to the image of its operation between claim and end. Each write counts only while it holds it.

Every function raises Gone when the operation is over or another's, Conflict when it has no image, and returns the
image's id.
"""

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from glance_common.model import errors
from glance_common.model.operation import STAGE_HOST_PROPERTY, Held
from glance_registry.db.row_types import ImageRow, OperationRow
from glance_registry.operations import written
from glance_registry.records import import_properties, operations, rows, sizes
from glance_registry.records.bounds import MAX_IMAGE_DOCUMENT

ONCE = ("size", "checksum", "os_hash_algo", "os_hash_value")
"""What says which data an image has: written once, never changed (promise I2)."""


def store_failed(connection: sa.Connection, held: Held, store: str) -> str:
    """Note that the data did not get into ``store``."""
    image = _lock(connection, held)
    rows.change_image(connection, image, properties=import_properties.failed(image.properties, [store]))
    return str(image.id)


def unstage(connection: sa.Connection, held: Held) -> str:
    """Give what is staged of the image to purge."""
    image = _lock(connection, held)
    rows.discard_staged(connection, image.id)
    properties = {name: value for name, value in image.properties.items() if name != STAGE_HOST_PROPERTY}
    rows.change_image(connection, image, properties=properties)
    return str(image.id)


def update(
    connection: sa.Connection,
    held: Held,
    changes: Mapping[str, Any],
    properties: Mapping[str, str | None],
    largest: int = MAX_IMAGE_DOCUMENT,
) -> str:
    """Write ``changes`` (columns) and merge ``properties``, of which None removes one.

    Raises Conflict when ``changes`` name other data than the image has, TooLarge when its document would grow beyond
    ``largest`` bytes.
    """
    image, row = _lock_both(connection, held)
    for name in ONCE:
        known = getattr(image, name)
        if name in changes and known is not None and changes[name] != known:
            raise errors.Conflict(f"{name} of image {image.id} is {known} and never changes", reason="differs")
    merged = {name: value for name, value in {**image.properties, **properties}.items() if value is not None}
    written.note(connection, row, image, changes, properties)
    before = sizes.read(connection, image.id)
    rows.change_image(connection, image, **changes, properties=merged)
    sizes.check_growth(connection, image.id, before, largest)
    return str(image.id)


def _lock(connection: sa.Connection, held: Held) -> ImageRow:
    return _lock_both(connection, held)[0]


def _lock_both(connection: sa.Connection, held: Held) -> tuple[ImageRow, OperationRow]:
    image, row = operations.lock_held(connection, held)
    if image is None:
        raise errors.Conflict(f"the operation {row.id} has no image", reason="no_image")
    return image, row
