"""Metadata definitions of the other installation: namespaces with all that is in them.

The newer row wins, here or there. Nothing is removed here: such rows leave no trace there when they are deleted.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
import sqlalchemy as sa

from glance_common.model.metadef import VISIBILITIES
from glance_registry.adopt.places import CannotCome
from glance_registry.adopt.reading import Row, SourceRows
from glance_registry.adopt.report import RowOutcome
from glance_registry.adopt.translation import Values, clean, document, moment
from glance_registry.adopt.writing import rows_of

_TIMES = {"created_at": "timestamptz", "updated_at": "timestamptz"}
_NAMESPACE = {
    "namespace": "text", "display_name": "text", "description": "text", "visibility": "text", "protected": "boolean",
    "owner": "text", **_TIMES,
}
CONTENT: Mapping[str, Mapping[str, str]] = {
    "metadef_namespace_resource_types": {"name": "text", "prefix": "text", "properties_target": "text", **_TIMES},
    "metadef_properties": {"name": "text", "definition": "json", **_TIMES},
    "metadef_objects": {
        "name": "text", "description": "text", "required": "json", "properties": "json", **_TIMES,
    },
    "metadef_tags": {"name": "text", **_TIMES},
}
"""Our table of each kind of content → its columns."""
KINDS = {
    "metadef_namespace_resource_types": "associations", "metadef_properties": "properties",
    "metadef_objects": "objects", "metadef_tags": "tags",
}
"""Our table → what its rows are called in the report."""


@dataclass(slots=True)
class AdoptedNamespace:
    """A namespace as columns, and its content by our tables."""

    values: Values
    content: dict[str, list[Values]] = field(default_factory=lambda: defaultdict(list))


def read(source: SourceRows, refuse: Callable[[str, str], None]) -> Iterator[AdoptedNamespace]:
    """Yield the namespaces of the other side; ``refuse`` is told name and reason of what cannot come."""
    types = {row.id: row.name for row in source.all("metadef_resource_types")}
    content = {table: _by_namespace(source.all(table)) for table in CONTENT}
    for row in source.all("metadef_namespaces"):
        try:
            found = AdoptedNamespace(_namespace(row))
        except CannotCome as reason:
            refuse(f"namespace {row.namespace}", str(reason))
            continue
        for table, rows in content.items():
            for item in rows.get(row.id, ()):
                try:
                    found.content[table].append(_CONTENT[table](item, types) | _times(item))
                except CannotCome as reason:
                    refuse(f"namespace {row.namespace}, {KINDS[table]}", str(reason))
        yield found


def write(connection: sa.Connection, namespace: AdoptedNamespace) -> list[tuple[str, RowOutcome]]:
    """Write a namespace with its content; return the kind and the outcome of each row."""
    columns = tuple(_NAMESPACE)
    statement = _upsert("metadef_namespaces", _NAMESPACE, ("namespace",), "")
    made = connection.execute(statement, {"rows": orjson.dumps([namespace.values]).decode()}).all()
    old = connection.execute(_FIND, {"name": namespace.values["namespace"]}).one()
    done = [("namespaces", _outcome(made[0].is_new if made else None, _same(old, namespace.values, columns)))]
    types = [{"name": row["name"]} | _times_of(row) for row in namespace.content["metadef_namespace_resource_types"]]
    if types:
        connection.execute(_TYPES, {"rows": orjson.dumps(types).decode()})
    for table, kinds in CONTENT.items():
        done += [(KINDS[table], outcome) for outcome in _write_content(connection, table, kinds, old.id, namespace)]
    return done


def _write_content(
    connection: sa.Connection, table: str, columns: Mapping[str, str], holder: int, namespace: AdoptedNamespace
) -> Iterator[RowOutcome]:
    rows = namespace.content[table]
    if not rows:
        return
    statement = _upsert(table, columns, ("namespace_id", "name"), f"{holder:d}, ")
    written = {
        row.name: row.is_new for row in connection.execute(statement, {"rows": orjson.dumps(rows).decode()})
    }
    here = stored(connection, table, holder)
    for row in rows:
        yield _outcome(written.get(row["name"]), here.get(row["name"]) == comparable(row))


def stored(connection: sa.Connection, table: str, holder: int) -> dict[str, Values]:
    """Return name → columns of the content of one kind that a namespace here has."""
    select = f"SELECT {', '.join(CONTENT[table])} FROM {table} WHERE namespace_id = :holder"  # noqa: S608 - names of this file
    found = connection.execute(sa.text(select), {"holder": holder})
    return {row.name: comparable(dict(row._mapping)) for row in found}  # noqa: SLF001 - SQLAlchemy's public name


def comparable(row: Mapping[str, Any]) -> Values:
    """Return the columns of content that say something: no times."""
    return {name: value for name, value in row.items() if name not in _TIMES}


def holder_of(connection: sa.Connection, namespace: str) -> Any:
    """Return the row of a namespace here, None without one."""
    return connection.execute(_FIND, {"name": namespace}).one_or_none()


def is_same(row: Any, values: Values) -> bool:
    """Return whether a namespace here has these columns."""
    return _same(row, values, tuple(_NAMESPACE))


def _same(row: Any, values: Values, columns: Sequence[str]) -> bool:
    return all(getattr(row, name) == values[name] for name in columns if name not in _TIMES)


def _outcome(is_new: bool | None, is_same_now: bool) -> RowOutcome:
    if is_new is None:
        return RowOutcome.SAME if is_same_now else RowOutcome.KEPT
    return RowOutcome.NEW if is_new else RowOutcome.CHANGED


_FIND = sa.text(f"SELECT id, {', '.join(_NAMESPACE)} FROM metadef_namespaces WHERE namespace = :name")  # noqa: S608 - names of this file
_TYPES = sa.text(
    "INSERT INTO metadef_resource_types (name, created_at, updated_at)"  # noqa: S608 - names of this file
    f" SELECT r.name, r.created_at, r.updated_at FROM {rows_of({'name': 'text', **_TIMES})} ORDER BY r.name"
    " ON CONFLICT DO NOTHING"
)


def _upsert(table: str, columns: Mapping[str, str], key: Sequence[str], holder: str) -> sa.TextClause:
    """Return the statement that writes rows of a table, where what is newer here stays."""
    values = ", ".join(
        "CASE WHEN r.required IS NOT NULL THEN ARRAY(SELECT json_array_elements_text(r.required)) END"
        if name == "required" else f"r.{name}"
        for name in columns
    )
    changing = [name for name in columns if name not in (*key, "created_at")]
    names = ", ".join(columns)
    return sa.text(f"""
        INSERT INTO {table} AS t ({"namespace_id, " if holder else ""}{names})
        SELECT {holder}{values} FROM {rows_of(dict(columns))}
        ON CONFLICT ({", ".join(key)}) DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in changing)}
        WHERE excluded.updated_at > t.updated_at
        RETURNING {key[-1]}, xmax = 0 AS is_new
    """)  # noqa: S608 - names of this file


def _by_namespace(rows: Sequence[Row]) -> dict[int, list[Row]]:
    found: dict[int, list[Row]] = {}
    for row in rows:
        found.setdefault(row.namespace_id, []).append(row)
    return found


def _namespace(row: Row) -> Values:
    if row.visibility is not None and row.visibility not in VISIBILITIES:
        raise CannotCome(f"the visibility {row.visibility[:40]} is not known")
    return {
        "namespace": clean(row.namespace), "display_name": clean(row.display_name),
        "description": clean(row.description),
        "visibility": row.visibility or "private", "protected": bool(row.protected), "owner": row.owner, **_times(row),
    }


def _times(row: Row) -> Values:
    return {"created_at": moment(row.created_at), "updated_at": moment(row.updated_at or row.created_at)}


def _times_of(row: Values) -> Values:
    return {name: row[name] for name in _TIMES}


def _association(row: Row, types: Mapping[int, str]) -> Values:
    if row.resource_type_id not in types:
        raise CannotCome("the resource type of an association does not exist")
    return {"name": types[row.resource_type_id], "prefix": row.prefix, "properties_target": row.properties_target}


def _property(row: Row, _types: Mapping[int, str]) -> Values:
    return {"name": clean(row.name), "definition": _object_of(row)}


def _object(row: Row, _types: Mapping[int, str]) -> Values:
    required = [name for name in (row.required or "").split(",") if name]
    return {
        "name": clean(row.name), "description": clean(row.description), "required": required or None,
        "properties": _object_of(row),
    }


def _tag(row: Row, _types: Mapping[int, str]) -> Values:
    return {"name": clean(row.name)}


def _object_of(row: Row) -> Values:
    found = document(row.json_schema, "a definition")
    if not isinstance(found, dict):
        raise CannotCome("a definition is not an object")
    return found


_CONTENT: Mapping[str, Callable[[Row, Mapping[int, str]], Values]] = {
    "metadef_namespace_resource_types": _association, "metadef_properties": _property, "metadef_objects": _object,
    "metadef_tags": _tag,
}
