"""Pages of namespaces and of tags, started after the marker's row; rows of equal keys come as they were made."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from glance_common.model import errors
from glance_common.model.context import RequestContext
from glance_common.model.metadef import NAMESPACE_SORT_KEYS, TAG_SORT_KEYS, VISIBILITIES, NamespaceQuery, TagQuery
from glance_registry.db.tables import Text, metadef_resource_types
from glance_registry.db.tables import metadef_namespaces as namespaces
from glance_registry.images.listing import Page, after
from glance_registry.metadefs.content import ASSOCIATIONS, TAGS, no_namespace
from glance_registry.metadefs.documents import json_of
from glance_registry.metadefs.namespaces import BASE
from glance_registry.metadefs.visibility import visible_to
from glance_registry.records.bounds import MAX_PAGE

_NULLABLE = ("display_name", "description", "owner")
"""Keys whose nulls count as the empty text."""


def list_namespaces(
    connection: sa.Connection, context: RequestContext, query: NamespaceQuery, largest: int = MAX_PAGE
) -> Page:
    """Return the documents, with associations, of a page of at most ``largest`` bytes, or of one namespace.

    Raises NotFound for an unknown marker, BadRequest.
    """
    if query.visibility is not None and query.visibility not in VISIBILITIES:
        raise errors.BadRequest(f"visibility must be one of {', '.join(VISIBILITIES)}", field="visibility")
    order = _Order(namespaces, query.sort_key, query.sort_dir, NAMESPACE_SORT_KEYS)
    clauses = [visible_to(context)]
    if query.marker is not None:
        found = order.values(connection, visible_to(context), namespaces.c.namespace == query.marker)
        if found is None:
            raise no_namespace(query.marker)
        clauses += order.behind(found)
    if query.limit == 0:
        return Page([], False)
    if query.visibility is not None:
        clauses.append(namespaces.c.visibility == query.visibility)
    if query.resource_types:
        types = sa.literal(list(query.resource_types), ARRAY(Text))
        meant = sa.select(ASSOCIATIONS.table.c.id).where(
            ASSOCIATIONS.table.c.namespace_id == namespaces.c.id, ASSOCIATIONS.table.c.name == sa.any_(types)
        )
        clauses.append(meant.exists())
    chosen = order.sorted(sa.select(BASE.label("document"), *order.labelled()).select_from(namespaces).where(*clauses))
    page = chosen.limit(query.limit).subquery()
    in_order = order.of(page)
    size = sa.func.sum(sa.func.octet_length(page.c.document)).over(order_by=in_order, rows=(None, 0))
    fits = sa.or_(size <= largest, sa.func.row_number().over(order_by=in_order) == 1)
    # Those that do not fit come empty, so that there is something to tell that they are there.
    found = connection.scalars(sa.select(sa.case((fits, page.c.document))).order_by(*in_order)).all()
    rows = [document for document in found if document is not None]
    return Page(rows, len(found) == query.limit or len(rows) < len(found))


def list_tags(connection: sa.Connection, context: RequestContext, namespace: str, query: TagQuery) -> Sequence[str]:
    """Return the documents of a page of tags; raise NotFound also for an unknown marker, BadRequest."""
    order = _Order(TAGS.table, query.sort_key, query.sort_dir, TAG_SORT_KEYS)
    select = sa.select(namespaces.c.id).where(namespaces.c.namespace == namespace, visible_to(context))
    holder = connection.execute(select).first()
    if holder is None:
        raise no_namespace(namespace)
    clauses = [TAGS.table.c.namespace_id == holder.id]
    if query.marker is not None:
        found = order.values(connection, *clauses, TAGS.table.c.name == query.marker)
        if found is None:
            raise errors.NotFound(f"The tag {query.marker} is not found in metadata definition namespace {namespace}")
        clauses += order.behind(found)
    if query.limit == 0:
        return []
    page = order.sorted(sa.select(TAGS.document()).select_from(TAGS.table).where(*clauses)).limit(query.limit)
    return connection.execute(page).scalars().all()


def list_resource_types(connection: sa.Connection) -> Sequence[str]:
    """Return the documents of all resource types, by name."""
    document: sa.ColumnClause[str] = sa.literal_column(f"{json_of(metadef_resource_types.name, ('name',))}::text")
    select = sa.select(document).select_from(metadef_resource_types)
    return connection.execute(select.order_by(metadef_resource_types.c.name)).scalars().all()


class _Order:
    """The order of a list: by a key of ``table`` and then by the id, both in the same direction."""

    def __init__(self, table: sa.Table, key: str, direction: str, known: Sequence[str]) -> None:
        if key not in known:
            raise errors.BadRequest(f"sort_key must be one of {', '.join(known)}", field="sort_key")
        if direction not in ("asc", "desc"):
            raise errors.BadRequest("sort_dir must be one of asc, desc", field="sort_dir")
        column = table.c[key]
        self._keys = [sa.func.coalesce(column, "") if key in _NULLABLE else column, table.c.id]
        self._direction = direction

    def values(self, connection: sa.Connection, *which: sa.ColumnElement[bool]) -> Sequence[Any] | None:
        """Return the keys of one row, None when there is none."""
        return connection.execute(sa.select(*self._keys).where(*which)).first()

    def behind(self, marker: Sequence[Any]) -> list[sa.ColumnElement[bool]]:
        """Return the clauses for the rows behind the one with these keys."""
        values = [sa.literal(value, key.type) for key, value in zip(self._keys, marker, strict=True)]
        return after(self._keys, [self._direction] * len(values), values)

    def labelled(self) -> list[sa.ColumnElement[Any]]:
        """Return the keys as columns of a subquery."""
        return [key.label(f"key{number}") for number, key in enumerate(self._keys)]

    def of(self, page: sa.Subquery) -> list[sa.ColumnElement[Any]]:
        """Return this order of the rows of a subquery with the columns ``labelled``."""
        keys = [page.c[f"key{number}"] for number in range(len(self._keys))]
        return [key.asc() if self._direction == "asc" else key.desc() for key in keys]

    def sorted(self, select: sa.Select[Any]) -> sa.Select[Any]:
        """Return ``select`` in this order."""
        return select.order_by(*(key.asc() if self._direction == "asc" else key.desc() for key in self._keys))
