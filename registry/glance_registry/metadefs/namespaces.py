"""Namespaces: made with their content in one transaction, shown with it in one statement (metadefs section 5)."""

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from glance_common.model import errors
from glance_common.model.context import RequestContext
from glance_registry.db.row_types import NamespaceRow, one_or_none
from glance_registry.db.tables import metadef_namespaces as namespaces
from glance_registry.metadefs import content
from glance_registry.metadefs.content import ASSOCIATIONS, KINDS, Kind, Row, no_namespace
from glance_registry.metadefs.documents import namespace_document
from glance_registry.metadefs.visibility import visible_to

WHOLE = namespace_document({kind.key: kind.array() for kind in KINDS})
_HOLDER: tuple[sa.Column[Any], ...] = (namespaces.c.id, namespaces.c.namespace, namespaces.c.protected)
BASE = namespace_document({ASSOCIATIONS.key: ASSOCIATIONS.array()})


def get(connection: sa.Connection, context: RequestContext, namespace: str, *, whole: bool = True) -> str:
    """Return the document of a visible namespace, with all content or only associations; raise NotFound."""
    select = sa.select(WHOLE if whole else BASE).select_from(namespaces)
    found = connection.execute(select.where(namespaces.c.namespace == namespace, visible_to(context))).scalar()
    if found is None:
        raise no_namespace(namespace)
    return str(found)


def create(
    connection: sa.Connection, values: Mapping[str, Any], things: Mapping[Kind, Sequence[Row]]
) -> str:
    """Make a namespace with its content; return its whole document. Raises Duplicate."""
    statement = insert(namespaces).values(**values).on_conflict_do_nothing(index_elements=[namespaces.c.namespace])
    holder = one_or_none(connection, statement.returning(*_HOLDER), NamespaceRow)
    if holder is None:
        raise _taken(values["namespace"])
    for kind in KINDS:
        content.add(connection, holder, kind, things.get(kind, ()))
    return _document(connection, holder, WHOLE)


def update(connection: sa.Connection, context: RequestContext, namespace: str, values: Mapping[str, Any]) -> str:
    """Write ``values`` (columns) over a visible namespace; return its document without content.

    Raises NotFound, and Duplicate for a new name that is taken.
    """
    holder = lock(connection, context, namespace)
    write(connection, holder, values)
    return _document(connection, holder, BASE)


def write(connection: sa.Connection, holder: NamespaceRow, values: Mapping[str, Any]) -> None:
    """Write ``values`` (columns) over a locked namespace; raise Duplicate for a new name that is taken."""
    wanted = values.get("namespace", holder.namespace)
    if wanted != holder.namespace:
        other = sa.select(namespaces.c.id).where(namespaces.c.namespace == wanted)
        if connection.execute(other).first() is not None:
            raise _taken(wanted)
    update_row = sa.update(namespaces).where(namespaces.c.id == holder.id)
    connection.execute(update_row.values(**values, updated_at=sa.func.now()))


def delete(connection: sa.Connection, context: RequestContext, namespace: str) -> str:
    """Remove a visible namespace with everything in it; resource types stay. Raises NotFound, Forbidden."""
    holder = lock(connection, context, namespace)
    content.refuse_protected(holder)
    connection.execute(sa.delete(namespaces).where(namespaces.c.id == holder.id))
    return ""


def lock(connection: sa.Connection, context: RequestContext, namespace: str) -> NamespaceRow:
    """Return ``id``, ``namespace`` and ``protected`` of a visible namespace, and keep others from writing to it."""
    select = sa.select(*_HOLDER).where(namespaces.c.namespace == namespace, visible_to(context))
    found = one_or_none(connection, select.with_for_update(key_share=True), NamespaceRow)
    if found is None:
        raise no_namespace(namespace)
    return found


def _document(connection: sa.Connection, holder: NamespaceRow, column: sa.ColumnElement[Any]) -> str:
    select = sa.select(column).select_from(namespaces)
    return str(connection.execute(select.where(namespaces.c.id == holder.id)).scalar_one())


def _taken(namespace: str) -> errors.Duplicate:
    return errors.Duplicate(f"Metadata definition namespace {namespace} exists already")
