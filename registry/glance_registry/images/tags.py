"""Tags one by one: each is changed by a single statement, so that calls at the same time never lose one another's."""

from dataclasses import dataclass

import sqlalchemy as sa

from glance_common.model import errors
from glance_common.model.context import RequestContext
from glance_registry.db.tables import images
from glance_registry.images.crud import write_image
from glance_registry.records import sizes
from glance_registry.records.bounds import MAX_IMAGE_DOCUMENT
from glance_registry.records.documents import select_image


@dataclass(frozen=True, slots=True)
class Room:
    """What an image may have: ``tags`` is a number, negative = any; its document may have ``largest`` bytes."""

    tags: int = -1
    largest: int = MAX_IMAGE_DOCUMENT


def add_tag(
    connection: sa.Connection, context: RequestContext, image_id: str, attempt: str, tag: str, room: Room
) -> str:
    """Add ``tag`` and return the image's document, unchanged when it has the tag.

    Raises NotFound, and TooLarge when there is no room for it.
    """
    has_tag = _has(tag)
    has_room = sa.true() if room.tags < 0 else sa.func.cardinality(images.c.tags) < room.tags
    changes = {"tags": sa.func.array_append(images.c.tags, tag)}
    before = sizes.lock(connection, image_id)
    document = write_image(connection, context, image_id, attempt, changes, sa.and_(sa.not_(has_tag), has_room))
    if document is not None:
        sizes.check_written(connection, image_id, before, document, room.largest)
        return document
    document, is_tagged = select_image(connection, context, image_id, has_tag)
    if not is_tagged:
        raise errors.TooLarge(f"The limit of {room.tags} tags of an image is exceeded", quota=room.tags)
    return document


def remove_tag(connection: sa.Connection, context: RequestContext, image_id: str, attempt: str, tag: str) -> str:
    """Remove ``tag`` and return the image's document; raise NotFound when image or tag is absent."""
    changes = {"tags": sa.func.array_remove(images.c.tags, tag)}
    document = write_image(connection, context, image_id, attempt, changes, _has(tag))
    if document is not None:
        return document
    document, written_by = select_image(connection, context, image_id, images.c.write_attempt)
    if written_by != attempt:
        raise errors.NotFound(f"The image {image_id} has no tag {tag}")
    return document


def _has(tag: str) -> sa.ColumnElement[bool]:
    return sa.literal(tag) == sa.func.any(images.c.tags)
