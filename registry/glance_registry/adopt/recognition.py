"""Which schema the other database has: Glance 12 (Mitaka) to Glance 33, or one that is not known here.

The revision says which schema it should be, the columns that exist say what can be read. Both must fit: a column that
is missing where the revision promises it means a database that was changed by hand, or a migration that stopped
half-way.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from glance_common.model.errors import BadRequest

_RELEASES = (
    "ocata", "pike", "queens", "rocky", "train", "ussuri", "wallaby", "xena", "yoga", "zed", "2023_1", "2024_1",
)
ALEMBIC = frozenset(
    {"liberty", "mitaka01", "mitaka02", "rocky_expand02", "rocky_contract02"}
    | {f"{release}_{phase}01" for release in _RELEASES for phase in ("expand", "contract")}
)
"""Revisions of Ocata to today; databases of Mitaka and Newton count otherwise (``MIGRATE``)."""
MIGRATE = range(42, 46)
"""Versions of Liberty to Newton."""

_TIMES = ("created_at", "updated_at", "deleted_at", "deleted")
REQUIRED: Mapping[str, tuple[str, ...]] = {
    "images": (
        "id", "name", "size", "status", "disk_format", "container_format", "checksum", "owner", "min_disk", "min_ram",
        "protected", "virtual_size", *_TIMES,
    ),
    "image_properties": ("id", "image_id", "name", "value", *_TIMES),
    "image_tags": ("id", "image_id", "value", *_TIMES),
    "image_members": ("id", "image_id", "member", "can_share", "status", *_TIMES),
    "image_locations": ("id", "image_id", "value", "meta_data", "status", *_TIMES),
    "tasks": ("id", "type", "status", "owner", "expires_at", *_TIMES),
    "task_info": ("task_id", "input", "result", "message"),
    "metadef_namespaces": (
        "id", "namespace", "display_name", "description", "visibility", "protected", "owner", "created_at",
        "updated_at",
    ),
    "metadef_resource_types": ("id", "name", "created_at", "updated_at"),
    "metadef_namespace_resource_types": (
        "resource_type_id", "namespace_id", "properties_target", "prefix", "created_at", "updated_at",
    ),
    "metadef_properties": ("id", "namespace_id", "name", "json_schema", "created_at", "updated_at"),
    "metadef_objects": (
        "id", "namespace_id", "name", "description", "required", "json_schema", "created_at", "updated_at",
    ),
    "metadef_tags": ("id", "namespace_id", "name", "created_at", "updated_at"),
}
"""Table → columns that every schema has."""
ADDED: Mapping[str, tuple[str, ...]] = {
    "images": ("is_public", "visibility", "os_hidden", "os_hash_algo", "os_hash_value"),
    "tasks": ("image_id", "request_id", "user_id"),
}
"""Table → columns that came or went since."""
_SINCE: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "ocata_expand01": {"images": ("visibility",)},
    "rocky_expand01": {"images": ("os_hidden",)},
    "rocky_expand02": {"images": ("os_hash_algo", "os_hash_value")},
    "wallaby_expand01": {"tasks": ("image_id", "request_id", "user_id")},
}


@dataclass(frozen=True, slots=True)
class SourceSchema:
    """A schema that can be read: its revision as told to operators, and the columns of ``ADDED`` that it has."""

    revision: str
    added: frozenset[tuple[str, str]]

    def has(self, table: str, column: str) -> bool:
        """Return whether a column of ``ADDED`` is there."""
        return (table, column) in self.added


def recognize(connection: sa.Connection) -> SourceSchema:
    """Return the schema of the other database. Raises BadRequest for every one that cannot be read."""
    found = _columns(connection)
    revisions = _revisions(connection, found)
    missing = [table for table in REQUIRED if table not in found]
    if not found:
        raise BadRequest("the other database is empty")
    if "store_identities" in found and "operations" in found:
        raise BadRequest("the other database is one of this service already: nothing of it needs to be adopted")
    if len(missing) > len(REQUIRED) // 2:
        raise BadRequest(f"the other database is not that of an image service: it has no table {missing[0]}")
    if not revisions:
        raise BadRequest("the other database does not say which schema it has: it has no alembic_version")
    unknown = sorted(each for each in revisions if each not in ALEMBIC and not _is_migrate(each))
    if unknown:
        raise BadRequest(f"the other database has a schema that is not known here: revision {', '.join(unknown)[:80]}")
    _refuse_incomplete(found, revisions)
    added = {(table, name) for table, names in ADDED.items() for name in names if name in found[table]}
    return SourceSchema(", ".join(sorted(revisions)), frozenset(added))


def _refuse_incomplete(found: Mapping[str, set[str]], revisions: set[str]) -> None:
    told = ", ".join(sorted(revisions))
    for table, names in REQUIRED.items():
        for name in names:
            if name not in found.get(table, ()):
                raise BadRequest(f"the other database has revision {told}, but no column {table}.{name}")
    if not found["images"] & {"is_public", "visibility"}:
        raise BadRequest(f"the other database has revision {told}, but no column images.visibility")
    order = [each for release in _RELEASES for each in (f"{release}_expand01", f"{release}_expand02")]
    newest = max((order.index(each) for each in revisions if each in order), default=-1)
    for revision, tables in _SINCE.items():
        if order.index(revision) > newest:
            continue
        for table, columns in tables.items():
            for name in columns:
                if name not in found[table]:
                    raise BadRequest(f"the other database has revision {told}, but no column {table}.{name}")


def _columns(connection: sa.Connection) -> dict[str, set[str]]:
    """Return the columns of all tables of the database itself."""
    current = "database()" if connection.dialect.name == "mysql" else "current_schema()"
    select = f"SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = {current}"  # noqa: S608 - names of this file
    rows = connection.exec_driver_sql(select)
    found: dict[str, set[str]] = {}
    for table, column in rows:
        found.setdefault(table, set()).add(column)
    return found


def _revisions(connection: sa.Connection, found: Mapping[str, set[str]]) -> set[str]:
    if "version_num" in found.get("alembic_version", ()):
        revisions = {str(row[0]) for row in connection.exec_driver_sql("SELECT version_num FROM alembic_version")}
        if revisions:
            return revisions
    if {"repository_id", "version"} <= found.get("migrate_version", set()):
        rows = connection.exec_driver_sql("SELECT repository_id, version FROM migrate_version")
        return {
            str(version) if "glance" in repository.lower() else f"{repository} {version}"
            for repository, version in rows
        }
    return set()


def _is_migrate(revision: str) -> bool:
    return revision.isdigit() and int(revision) in MIGRATE
