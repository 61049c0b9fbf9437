"""The database of the other installation: one connection, one snapshot, read only.

What is read belongs together, however long reading takes: PostgreSQL gives a snapshot to the whole transaction, and so
does MySQL. The session itself is read only, so that no mistake here can change a row there.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event, exc

from glance_common.model.errors import BadRequest, Unavailable

CONNECT_SECONDS = 10
STATEMENT_SECONDS = 900
"""Longest time of one statement there: counting a large table takes minutes on a busy server."""

_LONGEST_REASON = 300
_POSTGRESQL = ("postgresql", "postgres")
_MYSQL = ("mysql", "mariadb")


def parse(text: str) -> sa.URL:
    """Return the URL of the other database, for the driver that reads it. Raises BadRequest."""
    try:
        url = sa.make_url(text)
        backend = url.get_backend_name()
    except (exc.ArgumentError, ValueError):  # a port that is no number, with a part of the password in its text
        backend = ""
    if backend in _POSTGRESQL:
        return url.set(drivername="postgresql+psycopg2")
    if backend in _MYSQL:
        return url.set(drivername="mysql+pymysql")
    raise BadRequest(
        "--from: must be the URL of the other database, postgresql://user:password@host/database or "
        "mysql+pymysql://user:password@host/database"
    )


@contextmanager
def snapshot(url: sa.URL) -> Iterator[sa.Connection]:
    """Give a connection that sees the database as it is now until the end of the block, and cannot change it.

    Every error of it is Unavailable, with the reason and without credentials. Raises BadRequest without the driver.
    """
    engine = _engine(url)
    try:
        with _connected(engine) as connection:
            if engine.dialect.name == "mysql":
                # Both begin at this statement, and the session stays read only whatever begins after it.
                connection.exec_driver_sql("SET SESSION TRANSACTION READ ONLY")
                connection.exec_driver_sql("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")
                connection.exec_driver_sql("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")
            else:
                connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            yield connection
    finally:
        engine.dispose()


def _connected(engine: sa.Engine) -> sa.Connection:
    try:
        return engine.connect()
    except TypeError:
        raise BadRequest("--from: the URL has an option that the driver does not know") from None


def named(url: sa.URL) -> str:
    """Return what the other database is called in messages: neither user nor password, nor options."""
    server = url.host or str(url.query.get("host") or url.query.get("unix_socket") or "localhost")
    port = f":{url.port}" if url.port else ""
    return f"the database {url.get_backend_name()}://{server}{port}/{url.database or ''}"


def _engine(url: sa.URL) -> sa.Engine:
    arguments: Mapping[str, Any] = {
        "connect_timeout": CONNECT_SECONDS, "application_name": "glance-manage adopt",
        "options": "-c default_transaction_read_only=on -c TimeZone=UTC "
        f"-c statement_timeout={STATEMENT_SECONDS * 1000}",
    }
    if url.get_backend_name() == "mysql":
        arguments = {"connect_timeout": CONNECT_SECONDS, "read_timeout": STATEMENT_SECONDS}
    try:
        engine = sa.create_engine(url, hide_parameters=True, poolclass=sa.NullPool, connect_args=dict(arguments))
    except ModuleNotFoundError:
        raise BadRequest("--from: MySQL and MariaDB need a driver: pip install glance-services[mysql]") from None

    def tell(context: sa.ExceptionContext) -> None:
        if isinstance(context.original_exception, Exception):  # no signal that ends the program
            raise Unavailable(f"{named(url)}: {_reason(url, context.original_exception)}") from None

    event.listen(engine, "handle_error", tell)
    return engine


def _reason(url: sa.URL, error: BaseException) -> str:
    """Return what the driver says, in one line and without the password."""
    # An error of MySQL is a number and a text.
    said = error.args[-1] if error.args else ""
    text = " ".join(str(said).split()) or type(error).__name__
    for secret in (url.password, *_texts(url.query)):
        if secret:
            text = text.replace(str(secret), "***")
    return text[:_LONGEST_REASON]


def _texts(query: Mapping[str, Any]) -> Iterator[str]:
    """Yield the values of options that may hold a secret."""
    for name, value in query.items():
        if "pass" in name:
            yield from [value] if isinstance(value, str) else value
