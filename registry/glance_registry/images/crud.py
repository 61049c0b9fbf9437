"""Image rows: create, show, change. Documents go out as the JSON text that the database writes.

Status, sizes and digests are no columns of a change (S-15, S-64): they move only with the transitions in ``uploads``,
``purge`` and ``set_status`` here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from glance_common.model import errors
from glance_common.model.context import RequestContext
from glance_common.model.limits import Limits, Usage
from glance_common.model.status import ImageStatus
from glance_registry.db.prepared import AnyConnection, Prepared
from glance_registry.db.tables import images
from glance_registry.quota import usage
from glance_registry.records import rows as owners
from glance_registry.records import sizes
from glance_registry.records.bounds import MAX_IMAGE_DOCUMENT
from glance_registry.records.documents import image_document, new_document, no_image, select_image
from glance_registry.records.visibility import kind_of, visible_to

PLAIN_CHANGES = frozenset({
    (ImageStatus.ACTIVE, ImageStatus.DEACTIVATED),
    (ImageStatus.DEACTIVATED, ImageStatus.ACTIVE),
    (ImageStatus.QUEUED, ImageStatus.KILLED),
    # An image that v1 is told to have no data at all.
    (ImageStatus.QUEUED, ImageStatus.ACTIVE),
})
"""The status changes that concern no bytes. All others come with bytes: by upload, delete and restore only."""


@dataclass(frozen=True, slots=True)
class Update:
    """What one request writes over the row as it was read: ``values`` are columns, ``properties`` and ``tags`` whole.

    ``limits`` come with a change of owner and are the new owner's. The document may have ``largest`` bytes.
    """

    attempt: str
    row_version: int
    values: Mapping[str, Any]
    limits: Limits | None = None
    largest: int = MAX_IMAGE_DOCUMENT


def create(
    connection: sa.Connection,
    context: RequestContext,
    attempt: str,
    values: Mapping[str, Any],
    limits: Limits | None = None,
) -> tuple[str, bool]:
    """Make a queued image of ``values`` (columns); return its document and whether this call made it.

    An id is taken for ever once it was used, also by an image that is deleted (S-25). Raises Duplicate, and
    TooLarge above the count in ``limits`` (S-26).
    """
    held = usage.hold(connection, limits, "images")
    given = {**values, "create_attempt": attempt}
    if "properties" in values:
        given["properties"] = orjson.dumps(values["properties"]).decode()
    rows = _insert(frozenset(given)).run(connection, {_NEW + name: value for name, value in given.items()})
    if not rows:
        return _made_before(connection, context, attempt, values["id"]), False
    usage.enforce(connection, held, values.get("owner"), Usage(images=1))
    return rows[0][0], True


_NEW = "new_"


@lru_cache(maxsize=64)
def _insert(names: frozenset[str]) -> Prepared[tuple[str]]:
    """Return the statement that makes an image of these columns; it answers nothing when the id is taken."""
    columns: dict[str, Any] = {name: sa.bindparam(_NEW + name, type_=images.c[name].type) for name in sorted(names)}
    columns["status"] = sa.literal_column(f"'{ImageStatus.QUEUED}'")
    made = insert(images).values(columns).on_conflict_do_nothing(index_elements=[images.c.id])
    return Prepared(made.returning(new_document()))


def _made_before(connection: sa.Connection, context: RequestContext, attempt: str, image_id: str) -> str:
    """Return the document of the image that this attempt made already; raise Duplicate for another's."""
    row = connection.execute(
        sa.select(image_document(context), images.c.create_attempt).select_from(images).where(images.c.id == image_id)
    ).one()
    if row.create_attempt != attempt:
        raise errors.Duplicate(f"Image ID {image_id} already exists!")
    return str(row[0])


def get(
    connection: AnyConnection,
    context: RequestContext,
    image_id: str,
    *,
    locations: bool = False,
    deleted: bool = False,
) -> str:
    """Return the document of a visible image, with its active locations when asked; raise NotFound for any other.

    ``deleted``: also of one that was deleted.
    """
    values = {"project": context.project_id, "image_id": image_id}
    rows = _select_one(kind_of(context), locations, deleted).run(connection, values)
    if not rows:
        raise no_image(image_id)
    return rows[0][0]


@lru_cache(maxsize=32)
def _select_one(kind: RequestContext, locations: bool, deleted: bool) -> Prepared[tuple[str]]:
    return Prepared(
        sa.select(image_document(kind, locations, "too" if deleted else "no"))
        .select_from(images)
        .where(images.c.id == sa.bindparam("image_id"), visible_to(kind, deleted=deleted))
    )


def update(connection: sa.Connection, context: RequestContext, image_id: str, wanted: Update) -> str:
    """Write the values of ``wanted`` and return the document of the image.

    Raises NotFound, VersionConflict when another caller wrote the row since, TooLarge when the new owner may not have
    what the image uses, or the document would grow beyond its bound.
    """
    held = usage.hold(connection, wanted.limits, *usage.MEASURES)
    before = sizes.lock(connection, image_id) if sizes.counts(wanted.values) else None
    is_as_read = images.c.row_version == wanted.row_version
    written = write_image(connection, context, image_id, wanted.attempt, owners.as_written(wanted.values), is_as_read)
    if written is not None:
        if before is not None:
            sizes.check_written(connection, image_id, before, written, wanted.largest)
        usage.enforce_change(connection, held, image_id, wanted.values.get("owner"), Usage())
        return written
    document, written_by = select_image(connection, context, image_id, images.c.write_attempt)
    if written_by != wanted.attempt:
        raise errors.VersionConflict(f"Image {image_id} was changed by another request in the meantime")
    return document


def set_status(
    connection: sa.Connection,
    context: RequestContext,
    image_id: str,
    attempt: str,
    sources: list[ImageStatus],
    target: ImageStatus,
) -> str:
    """Take the image from one of ``sources`` to ``target``; one that is there already stays as it is.

    Raises NotFound, StatusConflict for every other status, and BadRequest for a change that is not a plain one.
    """
    if not all((source, target) in PLAIN_CHANGES for source in sources):
        raise errors.BadRequest(f"status: to {target} is no change of its own from {', '.join(sources)}")
    image = owners.lock_image(connection, images.c.id == image_id, visible_to(context))
    if image is None:
        raise no_image(image_id)
    if image.status != target:
        if image.status not in sources:
            raise owners.status_conflict(ImageStatus(image.status), target)
        is_empty = (image.status, target) == (ImageStatus.QUEUED, ImageStatus.ACTIVE)
        owners.set_image(connection, image, target, write_attempt=attempt, **({"size": 0} if is_empty else {}))
    return get(connection, context, image_id)


def write_image(
    connection: sa.Connection,
    context: RequestContext,
    image_id: str,
    attempt: str,
    changes: Mapping[str, Any],
    condition: sa.ColumnElement[bool],
) -> str | None:
    """Write ``changes`` to a visible image that meets ``condition``; return its document, None when nothing matched."""
    statement = (
        sa.update(images)
        .where(images.c.id == image_id, condition, visible_to(context))
        .values(
            **changes, updated_at=sa.func.now(), row_version=images.c.row_version + 1, write_attempt=attempt
        )
    )
    if connection.execute(statement).rowcount != 1:
        return None
    return get(connection, context, image_id)
