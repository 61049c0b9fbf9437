"""The types of rows, one class a table, so that a row of one table never passes for a row of another.

No row is an instance of these classes: the driver makes the rows, and a conversion would cost every read. ``one``,
``one_or_none`` and ``every``, like ``Prepared`` of db/prepared.py, say which type the rows of a statement have; nothing
else casts. A subclass has the columns of its base and more.
"""

from datetime import datetime
from typing import Any, TypeVar, cast

import sqlalchemy as sa
from sqlalchemy.sql.selectable import TypedReturnsRows

RowType = TypeVar("RowType")


class ImageRow:
    """A row of ``images``."""

    id: str
    name: str | None
    status: str
    visibility: str
    owner: str | None
    disk_format: str | None
    container_format: str | None
    size: int | None
    virtual_size: int | None
    min_disk: int
    min_ram: int
    protected: bool
    os_hidden: bool
    checksum: str | None
    os_hash_algo: str | None
    os_hash_value: str | None
    properties: dict[str, str | None]
    tags: list[str]
    created_at: datetime
    updated_at: datetime
    deleted_at: datetime | None
    status_before_delete: str | None
    delayed: bool
    row_version: int
    create_attempt: str
    listed: bool
    write_attempt: str | None


class StandingRow:
    """What decides whether a location can be claimed."""

    id: str
    status: str
    late_passes: int


class ClaimedRow:
    """What the holder of a claim on a location is told."""

    id: str
    image_id: str
    store: str
    key: str
    attempts: int
    request_id: str | None


class LocationRow(StandingRow, ClaimedRow):
    """A row of ``locations``; records/rows.py says what the columns mean together."""

    size: int | None
    metadata: dict[str, Any]
    position: int
    attempt: str
    on_fail: str | None
    token: str | None
    lease_until: datetime | None
    not_before: datetime | None
    last_error: str | None
    created_at: datetime
    fingerprint: str | None
    deleted_at: datetime | None
    staging: bool
    operation: str | None
    external: bool
    verified_at: datetime | None
    quarantined_at: datetime | None
    quarantine_reason: str | None
    replaces: str | None


class ListedOperationRow:
    """The columns of ``operations`` that a list shows."""

    id: str
    kind: str
    image_id: str | None
    owner: str | None
    user_id: str | None
    request_id: str | None
    is_admin: bool
    status: str
    host: str | None
    attempts: int
    cancelled: bool
    created_at: datetime
    updated_at: datetime
    expires_at: datetime | None


class OperationRow(ListedOperationRow):
    """A row of ``operations``."""

    roles: list[str]
    input: dict[str, Any]
    signature: dict[str, Any] | None
    result: dict[str, Any] | None
    message: str
    token: str | None
    worker: str | None
    lease_until: datetime | None
    deadline: datetime
    patience: float
    on_fail: str
    ttl: int
    written: dict[str, dict[str, list[Any]]]


class NamespaceRow:
    """The columns of ``metadef_namespaces`` that a write of its content needs."""

    id: int
    namespace: str
    protected: bool


def one(connection: sa.Connection, statement: TypedReturnsRows[Any], kind: type[RowType]) -> RowType:
    """Return the one row of ``statement``, whose columns are those of ``kind``."""
    return cast("RowType", result_of(connection, statement, kind).one())


def one_or_none(
    connection: sa.Connection, statement: TypedReturnsRows[Any], kind: type[RowType]
) -> RowType | None:
    """Return the row of ``statement``, whose columns are those of ``kind``, or None without any."""
    return cast("RowType | None", result_of(connection, statement, kind).one_or_none())


def every(connection: sa.Connection, statement: TypedReturnsRows[Any], kind: type[RowType]) -> list[RowType]:
    """Return all rows of ``statement``, whose columns are those of ``kind``."""
    return cast("list[RowType]", result_of(connection, statement, kind).all())


def result_of(connection: sa.Connection, statement: TypedReturnsRows[Any], _kind: type[Any]) -> sa.Result[Any]:
    """Run ``statement``. The tests of the registry replace this by one that compares the columns with the kind."""
    return connection.execute(statement)
