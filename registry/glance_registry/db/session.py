"""The engine, and the four ways into a transaction. Everything that talks to the database takes one of them.

| way | when to use it |
|---|---|
| ``read`` | Reads of single statements, each with a snapshot of its own. |
| ``read_prepared`` | The hottest reads, made of prepared statements only: a fourth of the cost of ``read``. |
| ``run_transaction`` | Every write, unless the next line is true of it. |
| ``run_alone`` | A write of one statement that recognizes its own attempt when repeated: one round trip, not three. |

Their errors are already those of ``glance_common.model.errors``.
"""

import select
import time
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Concatenate, ParamSpec, TypeVar, overload

import orjson
import sqlalchemy as sa
from sqlalchemy import event, exc

from glance_common.model import errors
from glance_registry.db.connections import reading, reading_prepared, transaction
from glance_registry.db.errors import NOT_SAID, ConnectionLost, RetryTransaction

P = ParamSpec("P")
T = TypeVar("T")

RETRIES = 4
"""How often a transaction is run again after the database broke it off (deadlock, serialization)."""


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """How to talk to the database; times are seconds.

    ``pool_size`` connections stay open, ``overflow`` more are closed after use; together as many as the process has
    threads, unless the operator wants fewer: each thread holds at most one at a time. ``recycle`` is the age at which
    a connection is made anew, -1 for never. The connect timeout is short so that a dead database is a quick 503
    (promise I10). ``idle_timeout`` ends transactions of a registry process that was stopped in the middle, with their
    locks.
    """

    pool_size: int = 8
    overflow: int = 0
    pool_timeout: float = 3.0
    recycle: int = -1
    connect_timeout: int = 3
    statement_timeout: float = 8.0
    lock_timeout: float = 5.0
    idle_timeout: float = 30.0
    application_name: str = "glance-registry"


@dataclass(slots=True)
class Statistics:
    """Database work of one request, for the log."""

    statements: int = 0
    seconds: float = 0.0


statistics: ContextVar[Statistics | None] = ContextVar("statistics", default=None)


def make_engine(url: str, settings: EngineSettings | None = None) -> sa.Engine:
    """Return an engine for PostgreSQL at ``url``; nothing is connected yet."""
    settings = settings or EngineSettings()
    session = {
        "timezone": "UTC",
        # All statements are short; compiling one, or starting helpers for it, takes longer than running it.
        "jit": "off",
        "max_parallel_workers_per_gather": 0,
        "statement_timeout": round(settings.statement_timeout * 1000),
        "lock_timeout": round(settings.lock_timeout * 1000),
        "idle_in_transaction_session_timeout": round(settings.idle_timeout * 1000),
    }
    engine = sa.create_engine(
        sa.make_url(url).set(drivername="postgresql+psycopg2"),
        pool_size=settings.pool_size,
        max_overflow=settings.overflow,
        pool_timeout=settings.pool_timeout,
        pool_recycle=settings.recycle,
        pool_use_lifo=True,
        hide_parameters=True,
        json_serializer=lambda value: orjson.dumps(value).decode(),
        json_deserializer=orjson.loads,
        connect_args={
            "connect_timeout": settings.connect_timeout,
            "application_name": settings.application_name,
            "options": " ".join(f"-c {name}={value}" for name, value in session.items()),
            # A peer that vanished without a word is noticed after about a statement timeout, not after two hours.
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": round((settings.statement_timeout + 5) * 1000),
        },
    )
    event.listen(engine, "checkout", _refuse_dead_connection)
    event.listen(engine, "reset", _end_autocommit)
    event.listen(engine, "before_cursor_execute", _start_clock)
    event.listen(engine, "after_cursor_execute", _stop_clock)
    return engine


def run_transaction(
    engine: sa.Engine, work: Callable[Concatenate[sa.Connection, P], T], *args: P.args, **kwargs: P.kwargs
) -> T:
    """Return ``work(connection, ...)`` done in one transaction.

    It is run again after a deadlock (bounded) and once after a connection lost before COMMIT was sent; so ``work`` may
    have no effects outside of the database.
    """
    reconnected = False
    for tries_left in reversed(range(RETRIES + 1)):
        try:
            with transaction(engine) as connection:
                return work(connection, *args, **kwargs)
        except RetryTransaction:
            if not tries_left:
                raise
            # Not at once: the transaction that won must take the row before this one tries again.
            time.sleep(0.01 * (RETRIES + 1 - tries_left))
        except ConnectionLost:
            if reconnected or not tries_left:
                raise
            reconnected = True
    raise AssertionError("the last try returns or raises")


