"""Connections lent for one try. Only ``session`` uses them, to build its ways into a transaction.

The errors of everything that runs in them are already those of ``glance_common.model.errors``.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg2
import sqlalchemy as sa
from sqlalchemy import exc

from glance_common.observability.metrics.catalog import CONNECTIONS
from glance_registry.db.errors import as_sqlalchemy, translate, translate_commit


@contextmanager
def reading(engine: sa.Engine) -> Iterator[sa.Connection]:
    """Give a connection for single-statement reads: each sees its own snapshot and costs one round trip.

    Raises Unavailable when the database does not answer.
    """
    try:
        with _connection(engine) as connection:
            # Only a flag in the driver. SQLAlchemy's isolation_level would ask the server once more when the connection
            # goes back to the pool, and a server that is gone by then would cost the pool this place for ever.
            _driver(connection).autocommit = True
            yield connection
    except exc.SQLAlchemyError as error:
        raise translate(error) from error


@contextmanager
def reading_prepared(engine: sa.Engine) -> Iterator[sa.PoolProxiedConnection]:
    """Give a connection for prepared statements only, which need no more than the pool and the driver.

    It costs a fourth of ``reading`` and otherwise behaves the same. Raises as ``reading``.
    """
    used = CONNECTIONS.labels("used")
    used.inc()
    try:
        connection = _from_pool(engine)
        try:
            connection.dbapi_connection.autocommit = True  # type: ignore[union-attr]  # psycopg2's, and open
            yield connection
        finally:
            connection.close()
    except exc.SQLAlchemyError as error:
        raise translate(error) from error
    finally:
        used.dec()


def _from_pool(engine: sa.Engine) -> sa.PoolProxiedConnection:
    try:
        return engine.raw_connection()
    except psycopg2.Error as error:
        raise as_sqlalchemy(error) from error


@contextmanager
def _connection(engine: sa.Engine) -> Iterator[sa.Connection]:
    used = CONNECTIONS.labels("used")
    used.inc()
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        used.dec()


@contextmanager
def transaction(engine: sa.Engine) -> Iterator[sa.Connection]:
    """Give a connection in a transaction (READ COMMITTED): committed at the end, rolled back on any exception.

    Raises Unavailable when nothing was done, OutcomeUnknown when the COMMIT got no clear answer, Duplicate for a
    unique key, RetryTransaction for a deadlock.
    """
    try:
        with _connection(engine) as connection:
            # SQLAlchemy commits what it knows was begun, and does not see the statements of ``prepared``.
            connection.begin()
            yield connection
            _commit(connection)
    except exc.SQLAlchemyError as error:
        raise translate(error) from error


def _commit(connection: sa.Connection) -> None:
    try:
        connection.commit()
    except exc.SQLAlchemyError as error:
        raise translate_commit(error) from error


def _driver(connection: sa.Connection) -> Any:
    return connection.connection.dbapi_connection
