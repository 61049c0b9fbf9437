"""Changes of an image that name all they touch: several callers may write to one image at the same time.

A change holds as if it came after what others wrote since its caller read the image, as long as nothing differs that
its checks rested on. It is applied under the lock of the row, so nothing that others wrote is lost.
"""

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from glance_common.model import errors
from glance_common.model.context import RequestContext
from glance_common.model.image_merge import ImageMerge
from glance_common.model.property_names import OWN
from glance_registry.db.row_types import ImageRow
from glance_registry.db.tables import images
from glance_registry.images.crud import get, write_image
from glance_registry.records import rows as owners
from glance_registry.records import sizes
from glance_registry.records.bounds import MAX_IMAGE_DOCUMENT
from glance_registry.records.documents import no_image
from glance_registry.records.visibility import visible_to


@dataclass(frozen=True, slots=True)
class Merge:
    """What one request writes: ``wanted``, under ``attempt``. The document may have ``largest`` bytes."""

    attempt: str
    wanted: ImageMerge
    largest: int = MAX_IMAGE_DOCUMENT


def merge(connection: sa.Connection, context: RequestContext, image_id: str, change: Merge) -> str:
    """Write a change over the image as it is now and return its document.

    Raises NotFound; VersionConflict when something differs that the change rests on, so that its caller has to decide
    anew; TooLarge when the document would grow beyond its bound.
    """
    image = owners.lock_image(connection, images.c.id == image_id, visible_to(context))
    if image is None:
        raise no_image(image_id)
    if image.write_attempt == change.attempt:
        return get(connection, context, image_id)
    if not _holds(image, change.wanted):
        raise errors.VersionConflict(f"Image {image_id} was changed by another request in the meantime")
    columns = _columns(image, change.wanted)
    before = sizes.read(connection, image_id) if sizes.counts(columns) else None
    written = write_image(connection, context, image_id, change.attempt, columns, sa.true())
    if written is None:
        raise no_image(image_id)
    if before is not None:
        sizes.check_written(connection, image_id, before, written, change.largest)
    return written


def _holds(image: ImageRow, wanted: ImageMerge) -> bool:
    """Tell whether all that the change rests on is as its caller read it."""
    if any(getattr(image, name) != value for name, value in wanted.seen.items()):
        return False
    named = {*wanted.set_properties, *wanted.remove_properties}
    if named & image.properties.keys() != named & set(wanted.present):
        return False
    added = wanted.set_properties.keys() - image.properties.keys()
    count = len(wanted.applied(image.properties).keys() - OWN)
    return not (added and 0 <= wanted.most_properties < count)


def _columns(image: ImageRow, wanted: ImageMerge) -> dict[str, Any]:
    columns = dict(wanted.fields)
    if wanted.set_properties or wanted.remove_properties:
        columns["properties"] = wanted.applied(image.properties)
    return columns
