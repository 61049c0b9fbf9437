"""A page of images: the arms of the caller's view, each filtered, started after the marker, ordered and cut on its own
index, then put together. So a page costs the same at any depth and any number of images.

The keys of a page are those of the API section 6.3; null counts as the empty text or 0.

A page is bounded in bytes too (S-59). The database writes no image larger than its share of the page: it answers size
and id of such an image, and those that fit are read by a second statement. So a usual page costs no more than before,
and neither the database nor this process holds more than the bound.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import groupby
from operator import itemgetter
from typing import Any, Self

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from glance_common.model import errors
from glance_common.model.context import RequestContext
from glance_registry.db.prepared import AnyConnection, PlannedForValues, Prepared
from glance_registry.db.tables import Id, Text, images, members
from glance_registry.images.filters import (
    IN_INDEXES,
    Filter,
    filter_clause,
    property_clause,
    property_values,
    tag_clause,
)
from glance_registry.records.bounds import MAX_PAGE
from glance_registry.records.documents import SHOWN_STATUS, bounded_image_row, image_row, located
from glance_registry.records.visibility import EXISTING, Arm, arms, kind_of, restorable_by, visible_to

Clause = sa.ColumnElement[bool]

SMALL = 2048
"""Bytes: an image of this size is never read by a statement of its own."""

_FIRST = itemgetter(0)
_TRIES = 3
"""How often a page is read again when all of its images were deleted meanwhile."""

_KEYS: dict[str, sa.ColumnElement[Any]] = {
    "id": images.c.id,
    "created_at": images.c.created_at,
    "updated_at": images.c.updated_at,
    "status": images.c.status,
    **IN_INDEXES,
}
_OF_ONE_VALUE = {"status", *IN_INDEXES}
"""Keys that are the same for all images which an ``eq`` filter finds: a time is one of a whole second."""
_IN_ORDER_OF_CREATION = (("name", "eq"),), (("owner", "eq"),)
"""Filters with an index that holds what they find in the order of creation."""

# The copies of the keys in the members table, so that a list of shared images walks the index of that table.
_MEMBER_KEYS = {"id": members.c.image_id, "created_at": members.c.image_created_at}


@dataclass(frozen=True, slots=True)
class ListingQuery:
    """What a list asks for. ``sort`` are pairs of a key and ``asc`` or ``desc``, complete with tie breakers."""

    limit: int
    marker: str | None = None
    sort: tuple[tuple[Any, Any], ...] = (("created_at", "desc"), ("id", "desc"))
    filters: tuple[Filter, ...] = ()
    properties: dict[str, Any] = field(default_factory=dict)
    tags: Sequence[str] = ()
    visibility: str | None = None
    member_status: str = "accepted"
    os_hidden: bool = False
    locations: bool = False
    deleted: str = "no"

    def __post_init__(self) -> None:
        for key, direction in self.sort:
            if not isinstance(key, str) or key not in _KEYS:
                raise errors.BadRequest(f"sort: {key!r} is not one of {', '.join(_KEYS)}")
            if direction not in ("asc", "desc"):
                raise errors.BadRequest(f"sort: the direction {direction!r} is neither asc nor desc")
        if not any(key == "id" for key, _ in self.sort):
            raise errors.BadRequest("sort: id must be one of the keys, else the order is not complete")


@dataclass(frozen=True, slots=True)
class Shape:
    """A query without its values: queries of one shape share one prepared statement.

    The limit belongs to the shape, because the planner has to know how few rows are wanted.
    """

    limit: int
    has_marker: bool
    sort: tuple[tuple[str, str], ...]
    filters: tuple[tuple[str, str], ...]
    has_properties: bool
    has_tags: bool
    visibility: str | None
    member_status: str
    os_hidden: bool
    locations: bool
    deleted: str

    @classmethod
    def of(cls, query: ListingQuery) -> Self:
        """Return the shape of ``query``."""
        return cls(
            limit=query.limit,
            has_marker=query.marker is not None,
            sort=_sort(query),
            filters=tuple((condition.field, condition.op) for condition in query.filters),
            has_properties=bool(query.properties),
            has_tags=bool(query.tags),
            visibility=query.visibility,
            member_status=query.member_status,
            os_hidden=query.os_hidden,
            locations=query.locations,
            deleted=query.deleted,
        )


def _sort(query: ListingQuery) -> tuple[tuple[str, str], ...]:
    """Return what is left to order by: images of one name, say, are not ordered by names.

    The image of a marker need not have that name: then all keys decide what is behind it.
    """
    if query.marker is not None:
        return query.sort
    equal = {condition.field for condition in query.filters if condition.op == "eq"} & _OF_ONE_VALUE
    return tuple((key, direction) for key, direction in query.sort if key not in equal)


@dataclass(frozen=True, slots=True)
class Page:
    """Rows as JSON, of images as ``documents.image_row`` says; ``has_more``: others may follow, the page is full."""

    rows: Sequence[str]
    has_more: bool


def list_images(
    connection: AnyConnection, context: RequestContext, query: ListingQuery, largest: int = MAX_PAGE
) -> Page:
    """Return one page of at most ``largest`` bytes, or of one image.

    Raises BadRequest for a marker that does not exist and Forbidden for one that the caller may not see.
    """
    marker = () if query.marker is None else _marker_values(connection, context, query)
    if query.limit == 0:
        return Page([], False)
    values = {"project": context.project_id, "tags": list(query.tags)}
    values |= property_values(query.properties)
    values |= {_marker_name(number): value for number, value in enumerate(marker)}
    for number, condition in enumerate(query.filters):
        values |= condition.values(number)
    statement = _page(kind_of(context), Shape.of(query), max(SMALL, largest // query.limit))
    page = Page([], False)
    for _ in range(_TRIES):
        found = [row[0] for row in statement.run(connection, values)]
        page = _bounded(connection, context, query, found, largest)
        if page.rows or not page.has_more:
            break
    return page


def _bounded(
    connection: AnyConnection, context: RequestContext, query: ListingQuery, found: Sequence[str], largest: int
) -> Page:
    """Return the rows that fit, each large image in its place; one that went away meanwhile is left out."""
    has_more = len(found) == query.limit
    # A usual page: what stands for a large image begins with a digit, and characters have at most four bytes.
    if 4 * sum(map(len, found)) <= largest and min(map(_FIRST, found), default="[") == "[":
        return Page(found, has_more)
    kept = _that_fit(found, largest)
    has_more |= len(kept) < len(found)
    ids = [_image_id(row) for row in kept if row[0] != "["]
    large = dict(_large(kind_of(context), query.locations, query.deleted).run(
        connection, {"project": context.project_id, "ids": ids}
    )) if ids else {}
    rows = (row if row[0] == "[" else large.get(_image_id(row)) for row in kept)
    return Page([row for row in rows if row is not None], has_more)


def _that_fit(found: Sequence[str], largest: int) -> Sequence[str]:
    """Return the first of the rows, as many as ``largest`` bytes hold, at least one."""
    left = largest
    for number, row in enumerate(found):
        left -= len(row.encode()) if row[0] == "[" else int(row.partition(" ")[0])
        if left < 0 and number:
            return found[:number]
    return found


def _image_id(row: str) -> str:
    return row.partition(" ")[2]


@lru_cache(maxsize=32)
def _large(kind: RequestContext, locations: bool, deleted: str) -> Prepared[tuple[str, str]]:
    """Return the statement for ids and rows of the images ``ids``, of those that the caller sees."""
    is_wanted = images.c.id == sa.any_(sa.cast(sa.cast(sa.bindparam("ids"), ARRAY(Text)), ARRAY(Id)))
    columns: list[Any] = [sa.cast(images.c.id, Text), image_row(kind, locations, deleted)]
    return Prepared(sa.select(*columns).select_from(images).where(is_wanted, visible_to(kind, deleted=deleted != "no")))


@lru_cache(maxsize=256)
def _page(
    kind: RequestContext, shape: Shape, largest: int = SMALL
) -> Prepared[tuple[str]] | PlannedForValues[tuple[str]]:
    statement = select_page(kind, shape, largest)
    return Prepared(statement) if _suits_every_value(kind, shape) else PlannedForValues(statement)


def _suits_every_value(kind: RequestContext, shape: Shape) -> bool:
    """Tell whether one plan is good for all values: when each arm has an index in just this order.

    The images that are shared with a project have one only for the order of creation. What a project owns of one
    visibility has none, and it depends on the project whether walking what it owns costs more than sorting it.
    """
    if shape.deleted != "no" or shape.os_hidden or shape.has_properties or shape.has_tags:
        return False
    by_creation = shape.sort[0][0] == "created_at"
    if kind.is_admin:
        return not shape.filters or (by_creation and shape.filters in _IN_ORDER_OF_CREATION)
    return by_creation and not shape.filters and shape.visibility not in ("private", "shared")


def select_page(kind: RequestContext, shape: Shape, largest: int) -> sa.Select[Any]:
    """Return the statement for one page of queries of this shape by callers of this kind.

    Of an image of more than ``largest`` bytes it gives size and id only (``documents.bounded_image_row``).
    """
    chosen = arms(kind, shape.visibility, shape.member_status, shape.deleted)
    parts = [_select_arm(arm, shape) for arm in chosen]
    rows = parts[0] if len(parts) == 1 else sa.union_all(*(sa.select(part.subquery()) for part in parts))
    merged = rows.subquery("arms")
    columns = (merged, located(merged)) if shape.locations else (merged,)
    page = sa.select(*columns).order_by(*_order(merged, shape)).limit(_limit(shape)).subquery("images")
    row = bounded_image_row(kind, shape.locations, shape.deleted, largest)
    return sa.select(row).select_from(page).order_by(*_order(page, shape))


def _select_arm(arm: Arm, shape: Shape) -> sa.Select[Any]:
    keys = [_key(name, arm, shape.deleted) for name, _ in shape.sort]
    directions = [direction for _, direction in shape.sort]
    statement = sa.select(images, *(key.label(f"key{number}") for number, key in enumerate(keys)))
    statement = statement.select_from(members, images) if arm.through_members else statement
    statement = statement.where(arm.clause, *_conditions(arm, shape))
    if shape.has_marker:
        marker = [sa.bindparam(_marker_name(number), type_=key.type) for number, key in enumerate(keys)]
        statement = statement.where(*after(keys, directions, marker))
    order = [_directed(key, direction) for key, direction in zip(keys, directions, strict=True)]
    return statement.order_by(*order).limit(_limit(shape))


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
    keys, values = sa.tuple_(*(key for key, _, _ in group)), sa.tuple_(*(value for _, _, value in group))
    if group[0][1] == "asc":
        return keys > values if strictly else keys >= values
    return keys < values if strictly else keys <= values


def _conditions(arm: Arm, shape: Shape) -> list[Clause]:
    clauses: list[Clause] = [images.c.os_hidden.is_(shape.os_hidden)]
    created_at, status = (_key(name, arm, shape.deleted) for name in ("created_at", "status"))
    clauses += [filter_clause(name, op, number, created_at, status) for number, (name, op) in enumerate(shape.filters)]
    if shape.has_properties:
        clauses.append(property_clause())
    if shape.has_tags:
        clauses.append(tag_clause())
    return clauses


def _marker_values(connection: AnyConnection, context: RequestContext, query: ListingQuery) -> Sequence[Any]:
    keys = tuple(name for name, _ in query.sort)
    values = {"project": context.project_id, "marker": query.marker}
    rows = _marker(kind_of(context), keys, query.deleted).run(connection, values)
    if not rows:
        raise errors.BadRequest(f"marker: no image with ID {query.marker}")
    marker = rows[0]
    if not marker[0]:
        raise errors.Forbidden(f"marker: the image {query.marker} is not visible")
    return marker[1:]


@lru_cache(maxsize=256)
def _marker(kind: RequestContext, keys: tuple[str, ...], deleted: str) -> Prepared[tuple[Any, ...]]:
    columns = [_column(name, deleted).label(f"key{number}") for number, name in enumerate(keys)]
    known: Clause = EXISTING if deleted == "no" else sa.true()
    if deleted == "restorable":
        # Deleted images of others do not exist for the caller; one of the own ones may have been restored meanwhile.
        known = restorable_by(kind)
    return Prepared(
        sa.select(visible_to(kind, deleted=deleted != "no").label("visible"), *columns)
        .where(images.c.id == sa.bindparam("marker"), known)
    )


def _key(name: str, arm: Arm, deleted: str) -> sa.ColumnElement[Any]:
    column = _column(name, deleted)
    return _MEMBER_KEYS.get(name, column) if arm.through_members else column


def _column(name: str, deleted: str) -> sa.ColumnElement[Any]:
    """Return the key as it is shown in a list with ``deleted`` images or without."""
    return SHOWN_STATUS if name == "status" and deleted != "no" else _KEYS[name]


def _marker_name(number: int) -> str:
    return f"marker{number}"


def _limit(shape: Shape) -> sa.ColumnElement[int]:
    return sa.literal_column(str(shape.limit), sa.Integer())


def _order(rows: sa.Subquery, shape: Shape) -> list[sa.UnaryExpression[Any]]:
    return [_directed(rows.c[f"key{number}"], direction) for number, (_, direction) in enumerate(shape.sort)]


def _directed(key: sa.ColumnElement[Any], direction: str) -> sa.UnaryExpression[Any]:
    return key.asc() if direction == "asc" else key.desc()
