"""Rows that nothing needs any more leave the tables when they are old enough, a batch at a time (lifecycle section 4).

| table | which rows | old since |
|---|---|---|
| locations | those whose data are gone for good, unless their image waits for its purge | the data are gone |
| members | those of deleted images, whose data are gone for good | the delete |
| operations | finished ones that are not shown any more | that time |
| images | deleted ones without rows in locations | the delete |

Properties and tags are columns of images. An image id is free for a new image when its row is gone (S-25).
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from types import MappingProxyType

import sqlalchemy as sa
from sqlalchemy import exc

from glance_common.model.errors import Conflict
from glance_common.model.status import ImageStatus, LocationStatus
from glance_registry.db.tables import images, locations, members
from glance_registry.records import expiry

BATCH = 500
"""Rows that one transaction removes."""

Purge = Callable[[sa.Connection, int, int], int]
"""Removes rows that have been old for so many days, at most so many of them; returns how many."""


def _before(days: int) -> sa.ColumnElement[datetime]:
    return sa.func.now() - sa.func.make_interval(0, 0, 0, days)


def _old_locations(days: int) -> sa.Select[str]:
    may_go = sa.and_(
        locations.c.status == LocationStatus.DELETED, locations.c.late_passes == 0,
        locations.c.deleted_at <= _before(days),
        # A restore looks at the rows of data that were purged after the delete.
        images.c.status != ImageStatus.PENDING_DELETE,
    )
    return sa.select(locations.c.id).join(images, images.c.id == locations.c.image_id).where(may_go)


def _is_old_image(days: int) -> sa.ColumnElement[bool]:
    return sa.and_(images.c.status == ImageStatus.DELETED, images.c.deleted_at <= _before(days))


def _old_members(days: int) -> sa.Select[str, str]:
    select = sa.select(members.c.image_id, members.c.member).join(images, images.c.id == members.c.image_id)
    return select.where(_is_old_image(days))


def _old_images(days: int) -> sa.Select[str]:
    # Written as a value, which the planner asks for row by row: an EXISTS makes it read both tables whole.
    location = sa.select(sa.true()).where(locations.c.image_id == images.c.id).limit(1).scalar_subquery()
    return sa.select(images.c.id).where(_is_old_image(days), location.is_(None))


def purge_locations(connection: sa.Connection, days: int, limit: int) -> int:
    """See the table above and ``Purge``."""
    # Rows that others hold are skipped, so that no process waits for another one.
    some = _old_locations(days).order_by(locations.c.deleted_at).limit(limit)
    some = some.with_for_update(of=locations, skip_locked=True)
    return connection.execute(sa.delete(locations).where(locations.c.id.in_(some))).rowcount


def purge_members(connection: sa.Connection, days: int, limit: int) -> int:
    """See the table above and ``Purge``."""
    some = _old_members(days).limit(limit).with_for_update(of=members, skip_locked=True)
    key = sa.tuple_(members.c.image_id, members.c.member)
    return connection.execute(sa.delete(members).where(key.in_(some))).rowcount


def purge_images(connection: sa.Connection, days: int, limit: int) -> int:
    """See the table above and ``Purge``. Raises Conflict when rows of another table refer to one of them."""
    some = _old_images(days).order_by(images.c.deleted_at).limit(limit).with_for_update(of=images, skip_locked=True)
    try:
        return connection.execute(sa.delete(images).where(images.c.id.in_(some))).rowcount
    except exc.IntegrityError as error:
        constraint = getattr(getattr(error.orig, "diag", None), "constraint_name", None)
        raise Conflict(f"rows of another table refer to images that are to go: {constraint}") from error


def images_with_rows(connection: sa.Connection, days: int) -> int:
    """Return how many deleted images of that age cannot go because they have rows in locations."""
    select = sa.select(sa.func.count()).select_from(images)
    has_rows = sa.exists().where(locations.c.image_id == images.c.id)
    return int(connection.execute(select.where(_is_old_image(days), has_rows)).scalar_one())


CHILDREN: Mapping[str, Purge] = MappingProxyType({
    "locations": purge_locations,
    "members": purge_members,
    "operations": expiry.purge_older,
})
"""Every table but images, in the order in which foreign keys let rows go."""

_SELECTS: Mapping[str, Callable[[int], sa.Select[*tuple[object, ...]]]] = MappingProxyType({
    "locations": _old_locations,
    "members": _old_members,
    "operations": expiry.older,
    "images": _old_images,
})


def count(connection: sa.Connection, table: str, days: int) -> int:
    """Return how many rows of a table would go."""
    rows = _SELECTS[table](days).subquery()
    return int(connection.execute(sa.select(sa.func.count()).select_from(rows)).scalar_one())
