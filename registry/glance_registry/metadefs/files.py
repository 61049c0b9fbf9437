"""Definition files: the keys of a namespace as the API takes them, one namespace a file (metadefs section 11)."""

from collections.abc import Iterator
from enum import Enum
from typing import Any

import orjson
import sqlalchemy as sa

from glance_common.model.context import system_context
from glance_common.model.errors import NotFound
from glance_registry.db import tables
from glance_registry.db.tables import metadef_namespaces as namespaces
from glance_registry.metadefs import content, schema
from glance_registry.metadefs.content import KINDS, Taken
from glance_registry.metadefs.namespaces import WHOLE, create, lock, write

_SYSTEM = system_context("glance-manage")
_BASE = ("namespace", "display_name", "description", "visibility", "protected", "owner")
_TABLES = (*(kind.table for kind in KINDS), tables.metadef_resource_types, namespaces, tables.metadef_writes)


class Existing(Enum):
    """What loading does with a namespace that exists (tools section 3)."""

    SKIP = "leave it alone"
    MERGE = "add what it does not have"
    PREFER_NEW = "add what it does not have, and write over what it has"
    OVERWRITE = "put the file in its place, content and all"


def load(connection: sa.Connection, document: dict[str, Any], existing: Existing) -> str:
    """Load one namespace; return what was done with it: ``loaded``, ``skipped``, ``merged`` or ``overwritten``.

    ``document`` is the parsed file. Raises BadRequest and Duplicate, with the place in the file, before anything is
    written.
    """
    given, things = schema.whole_namespace(document)
    try:
        holder = lock(connection, _SYSTEM, given["namespace"])
    except NotFound:
        create(connection, schema.with_defaults(given), things)
        return "loaded"
    if existing is Existing.SKIP:
        return "skipped, it exists"
    taken = Taken.KEEP if existing is Existing.MERGE else Taken.REPLACE
    if existing is Existing.PREFER_NEW:
        write(connection, holder, given)
    if existing is Existing.OVERWRITE:
        write(connection, holder, schema.with_defaults(given))
        for kind in KINDS:
            connection.execute(sa.delete(kind.table).where(kind.table.c.namespace_id == holder.id))
    for kind in KINDS:
        content.add(connection, holder, kind, things[kind], taken)
    return "overwritten" if existing is Existing.OVERWRITE else "merged"


def unload(connection: sa.Connection) -> int:
    """Empty all tables of the catalogue, also of protected namespaces; return how many namespaces there were."""
    count = connection.execute(sa.select(sa.func.count()).select_from(namespaces)).scalar_one()
    connection.execute(sa.text(f"TRUNCATE {', '.join(table.name for table in _TABLES)}"))
    return int(count)


def export(connection: sa.Connection) -> Iterator[dict[str, Any]]:
    """Return all namespaces as documents of files, as they are at one moment, by name."""
    select = sa.select(WHOLE).select_from(namespaces).order_by(namespaces.c.namespace)
    return map(_as_file, map(orjson.loads, connection.execute(select).scalars().all()))


def _as_file(document: dict[str, Any]) -> dict[str, Any]:
    file = {name: document[name] for name in _BASE}
    associations = [_without_times(item) for item in document["resource_types"]]
    if associations:
        file["resource_type_associations"] = associations
    if document["properties"]:
        file["properties"] = {item["name"]: item["definition"] for item in document["properties"]}
    for key in ("objects", "tags"):
        if document[key]:
            file[key] = [_without_times(item) for item in document[key]]
    return {name: value for name, value in file.items() if value is not None}


def _without_times(item: dict[str, Any]) -> dict[str, Any]:
    times = ("created_at", "updated_at")
    return {name: value for name, value in item.items() if value is not None and name not in times}