def read(engine: sa.Engine, work: Callable[Concatenate[sa.Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Return ``work(connection, ...)``, a read of single statements, repeated once when the connection was lost."""

    def once() -> T:
        with reading(engine) as connection:
            return work(connection, *args, **kwargs)

    return _again_when_lost(once)


def read_prepared(
    engine: sa.Engine, work: Callable[Concatenate[sa.PoolProxiedConnection, P], T], *args: P.args, **kwargs: P.kwargs
) -> T:
    """Return ``work(connection, ...)``, a read of prepared statements; else as ``read``."""

    def once() -> T:
        with reading_prepared(engine) as connection:
            return work(connection, *args, **kwargs)

    return _again_when_lost(once)


def _again_when_lost(once: Callable[[], T]) -> T:
    try:
        return once()
    except ConnectionLost:
        return once()


@overload
def run_alone(
    engine: sa.Engine,
    work: Callable[Concatenate[sa.Connection, P], T],
    otherwise: None,
    *args: P.args,
    **kwargs: P.kwargs,
) -> T: ...


@overload
def run_alone(
    engine: sa.Engine,
    work: Callable[Concatenate[sa.Connection, P], T | None],
    otherwise: Callable[Concatenate[sa.Connection, P], T],
    *args: P.args,
    **kwargs: P.kwargs,
) -> T: ...


def run_alone(
    engine: sa.Engine,
    work: Callable[Concatenate[sa.Connection, P], T | None],
    otherwise: Callable[Concatenate[sa.Connection, P], T] | None,
    *args: P.args,
    **kwargs: P.kwargs,
) -> T | None:
    """Return ``work(connection, ...)``, whose one write is a transaction of its own: a single round trip.

    When that is None, return what ``otherwise`` does in a transaction: ``work`` then changed nothing, as the case is
    not the usual one. ``otherwise`` is None for work that knows every case.

    The work is run again as by ``run_transaction``. After a lost connection the write may have happened, so it has to
    recognize its own attempt; raises OutcomeUnknown when no later try could tell.
    """
    done, may_have_happened = _alone(engine, work, *args, **kwargs)
    if done is not None or otherwise is None:
        return done
    try:
        return run_transaction(engine, otherwise, *args, **kwargs)
    except errors.Unavailable as error:
        if may_have_happened:
            raise errors.OutcomeUnknown(NOT_SAID) from error
        raise


def _alone(
    engine: sa.Engine, work: Callable[Concatenate[sa.Connection, P], T], *args: P.args, **kwargs: P.kwargs
) -> tuple[T, bool]:
    """Return also whether an earlier try, whose connection was lost, may have done it."""
    may_have_happened = reconnected = False
    for tries_left in reversed(range(RETRIES + 1)):
        sent = False
        try:
            with reading(engine) as connection:
                sent = True
                return work(connection, *args, **kwargs), may_have_happened
        except errors.Unavailable as error:
            may_have_happened |= sent and isinstance(error, ConnectionLost)
            is_over = not tries_left or not isinstance(error, RetryTransaction | ConnectionLost)
            if is_over or (reconnected and isinstance(error, ConnectionLost)):
                if may_have_happened:
                    raise errors.OutcomeUnknown(NOT_SAID) from error
                raise
            reconnected |= isinstance(error, ConnectionLost)
            if isinstance(error, RetryTransaction):
                time.sleep(0.01 * (RETRIES + 1 - tries_left))
    raise AssertionError("the last try returns or raises")


def _end_autocommit(connection: Any, _record: Any, _state: Any) -> None:
    """Return a connection to the pool as it came. Any error here makes the pool connect anew."""
    if connection.autocommit:
        connection.autocommit = False


def _refuse_dead_connection(connection: Any, _record: Any, _proxy: Any) -> None:
    """Make the pool connect anew when the server closed this connection while it lay idle.

    The server sends nothing on an idle connection but its end, so readable means closed; asking the socket costs no
    round trip.
    """
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    if poll.poll(0):
        raise exc.DisconnectionError("the database closed the connection")


def _start_clock(_conn: Any, _cursor: Any, _statement: Any, _parameters: Any, context: Any, _many: Any) -> None:
    context.glance_started = time.perf_counter()


def _stop_clock(_conn: Any, _cursor: Any, _statement: Any, _parameters: Any, context: Any, _many: Any) -> None:
    count_statement(context.glance_started)


def count_statement(started: float) -> None:
    """Note a statement that was ``started`` at this reading of ``perf_counter`` and has just ended."""
    current = statistics.get()
    if current is not None:
        current.statements += 1
        current.seconds += time.perf_counter() - started
