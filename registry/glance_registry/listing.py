"""A page of images: the arms of the caller's view, each filtered, started after the marker, ordered and cut on its own
index, then put together. So a page costs the same at any depth and any number of images.

The keys of a page are those of the images API section 6.3; null counts as the empty text or 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import sqlalchemy as sa

from glance_common import errors
from glance_common.context import RequestContext
from glance_registry.db.tables import images, members
from glance_registry.documents import image_document
from glance_registry.filters import column_filter, property_filter, tag_filter
from glance_registry.visibility import EXISTING, Arm, arms, visible_to

Clause = sa.ColumnElement[bool]

MAX_LIMIT = 10_000
_EMPTY_TEXT, _ZERO = sa.literal_column("''", sa.Text()), sa.literal_column("0", sa.BigInteger())
_KEYS: dict[str, sa.ColumnElement[Any]] = {
    "id": images.c.id,
    "created_at": images.c.created_at,
    "updated_at": images.c.updated_at,
    "status": images.c.status,
    "name": sa.func.coalesce(images.c.name, _EMPTY_TEXT),
    "disk_format": sa.func.coalesce(images.c.disk_format, _EMPTY_TEXT),
    "container_format": sa.func.coalesce(images.c.container_format, _EMPTY_TEXT),
    "size": sa.func.coalesce(images.c.size, _ZERO),
}
# The copies of the keys in the members table, so that a list of shared images walks the index of that table.
_MEMBER_KEYS = {"id": members.c.image_id, "created_at": members.c.image_created_at}


@dataclass(frozen=True, slots=True)
class Query:
    """What a list asks for. ``filters`` are ``[field, op, value]``, ``sort`` pairs of key and ``asc`` or ``desc``."""

    limit: int
    marker: str | None = None
    sort: Sequence[tuple[str, str]] = (("created_at", "desc"), ("id", "desc"))
    filters: Sequence[tuple[Any, Any, Any]] = ()
    properties: dict[str, Any] = field(default_factory=dict)
    tags: Sequence[str] = ()
    visibility: str | None = None
    member_status: str = "accepted"
    os_hidden: bool = False
    locations: bool = False

    def __post_init__(self) -> None:
        for key, direction in self.sort:
            if key not in _KEYS:
                raise errors.BadRequest(f"sort: {key!r} is not one of {', '.join(_KEYS)}")
            if direction not in ("asc", "desc"):
                raise errors.BadRequest(f"sort: the direction {direction!r} is neither asc nor desc")
        if not any(key == "id" for key, _ in self.sort):
            raise errors.BadRequest("sort: id must be one of the keys, else the order is not complete")


def list_images(connection: sa.Connection, context: RequestContext, query: Query) -> Sequence[str]:
    """Return the documents of one page.

    Raises BadRequest for a marker that does not exist and Forbidden for one that the caller may not see.
    """
    marker = None if query.marker is None else _marker_values(connection, context, query)
    if query.limit == 0:
        return []
    return connection.execute(select_page(context, query, marker)).scalars().all()


def select_page(context: RequestContext, query: Query, marker: Sequence[Any] | None) -> sa.Select[Any]:
    """Return the statement for one page after the row whose sort keys are ``marker``."""
    wanted = _conditions(query)
    parts = [
        _select_arm(arm, query, wanted, marker)
        for arm in arms(context, query.visibility, query.member_status)
    ]
    rows = parts[0] if len(parts) == 1 else sa.union_all(*(sa.select(part.subquery()) for part in parts))
    merged = rows.subquery("arms")
    page = sa.select(merged).order_by(*_order(merged, query)).limit(query.limit).subquery("images")
    return sa.select(image_document(context, query.locations)).select_from(page).order_by(*_order(page, query))


def _select_arm(arm: Arm, query: Query, wanted: Sequence[Clause], marker: Sequence[Any] | None) -> sa.Select[Any]:
    keys = [_key(name, arm) for name, _ in query.sort]
    directions = [direction for _, direction in query.sort]
    statement = sa.select(images, *(key.label(f"key{number}") for number, key in enumerate(keys)))
    statement = statement.select_from(members, images) if arm.through_members else statement
    statement = statement.where(arm.clause, *wanted)
    if marker is not None:
        statement = statement.where(*after(keys, directions, marker))
    order = [_directed(key, direction) for key, direction in zip(keys, directions, strict=True)]
    return statement.order_by(*order).limit(query.limit)


def after(keys: Sequence[Any], directions: Sequence[str], marker: Sequence[Any]) -> list[Clause]:
    """Return the clauses for the rows behind ``marker`` in the order of ``keys``.

    Neighbours of one direction are compared as one row value, which an index understands. With mixed directions the
    rows behind are those behind in the first group, or equal there and behind in the second, and so on; the bound on
    the first group alone says the same less sharply and gives the index its start.
    """
    columns = list(zip(keys, directions, marker, strict=True))
    groups = [list(group) for _, group in groupby(columns, key=lambda column: column[1])]
    alternatives = []
    for number, group in enumerate(groups):
        equal = [key == value for earlier in groups[:number] for key, _, value in earlier]
        alternatives.append(sa.and_(*equal, _compare(group, strictly=True)))
    if len(groups) == 1:
        return alternatives
    return [_compare(groups[0], strictly=False), sa.or_(*alternatives)]


def _compare(group: Sequence[tuple[Any, str, Any]], strictly: bool) -> Clause:
    keys = sa.tuple_(*(key for key, _, _ in group))
    values = sa.tuple_(*(sa.literal(value, key.type) for key, _, value in group))
    if group[0][1] == "asc":
        return keys > values if strictly else keys >= values
    return keys < values if strictly else keys <= values


def _conditions(query: Query) -> list[Clause]:
    clauses: list[Clause] = [images.c.os_hidden.is_(query.os_hidden)]
    clauses += [column_filter(*condition) for condition in query.filters]
    if query.properties:
        clauses.append(property_filter(query.properties))
    if query.tags:
        clauses.append(tag_filter(list(query.tags)))
    return clauses


def _marker_values(connection: sa.Connection, context: RequestContext, query: Query) -> Sequence[Any]:
    keys = [_KEYS[name].label(f"key{number}") for number, (name, _) in enumerate(query.sort)]
    row = connection.execute(
        sa.select(visible_to(context).label("visible"), *keys).where(images.c.id == query.marker, EXISTING)
    ).first()
    if row is None:
        raise errors.BadRequest(f"marker: no image with ID {query.marker}")
    if not row.visible:
        raise errors.Forbidden(f"marker: the image {query.marker} is not visible")
    return row[1:]


def _key(name: str, arm: Arm) -> sa.ColumnElement[Any]:
    return _MEMBER_KEYS.get(name, _KEYS[name]) if arm.through_members else _KEYS[name]


def _order(rows: sa.Subquery, query: Query) -> list[sa.UnaryExpression[Any]]:
    return [_directed(rows.c[f"key{number}"], direction) for number, (_, direction) in enumerate(query.sort)]


def _directed(key: sa.ColumnElement[Any], direction: str) -> sa.UnaryExpression[Any]:
    return key.asc() if direction == "asc" else key.desc()
