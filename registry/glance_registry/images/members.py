"""Members: the projects that an image is shared with (lifecycle section 8, S-44).

The owner, administrators and members that may share it further see all members of an image, another member sees only
itself, and other callers see none. Whether the image takes members at all is the API's question.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, insert

from glance_common.model import errors
from glance_common.model.context import RequestContext
from glance_registry.db.row_types import ImageRow
from glance_registry.db.tables import Id, Text, Time, images, members
from glance_registry.records import rows as owners
from glance_registry.records.documents import no_image, time_text
from glance_registry.records.visibility import visible_to

MAX_SHARED = 10_000

_FIELDS: dict[str, sa.ColumnElement[Any]] = {
    "image_id": members.c.image_id,
    "member": members.c.member,
    "status": members.c.status,
    "can_share": members.c.can_share,
    "created_at": sa.literal_column(time_text("members.created_at")),
    "updated_at": sa.literal_column(time_text("members.updated_at")),
}


def list_members(connection: sa.Connection, context: RequestContext, image_id: str) -> list[dict[str, Any]]:
    """Return the members that the caller may see, the oldest first.

    Raises NotFound for an invisible image, and for callers who are neither owner nor member of a visible one.
    """
    image = connection.execute(
        sa.select(images.c.owner).where(images.c.id == image_id, visible_to(context))
    ).one_or_none()
    if image is None:
        raise no_image(image_id)
    select = sa.select(*_FIELDS.values()).where(members.c.image_id == image_id, _seen_by(context))
    found = connection.execute(select.order_by(members.c.created_at, members.c.member)).all()
    if not found and not context.is_admin and (image.owner is None or image.owner != context.project_id):
        raise no_image(image_id)
    return [_document(row) for row in found]


def get(connection: sa.Connection, context: RequestContext, image_id: str, member: str) -> dict[str, Any]:
    """Return one member; raise NotFound also for one that the caller may not see."""
    select = sa.select(*_FIELDS.values()).where(
        members.c.image_id == image_id, members.c.member == member, _seen_by(context),
    )
    row = connection.execute(select).one_or_none()
    if row is None:
        raise _no_member(image_id, member)
    return _document(row)


def add(
    connection: sa.Connection, context: RequestContext, image_id: str, attempt: str, member: str, quota: int
) -> dict[str, Any]:
    """Share the image with ``member``, pending. Exact under concurrency: the image row is locked while counting.

    Raises NotFound, Duplicate, TooLarge for more than ``quota`` members (negative = no limit).
    """
    image = owners.lock_image(connection, images.c.id == image_id, visible_to(context))
    if image is None:
        raise no_image(image_id)
    known = connection.execute(
        sa.select(members.c.attempt).where(members.c.image_id == image_id, members.c.member == member)
    ).one_or_none()
    if known is not None and known.attempt != attempt:
        raise errors.Duplicate(f"{member} is a member of image {image_id} already")
    if known is None:
        _check_count(connection, image_id, quota, more=1)
        connection.execute(
            sa.insert(members).values(
                image_id=image_id, member=member, attempt=attempt, image_created_at=image.created_at
            )
        )
    return _one(connection, image_id, member)


def set_status(
    connection: sa.Connection, context: RequestContext, image_id: str, member: str, status: str
) -> dict[str, Any]:
    """Change the status of a membership that the caller may see; raise NotFound."""
    update = (
        sa.update(members)
        .where(members.c.image_id == image_id, members.c.member == member, _seen_by(context))
        .values(status=status, updated_at=sa.func.now())
    )
    if connection.execute(update).rowcount != 1:
        raise _no_member(image_id, member)
    return _one(connection, image_id, member)


def share(
    connection: sa.Connection,
    context: RequestContext,
    image_id: str,
    wanted: Mapping[str, bool | None],
    only: bool,
    quota: int,
) -> list[dict[str, Any]]:
    """Make each project in ``wanted`` a member, with its ``can_share`` (None: as it is, false for a new one).

    With ``only`` all other memberships end. Repeating it changes nothing, so it needs no attempt. Returns the members
    that there are then. Raises NotFound, TooLarge for more than ``quota`` members (negative = no limit).
    """
    image = owners.lock_image(connection, images.c.id == image_id, visible_to(context))
    if image is None:
        raise no_image(image_id)
    if 0 <= quota < len(wanted):
        raise _too_many(len(wanted), quota)
    if only:
        others = members.c.member.not_in(list(wanted))
        if connection.execute(sa.delete(members).where(members.c.image_id == image_id, others)).rowcount:
            _note_removal(connection, image_id, str(uuid4()))
    for can_share in set(wanted.values()):
        _share(connection, image, [member for member, may in wanted.items() if may is can_share], can_share)
    _check_count(connection, image_id, quota, more=0)
    select = sa.select(*_FIELDS.values()).where(members.c.image_id == image_id)
    return [_document(row) for row in connection.execute(select.order_by(members.c.created_at, members.c.member))]


def _share(connection: sa.Connection, image: ImageRow, names: list[str], can_share: bool | None) -> None:
    """Make the projects members in one statement, however many they are."""
    name = sa.func.unnest(sa.cast(names, ARRAY(Text)))
    rows = sa.select(sa.literal(image.id, Id), name, sa.literal(image.created_at, Time), sa.literal(bool(can_share)))
    insertion = insert(members).from_select(["image_id", "member", "image_created_at", "can_share"], rows)
    keys = [members.c.image_id, members.c.member]
    if can_share is None:
        connection.execute(insertion.on_conflict_do_nothing(index_elements=keys))
        return
    changed = {"can_share": can_share, "updated_at": sa.func.now()}
    is_other = members.c.can_share.is_distinct_from(can_share)
    connection.execute(insertion.on_conflict_do_update(index_elements=keys, set_=changed, where=is_other))


@dataclass(frozen=True, slots=True)
class SharedPage:
    """At most ``limit`` memberships, after the one in the image ``marker``."""

    limit: int
    marker: str | None = None


def shared_with(
    connection: sa.Connection, context: RequestContext, member: str, page: SharedPage | None = None
) -> list[dict[str, Any]]:
    """Return the memberships of ``member`` that the caller may see and that have an effect, the oldest first.

    Other projects decide their number, so without a page only the newest ``MAX_SHARED`` are returned (S-59). Raises
    BadRequest for a marker that is none of them.
    """
    shared = sa.select(images.c.id).where(images.c.id == members.c.image_id, images.c.visibility == "shared").exists()
    select = sa.select(*_FIELDS.values()).where(members.c.member == member, shared, _seen_by(context))
    if page is None:
        newest = select.order_by(members.c.created_at.desc(), members.c.image_id.desc()).limit(MAX_SHARED)
        return [_document(row) for row in connection.execute(newest)][::-1]
    key = (members.c.created_at, members.c.image_id)
    if page.marker is not None:
        wanted = (members.c.member == member, members.c.image_id == page.marker, shared, _seen_by(context))
        if connection.execute(sa.select(*key).where(*wanted)).one_or_none() is None:
            raise errors.BadRequest(f"marker: no shared image with ID {page.marker}")
        at = members.alias("at")
        after = sa.select(at.c.created_at, at.c.image_id).where(at.c.member == member, at.c.image_id == page.marker)
        select = select.where(sa.tuple_(*key) > after.scalar_subquery())
    return [_document(row) for row in connection.execute(select.order_by(*key).limit(page.limit))]


def remove(
    connection: sa.Connection, context: RequestContext, image_id: str, attempt: str, member: str
) -> None:
    """Stop sharing the image with ``member``; raise NotFound when it is none.

    The row is gone afterwards, so the image keeps the attempt, and repeating the call finds it done.
    """
    image = owners.lock_image(connection, images.c.id == image_id, visible_to(context))
    delete = sa.delete(members).where(
        members.c.image_id == image_id, members.c.member == member, _seen_by(context)
    )
    if connection.execute(delete).rowcount == 1:
        _note_removal(connection, image_id, attempt)
    elif image is None or image.write_attempt != attempt:
        raise _no_member(image_id, member)


def _note_removal(connection: sa.Connection, image_id: str, attempt: str) -> None:
    """Mark the image as written here, so that no run of glance-manage adopt brings the member back."""
    connection.execute(sa.update(images).where(images.c.id == image_id).values(write_attempt=attempt))


def _check_count(connection: sa.Connection, image_id: str, quota: int, more: int) -> None:
    if quota < 0:
        return
    count = connection.execute(
        sa.select(sa.func.count()).select_from(members).where(members.c.image_id == image_id)
    ).scalar_one()
    if count + more > quota:
        raise _too_many(count + more, quota)


def _too_many(count: int, quota: int) -> errors.TooLarge:
    return errors.TooLarge(
        f"The limit has been exceeded on the number of allowed image members for this image: {count} of {quota}"
    )


def _seen_by(context: RequestContext) -> sa.ColumnElement[bool]:
    """Return the clause for the member rows of visible images that the caller may see."""
    image = sa.select(images.c.owner).where(images.c.id == members.c.image_id, visible_to(context))
    if context.is_admin:
        return image.exists()
    own = members.alias("own")
    may_share = sa.select(own.c.member).where(
        own.c.image_id == members.c.image_id, own.c.member == context.project_id, own.c.can_share
    )
    return sa.and_(
        image.exists(),
        sa.or_(
            members.c.member == context.project_id, image.scalar_subquery() == context.project_id, may_share.exists()
        ),
    )


def _one(connection: sa.Connection, image_id: str, member: str) -> dict[str, Any]:
    select = sa.select(*_FIELDS.values()).where(members.c.image_id == image_id, members.c.member == member)
    return _document(connection.execute(select).one())


def _document(row: Sequence[Any]) -> dict[str, Any]:
    return dict(zip(_FIELDS, row, strict=True))


def _no_member(image_id: str, member: str) -> errors.NotFound:
    return errors.NotFound(f"{member} is not a member of image {image_id}")
