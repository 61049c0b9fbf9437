"""Pages of rows of the other database: fixed columns, in the order of ids, a bounded number at a time.

An image comes with all that belongs to it. Of deleted images only those whose data are still to be purged have such
rows: the last of them were deleted together with their image, and a restore brings them back.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from glance_registry.adopt.recognition import ADDED, REQUIRED, SourceSchema

PAGE = 1000
"""Rows of images or tasks that are in memory at a time."""

_TOGETHER = timedelta(seconds=1)
"""How long before the deletion of its image a row may have been deleted by it."""

_TYPES: dict[str, sa.types.TypeEngine[Any]] = {
    name: kind
    for names, kind in (
        (("deleted", "is_public", "protected", "os_hidden", "can_share"), sa.Boolean()),
        (("created_at", "updated_at", "deleted_at", "expires_at"), sa.DateTime()),
    )
    for name in names
}

Row = sa.Row[Any]


def _table(name: str) -> sa.TableClause:
    columns = (*REQUIRED[name], *ADDED.get(name, ()))
    return sa.table(name, *(sa.column(column, _TYPES.get(column)) for column in columns))


TABLES = {name: _table(name) for name in REQUIRED}
_IMAGES, _TASKS, _INFO = TABLES["images"], TABLES["tasks"], TABLES["task_info"]
_CHILDREN = ("image_properties", "image_tags", "image_members", "image_locations")
_DELETED = sa.true()


@dataclass(slots=True)
class ImageRows:
    """A row of an image there, with the rows that belong to it in the order in which they were made."""

    image: Row
    properties: list[Row] = field(default_factory=list)
    tags: list[Row] = field(default_factory=list)
    members: list[Row] = field(default_factory=list)
    locations: list[Row] = field(default_factory=list)


class SourceRows:
    """What can be read of the other database. ``since``: only what changed at or after this time of its clock (UTC)."""

    def __init__(self, connection: sa.Connection, schema: SourceSchema, since: datetime | None = None) -> None:
        self._connection = connection
        self._schema = schema
        self._since = since

    def count(self) -> int:
        """Return how many images there are, deleted ones included."""
        select = sa.select(sa.func.count()).select_from(_IMAGES)
        return int(self._connection.execute(select.where(*self._changed_images())).scalar_one())

    def images(self) -> Iterator[list[ImageRows]]:
        """Yield pages of images: those that live first, then those that are deleted.

        In this order bytes that two images point at go to the one that lives.
        """
        for deleted in (sa.not_(_is_gone()), _is_gone()):
            for page in self._pages(_IMAGES, _IMAGES.c.id, [deleted, *self._changed_images()]):
                yield self._with_children(page)

    def images_with(self, ids: Sequence[str]) -> set[str]:
        """Return which of these ids there are."""
        select = sa.select(_IMAGES.c.id).where(_IMAGES.c.id.in_(ids))
        return {str(row.id).lower() for row in self._connection.execute(select)}

    def tasks(self) -> Iterator[list[Row]]:
        """Yield pages of tasks, each with its input, result and message."""
        yield from self._pages(_TASKS, _TASKS.c.id, [_TASKS.c.deleted != _DELETED, *self._changed(_TASKS)], _INFO)

    def all(self, table: str) -> Sequence[Row]:
        """Return all rows of one table of metadata definitions, in the order in which they were made."""
        order = "id" if "id" in TABLES[table].c else "namespace_id"
        return self._connection.execute(sa.select(TABLES[table]).order_by(TABLES[table].c[order])).all()

    def state(self) -> tuple[Any, ...]:
        """Return what differs after most writes: how many rows there are, and when they were changed last."""
        return tuple(
            value
            for name in ("images", "image_locations", "tasks")
            for value in self._connection.execute(
                sa.select(sa.func.count(), *(sa.func.max(TABLES[name].c[at]) for at in ("updated_at", "deleted_at")))
                .select_from(TABLES[name])
            ).one()
        )

    def now(self) -> datetime:
        """Return the time of the other database's clock, in UTC."""
        utc = "utc_timestamp()" if self._connection.dialect.name == "mysql" else "now() AT TIME ZONE 'UTC'"
        found: datetime = self._connection.exec_driver_sql(f"SELECT {utc}").scalar_one()
        return found.replace(microsecond=0)

    def _columns(self, table: sa.TableClause) -> list[sa.ColumnElement[Any]]:
        """Return the columns of a table, null in place of those that this schema does not have."""
        added = ADDED.get(table.name, ())
        return [
            column if column.name not in added or self._schema.has(table.name, column.name)
            else sa.null().label(column.name)
            for column in table.c
        ]

    def _pages(
        self, table: sa.TableClause, key: sa.ColumnClause[Any], where: Iterable[Any], more: sa.TableClause | None = None
    ) -> Iterator[list[Row]]:
        columns = self._columns(table)
        origin: Any = table
        if more is not None:
            columns += [column for column in more.c if column.name != "task_id"]
            origin = table.outerjoin(more, more.c.task_id == table.c.id)
        select = sa.select(*columns).select_from(origin).where(*where).order_by(key).limit(PAGE)
        last: str | None = None
        while True:
            page = list(self._connection.execute(select if last is None else select.where(key > last)))
            if page:
                yield page
            if len(page) < PAGE:
                return
            last = page[-1].id

    def _with_children(self, page: Sequence[Row]) -> list[ImageRows]:
        found = {row.id: ImageRows(row) for row in page}
        wanted = [row.id for row in page if is_to_be_kept(row)]
        if wanted:
            for name, put in _PUT.items():
                self._fill(found, TABLES[name], wanted, put)
        return list(found.values())

    def _fill(
        self, found: dict[str, ImageRows], table: sa.TableClause, wanted: Sequence[str],
        put: Callable[[ImageRows], list[Row]],
    ) -> None:
        gone = [key for key in wanted if found[key].image.deleted]
        select = sa.select(table).where(table.c.image_id.in_(wanted)).order_by(table.c.image_id, table.c.id)
        if not gone and table.name != "image_locations":
            select = select.where(table.c.deleted != _DELETED)
        for row in self._connection.execute(select):
            holder = found.get(row.image_id)
            if holder is not None and _belongs(holder.image, row, table.name):
                put(holder).append(row)

    def _changed_images(self) -> list[sa.ColumnElement[bool]]:
        if self._since is None:
            return []
        selects = [sa.select(_IMAGES.c.id).where(*self._changed(_IMAGES))] + [
            sa.select(TABLES[name].c.image_id).where(*self._changed(TABLES[name])) for name in _CHILDREN
        ]
        changed = sa.union(*selects).subquery()
        return [_IMAGES.c.id.in_(sa.select(changed.c[0]))]

    def _changed(self, table: sa.TableClause) -> list[sa.ColumnElement[bool]]:
        if self._since is None:
            return []
        times = ("created_at", "updated_at", "deleted_at")
        return [sa.or_(*(table.c[name] >= self._since for name in times))]


def is_to_be_kept(image: Row) -> bool:
    """Return whether an image has rows that count: it lives, or its data are still to be purged."""
    return not image.deleted or image.status == "pending_delete"


def _is_gone() -> sa.ColumnElement[bool]:
    return sa.or_(_IMAGES.c.deleted == _DELETED, _IMAGES.c.status.in_(("deleted", "pending_delete")))


def _belongs(image: Row, row: Row, table: str) -> bool:
    if table == "image_locations":
        # What the scrubber has removed is gone; what waits for it is flagged as deleted too.
        return not row.deleted or row.status == "pending_delete"
    if not row.deleted:
        return True
    if not image.deleted or row.deleted_at is None or image.deleted_at is None:
        return False
    return bool(row.deleted_at >= image.deleted_at - _TOGETHER)


_PUT: dict[str, Callable[[ImageRows], list[Row]]] = {
    "image_properties": lambda rows: rows.properties,
    "image_tags": lambda rows: rows.tags,
    "image_members": lambda rows: rows.members,
    "image_locations": lambda rows: rows.locations,
}
