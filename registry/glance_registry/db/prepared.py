"""Statements that PostgreSQL parses and plans once for each connection.

The hot reads are cheap to run and dear to prepare: for a page of images, building the statement here costs 4 ms of
processor time and planning it there 2 ms, running it half a millisecond. So a statement is built once for each *kind*
of query, with every value a named parameter, and each connection prepares it at its first use. PostgreSQL decides by
cost whether it plans for the values of a call or once for all.

A plan for all calls does not know how rare a value is. Where that decides between a walk over one index and another,
PostgreSQL has to see the value: such statements are planned for each call, which costs about a millisecond.

Prepared statements belong to a connection: a pooler between the registry and PostgreSQL has to pool sessions.

What is built once needs nothing of SQLAlchemy when it runs, so the driver is asked directly: SQLAlchemy's own way to a
result would be a tenth of what a show costs the registry.
"""

import itertools
import time
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Generic

import psycopg2
import sqlalchemy as sa
from psycopg2.extras import NamedTupleCursor
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql.psycopg2 import PGDialect_psycopg2

from glance_registry.db.errors import as_sqlalchemy
from glance_registry.db.row_types import RowType
from glance_registry.db.session import count_statement

_DIALECT = postgresql.dialect(paramstyle="numeric_dollar")  # type: ignore[no-untyped-call]  # SQLAlchemy has no type
_WITH_VALUES = postgresql.dialect()  # type: ignore[no-untyped-call]  # as above
_DRIVER: Any = PGDialect_psycopg2(dbapi=psycopg2)  # type: ignore[no-untyped-call]  # as above
_READY = "prepared statements, the longest unused first"
_numbers = itertools.count(1)

AnyConnection = sa.Connection | sa.PoolProxiedConnection

MOST_READY = 64
"""Statements that a connection keeps: each costs the server process some ten kilobytes."""


class Prepared(Generic[RowType]):
    """One kind of statement. Build it once and keep it; ``statement`` names all its values with ``bindparam``.

    Its rows are tuples, or named tuples with ``named``. ``RowType`` is their type; the author of the statement states
    it.
    """

    def __init__(self, statement: sa.Select[Any] | sa.UpdateBase, *, named: bool = False) -> None:
        self._named = named
        compiled = statement.compile(dialect=_DIALECT)
        names = compiled.positiontup or []
        self._name = f"glance_{next(_numbers)}"
        self._prepare = f"PREPARE {self._name} AS {compiled}"
        arguments = ", ".join(f"%({name})s" for name in names)
        self.command = f"EXECUTE {self._name} ({arguments})" if names else f"EXECUTE {self._name}"

    def run(
        self, connection: AnyConnection, values: Mapping[str, Any], *, after: "Prepared[Any] | None" = None
    ) -> list[RowType]:
        """Run the statement with ``values`` and return its rows; names that it does not have are ignored.

        ``after`` is run with them just before, in the same round trip. Outside of a transaction both are one of their
        own; each sees what was committed when it began, so that a lock which ``after`` takes holds for this one.
        """
        self.make_ready(connection)
        command = self.command
        if after is not None:
            after.make_ready(connection)
            command = f"{after.command}; {command}"
        return execute(connection, command, values, named=self._named)

    def make_ready(self, connection: AnyConnection) -> None:
        """Have the connection know the statement."""
        ready: OrderedDict[str, None] = connection.info.setdefault(_READY, OrderedDict())
        if self._name in ready:
            ready.move_to_end(self._name)
            return
        execute(connection, self._prepare)
        ready[self._name] = None
        if len(ready) > MOST_READY:
            execute(connection, f"DEALLOCATE {ready.popitem(last=False)[0]}")


class PlannedForValues(Generic[RowType]):
    """One kind of statement, of which each call is planned for its values; else like ``Prepared``."""

    def __init__(self, statement: sa.Select[Any]) -> None:
        self.command = str(statement.compile(dialect=_WITH_VALUES))

    def run(self, connection: AnyConnection, values: Mapping[str, Any]) -> list[RowType]:
        """Run the statement with ``values`` and return its rows; names that it does not have are ignored."""
        return execute(connection, self.command, values)


def execute(
    connection: AnyConnection, command: str, values: Mapping[str, Any] | None = None, *, named: bool = False
) -> list[Any]:
    """Return the rows of a command in the driver's words, as tuples; none of a command that has no rows.

    ``named`` tuples need columns whose names differ from each other and are no words of Python. Raises SQLAlchemy's
    errors, as every other statement does. In a transaction, it is one that was begun already.
    """
    driver: Any = _pooled(connection).dbapi_connection
    started = time.perf_counter()
    try:
        with driver.cursor(cursor_factory=NamedTupleCursor if named else None) as cursor:
            cursor.execute(command, values)
            return cursor.fetchall() if cursor.description else []
    except psycopg2.Error as error:
        is_lost = _DRIVER.is_disconnect(error, driver, None)
        if is_lost:
            _give_up(connection, error)
        raise as_sqlalchemy(error, command, is_lost=is_lost) from error
    finally:
        count_statement(started)


def _pooled(connection: AnyConnection) -> sa.PoolProxiedConnection:
    return connection.connection if isinstance(connection, sa.Connection) else connection


def _give_up(connection: AnyConnection, error: Exception) -> None:
    """Do what SQLAlchemy does after a lost connection: the older connections of the pool are replaced at their next
    use."""
    pooled: Any = _pooled(connection)
    pooled._pool._invalidate(pooled, error)  # noqa: SLF001 - there is no public name for it
    if isinstance(connection, sa.Connection):
        connection.invalidate(error)
