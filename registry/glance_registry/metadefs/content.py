"""What is in a namespace: properties, objects, tags and associations with resource types.

The four kinds have the same rules, so they share these functions. A writer holds the lock of the namespace's row,
so that looking for a taken name and writing are one step. Protection: what is in a protected namespace may be changed
and added to, but not removed (metadefs section 4).
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from glance_common.model import errors
from glance_common.model.context import RequestContext
from glance_registry.db.row_types import NamespaceRow
from glance_registry.db.tables import (
    Text,
    metadef_namespace_resource_types,
    metadef_objects,
    metadef_properties,
    metadef_resource_types,
    metadef_tags,
)
from glance_registry.db.tables import metadef_namespaces as namespaces
from glance_registry.metadefs.documents import array_of, json_of
from glance_registry.metadefs.visibility import visible_to
from glance_registry.records.bounds import MAX_NAMESPACE

Row = dict[str, Any]
"""The columns of one thing, ``name`` included."""


@dataclass(frozen=True, slots=True, eq=False)
class Kind:
    """One kind of content: its ``key`` in paths and documents, ``title`` in messages, ``columns`` besides the name."""

    key: str
    title: str
    table: sa.Table
    columns: tuple[str, ...] = ()

    @property
    def shown(self) -> tuple[str, ...]:
        """Return the columns of its document."""
        return ("name", *self.columns)

    def document(self) -> sa.ColumnClause[Any]:
        """Return the column that is the document of a row."""
        return sa.literal_column(f"{json_of(self.table.name, self.shown)}::text")

    def array(self) -> str:
        """Return SQL for all of this kind in the row ``metadef_namespaces``."""
        return array_of(self.table.name, self.shown)

    def refuse_repeated(self, rows: Collection[Row]) -> None:
        """Raise Duplicate when two rows have the same name."""
        names: set[str] = set()
        for row in rows:
            if row["name"] in names:
                raise errors.Duplicate(f"The {self.title} {row['name']} is given more than once")
            names.add(row["name"])


PROPERTIES = Kind("properties", "property", metadef_properties, ("definition",))
OBJECTS = Kind("objects", "object", metadef_objects, ("description", "required", "properties"))
TAGS = Kind("tags", "tag", metadef_tags)
ASSOCIATIONS = Kind(
    "resource_types", "resource type association", metadef_namespace_resource_types, ("prefix", "properties_target")
)
KINDS = (ASSOCIATIONS, PROPERTIES, OBJECTS, TAGS)


class Taken(Enum):
    """What is done about a name that is taken in the namespace."""

    REFUSE = "raise Duplicate"
    KEEP = "leave what is there"
    REPLACE = "write over it"


def list_all(connection: sa.Connection, context: RequestContext, namespace: str, kind: Kind) -> str:
    """Return the JSON array of all of a kind, in the order in which they were made; raise NotFound."""
    array: sa.ColumnClause[str] = sa.literal_column(f"{kind.array()}::text")
    select = sa.select(array).select_from(namespaces)
    found = connection.execute(select.where(namespaces.c.namespace == namespace, visible_to(context))).first()
    if found is None:
        raise no_namespace(namespace)
    return str(found[0])


def get(connection: sa.Connection, context: RequestContext, namespace: str, kind: Kind, name: str) -> str:
    """Return the document of one thing; raise NotFound."""
    here = sa.and_(kind.table.c.namespace_id == namespaces.c.id, kind.table.c.name == name)
    found = connection.execute(
        sa.select(kind.table.c.id, kind.document())
        .select_from(namespaces.outerjoin(kind.table, here))
        .where(namespaces.c.namespace == namespace, visible_to(context))
    ).first()
    if found is None:
        raise no_namespace(namespace)
    if found[0] is None:
        raise _absent(kind, name, namespace)
    return str(found[1])


def get_property_of(
    connection: sa.Connection, context: RequestContext, namespace: str, name: str, resource_type: str
) -> str:
    """Return the property that resources of that type know as ``name``, under its own name (metadefs section 6).

    Raises NotFound, also when the type is not associated or ``name`` does not begin with its prefix.
    """
    associations = ASSOCIATIONS.table
    here = sa.and_(associations.c.namespace_id == namespaces.c.id, associations.c.name == resource_type)
    found = connection.execute(
        sa.select(associations.c.name, associations.c.prefix)
        .select_from(namespaces.outerjoin(associations, here))
        .where(namespaces.c.namespace == namespace, visible_to(context))
    ).first()
    if found is None:
        raise no_namespace(namespace)
    if found.name is None:
        raise _absent(ASSOCIATIONS, resource_type, namespace)
    prefix = found.prefix or ""
    if not name.startswith(prefix):
        raise _absent(PROPERTIES, name, namespace)
    return get(connection, context, namespace, PROPERTIES, name[len(prefix):])


def add(
    connection: sa.Connection, holder: NamespaceRow, kind: Kind, rows: Sequence[Row], taken: Taken = Taken.REFUSE
) -> None:
    """Add things to a locked namespace.

    Raises Duplicate for a name twice in ``rows``, or ``taken``, TooLarge when the namespace would be.
    """
    kind.refuse_repeated(rows)
    if not rows:
        return
    if taken is Taken.REFUSE:
        _refuse_taken(connection, holder, kind, [row["name"] for row in rows])
    if kind is ASSOCIATIONS:
        # In one order for all transactions, so that two transactions never wait for each other's.
        types = [{"name": name} for name in sorted(row["name"] for row in rows)]
        connection.execute(insert(metadef_resource_types).on_conflict_do_nothing(), types)
    statement = insert(kind.table)
    if taken is Taken.KEEP:
        statement = statement.on_conflict_do_nothing()
    elif taken is Taken.REPLACE:
        new = {column: statement.excluded[column] for column in kind.columns}
        statement = statement.on_conflict_do_update(
            index_elements=["namespace_id", "name"], set_={**new, "updated_at": sa.func.now()}
        )
    connection.execute(statement, [{"namespace_id": holder.id, **row} for row in rows])
    _check_size(connection, holder)


def replace(connection: sa.Connection, holder: NamespaceRow, kind: Kind, name: str, row: Row) -> None:
    """Write ``row`` over the thing ``name`` of a locked namespace.

    Raises NotFound, Duplicate for a new name that is taken, TooLarge when the namespace would be.
    """
    found = _id_of(connection, holder, kind, name)
    before = _size(connection, holder)
    if row["name"] != name:
        _refuse_taken(connection, holder, kind, [row["name"]])
    update = sa.update(kind.table).where(kind.table.c.id == found)
    connection.execute(update.values(**row, updated_at=sa.func.now()))
    _check_size(connection, holder, before)


def delete(connection: sa.Connection, holder: NamespaceRow, kind: Kind, name: str) -> None:
    """Remove one thing of a locked namespace; raise NotFound, Forbidden when it is protected."""
    found = _id_of(connection, holder, kind, name)
    refuse_protected(holder)
    connection.execute(sa.delete(kind.table).where(kind.table.c.id == found))


def delete_all(connection: sa.Connection, holder: NamespaceRow, kind: Kind) -> None:
    """Remove all of a kind from a locked namespace; raise Forbidden when it is protected."""
    refuse_protected(holder)
    connection.execute(sa.delete(kind.table).where(_in(holder, kind)))


def put_tags(connection: sa.Connection, holder: NamespaceRow, rows: Sequence[Row], *, append: bool) -> None:
    """Put ``rows`` in the place of all tags of a locked namespace, or add them; raise Duplicate (metadefs section 8).

    Raises Forbidden when tags of a protected namespace would be removed.
    """
    if not append:
        removed = connection.execute(sa.delete(TAGS.table).where(_in(holder, TAGS))).rowcount
        if removed:
            refuse_protected(holder)
    add(connection, holder, TAGS, rows)


def shown(connection: sa.Connection, holder: NamespaceRow, kind: Kind, rows: Sequence[Row]) -> list[str]:
    """Return the documents of the things with the names in ``rows``, as they were made."""
    select = sa.select(kind.document()).where(_in(holder, kind), _named(kind, [row["name"] for row in rows]))
    return list(connection.execute(select.order_by(kind.table.c.id)).scalars())


def refuse_protected(holder: NamespaceRow) -> None:
    """Raise Forbidden when the namespace is protected: neither it nor anything in it may be removed."""
    if holder.protected:
        raise errors.Forbidden(
            f"Metadata definition namespace {holder.namespace} is protected: neither it nor its content may be deleted"
        )


def no_namespace(namespace: str) -> errors.NotFound:
    """Return the error for a namespace that is absent or not visible: the same words for both (S-43)."""
    return errors.NotFound(f"Metadata definition namespace {namespace} is not found")


def _size(connection: sa.Connection, holder: NamespaceRow) -> int:
    """Return the bytes of names and values of all that is in a locked namespace."""
    sizes = [
        sa.select(sa.func.coalesce(sa.func.sum(_size_of_row(kind)), 0)).where(_in(holder, kind)).scalar_subquery()
        for kind in KINDS
    ]
    return int(connection.execute(sa.select(sum(sizes[1:], start=sizes[0]))).scalar_one())


def _size_of_row(kind: Kind) -> sa.ColumnElement[Any]:
    columns = [sa.cast(kind.table.c[name], Text) for name in kind.shown]
    return sa.func.octet_length(sa.func.concat(*columns))


def _check_size(connection: sa.Connection, holder: NamespaceRow, before: int = 0) -> None:
    """Raise TooLarge when a namespace of ``before`` bytes has grown too large to be shown in one answer (S-59)."""
    size = _size(connection, holder)
    if size > max(MAX_NAMESPACE, before):
        raise errors.TooLarge(
            f"What is in metadata definition namespace {holder.namespace} takes at most {MAX_NAMESPACE} bytes, this "
            f"would take {size}"
        )


def _id_of(connection: sa.Connection, holder: NamespaceRow, kind: Kind, name: str) -> int:
    select = sa.select(kind.table.c.id).where(_in(holder, kind), kind.table.c.name == name)
    found = connection.execute(select).scalar()
    if found is None:
        raise _absent(kind, name, holder.namespace)
    return int(found)


def _refuse_taken(connection: sa.Connection, holder: NamespaceRow, kind: Kind, names: list[str]) -> None:
    select = sa.select(kind.table.c.name).where(_in(holder, kind), _named(kind, names)).order_by(kind.table.c.id)
    taken = connection.execute(select.limit(1)).scalar()
    if taken is not None:
        raise errors.Duplicate(
            f"The {kind.title} {taken} exists already in metadata definition namespace {holder.namespace}"
        )


def _in(holder: NamespaceRow, kind: Kind) -> sa.ColumnElement[bool]:
    clause: sa.ColumnElement[bool] = kind.table.c.namespace_id == holder.id
    return clause


def _named(kind: Kind, names: list[str]) -> sa.ColumnElement[bool]:
    return kind.table.c.name.in_(names)


def _absent(kind: Kind, name: str, namespace: str) -> errors.NotFound:
    return errors.NotFound(f"The {kind.title} {name} is not found in metadata definition namespace {namespace}")
