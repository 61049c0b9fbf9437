"""Transactions when the database stumbles: every outcome is told as it is (promises I4, I10)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from typing import Any
from uuid import uuid4

import orjson
import pytest
import sqlalchemy as sa
from deploy.local.embedded_postgres import PostgresServer
from sqlalchemy import exc
from tests.support.registry_rows import ADMIN, OWNER, PATIENT, insert_image
from tests.support.waiting import wait_for

from glance_common.model import errors
from glance_registry.db import prepared
from glance_registry.db.connections import reading, reading_prepared, transaction
from glance_registry.db.errors import ConnectionLost, RetryTransaction
from glance_registry.db.prepared import MOST_READY, AnyConnection, PlannedForValues, Prepared
from glance_registry.db.session import (
    EngineSettings,
    Statistics,
    make_engine,
    read,
    read_prepared,
    run_alone,
    run_transaction,
    statistics,
)
from glance_registry.images import crud, delete

OWN = replace(PATIENT, pool_size=4)
KILL_OTHERS = """
    SELECT pg_terminate_backend(pid, 30000) FROM pg_stat_activity
    WHERE application_name = 'glance-registry' AND datname = current_database()"""


@pytest.fixture
def own(postgres: PostgresServer, registry_engine: sa.Engine) -> Iterator[sa.Engine]:
    """An engine of one test, on the same database."""
    engine = make_engine(postgres.url("registry"), OWN)
    yield engine
    engine.dispose()


@pytest.fixture
def impatient(postgres: PostgresServer, registry_engine: sa.Engine) -> Iterator[Callable[..., sa.Engine]]:
    """A function that makes an engine on the same database with these timeouts."""
    made: list[sa.Engine] = []

    def make(**timeouts: Any) -> sa.Engine:
        made.append(make_engine(postgres.url("registry"), replace(OWN, **timeouts)))
        return made[-1]

    yield make
    for engine in made:
        engine.dispose()


def kill_connections(postgres: PostgresServer) -> None:
    """End every connection of the registry from the server's side; return when none is left."""
    engine = make_engine(postgres.url("registry"), replace(PATIENT, application_name="killer"))
    with reading(engine) as connection:
        connection.execute(sa.text(KILL_OTHERS)).all()
    engine.dispose()


def one(connection: sa.Connection) -> int:
    return int(connection.execute(sa.text("SELECT 1")).scalar_one())


def test_sessions_are_set_up(impatient: Callable[..., sa.Engine]) -> None:
    settings = {
        "TimeZone": "UTC", "statement_timeout": "20300ms", "lock_timeout": "20200ms",
        "idle_in_transaction_session_timeout": "20500ms", "application_name": "glance-registry",
        "transaction_isolation": "read committed",
    }
    with reading(impatient(statement_timeout=20.3, lock_timeout=20.2, idle_timeout=20.5)) as connection:
        for name, value in settings.items():
            assert connection.execute(sa.text(f"SHOW {name}")).scalar_one() == value


def test_a_transaction_commits_and_an_exception_rolls_back(engine: sa.Engine) -> None:
    image_id = insert_image(engine)
    rename = sa.text("UPDATE images SET name = :name")
    with transaction(engine) as connection:
        connection.execute(rename, {"name": "kept"})

    def fail(connection: sa.Connection) -> float:
        connection.execute(rename, {"name": "lost"})
        return 1 / 0

    with pytest.raises(ZeroDivisionError):
        run_transaction(engine, fail)
    assert orjson.loads(read(engine, crud.get, OWNER, image_id))["name"] == "kept"


def test_a_connection_that_the_server_closed_while_idle_is_replaced_unnoticed(
    postgres: PostgresServer, own: sa.Engine
) -> None:
    for use in (lambda: read(own, one), lambda: run_transaction(own, one)):
        with reading(own) as first, reading(own) as second:
            assert one(first) == one(second) == 1
        kill_connections(postgres)
        assert use() == 1


@pytest.mark.parametrize("use", [reading, transaction])
def test_the_pool_itself_gives_out_no_connection_that_the_server_closed(
    postgres: PostgresServer, own: sa.Engine, use: Callable[[sa.Engine], AbstractContextManager[sa.Connection]]
) -> None:
    """Without the repetition of ``read`` and ``run_transaction``, which would hide it."""
    with use(own) as connection:
        assert one(connection) == 1
    kill_connections(postgres)
    with use(own) as connection:
        assert one(connection) == 1


def test_a_connection_lost_before_commit_is_tried_once_more(postgres: PostgresServer, own: sa.Engine) -> None:
    calls = []

    def work(connection: sa.Connection) -> int:
        calls.append(one(connection))
        if len(calls) == 1:
            kill_connections(postgres)
        return one(connection)

    assert run_transaction(own, work) == 1
    calls.clear()
    assert read(own, work) == 1
    assert len(calls) == 2


def test_connections_lost_right_after_a_read_cost_the_pool_nothing(postgres: PostgresServer, own: sa.Engine) -> None:
    for _ in range(OWN.pool_size + 1):
        # The second use of a connection is not like the first one: by then the driver may have changed its settings.
        assert [read(own, one), read(own, one)] == [1, 1]
        with reading(own) as connection:
            assert one(connection) == 1
            kill_connections(postgres)
    assert read(own, one) == 1
    assert own.pool.checkedout() == 0  # type: ignore[attr-defined]  # of the queue pool


def test_reads_end_their_own_transactions(own: sa.Engine) -> None:
    with reading(own) as connection:
        one(connection)
        driver = connection.connection.dbapi_connection
        assert driver is not None
        status = driver.get_transaction_status()  # type: ignore[attr-defined]  # of psycopg2
        assert status == 0, "idle, not idle in transaction"
    with suppress(RuntimeError), transaction(own) as connection:
        connection.execute(sa.text("CREATE TABLE must_not_stay ()"))
        raise RuntimeError
    with reading(own) as connection:
        assert connection.execute(sa.text("SELECT to_regclass('must_not_stay')")).scalar_one() is None


def test_a_connection_lost_again_is_unavailable(postgres: PostgresServer, own: sa.Engine) -> None:
    calls = []

    def work(connection: sa.Connection) -> int:
        calls.append(one(connection))
        kill_connections(postgres)
        return one(connection)

    with pytest.raises(ConnectionLost, match="the database does not answer"):
        run_transaction(own, work)
    assert len(calls) == 2


def test_a_write_alone_is_tried_once_more_and_then_unknown(postgres: PostgresServer, own: sa.Engine) -> None:
    calls = []

    def work(connection: sa.Connection, losses: int) -> int:
        calls.append(one(connection))
        if len(calls) <= losses:
            kill_connections(postgres)
        return one(connection)

    assert run_alone(own, work, None, 1) == 1
    assert len(calls) == 2
    calls.clear()
    with pytest.raises(errors.OutcomeUnknown):
        run_alone(own, work, None, 9)
    assert len(calls) == 2


def test_a_write_alone_that_was_never_sent_did_not_happen() -> None:
    nowhere = make_engine("postgresql://glance@127.0.0.1:1/none", OWN)
    with pytest.raises(ConnectionLost):
        run_alone(nowhere, one, None)


def test_what_is_not_usual_stays_unknown_after_a_lost_answer(postgres: PostgresServer, own: sa.Engine) -> None:
    """The first try's answer was lost, the second one finds nothing usual to do, and the third way fails."""
    calls = []

    def usual(connection: sa.Connection) -> int | None:
        calls.append(one(connection))
        if len(calls) == 1:
            kill_connections(postgres)
            one(connection)
        return None

    def general(_connection: sa.Connection) -> int:
        raise errors.Unavailable("the database is down")

    with pytest.raises(errors.OutcomeUnknown):
        run_alone(own, usual, general)
    with pytest.raises(errors.Unavailable) as raised:
        run_alone(own, usual, general)
    assert not isinstance(raised.value, errors.OutcomeUnknown), "nothing was lost on the way"
    assert run_alone(own, lambda connection: one(connection) or 5, general) == 1
    assert run_alone(own, usual, one) == 1


def test_a_write_alone_is_repeated_after_a_deadlock(own: sa.Engine) -> None:
    calls = []

    def work(connection: sa.Connection) -> int:
        calls.append(1)
        if len(calls) < 3:
            raise RetryTransaction("deadlock")
        return one(connection)

    assert run_alone(own, work, None) == 1
    assert len(calls) == 3


def test_create_show_and_delete_are_one_round_trip_each(engine: sa.Engine) -> None:
    def life() -> None:
        image_id, attempt = str(uuid4()), str(uuid4())
        values = {"id": image_id, "owner": OWNER.project_id, "visibility": "shared", "properties": {"a": "b"}}
        document, made = run_alone(engine, crud.create, None, OWNER, attempt, values)
        assert made
        assert read(engine, crud.get, OWNER, image_id) == document
        asked = delete.Delete(str(uuid4()), delayed=False, scrub_time=0)
        assert run_alone(engine, delete.delete_empty, None, OWNER, image_id, asked)

    life()  # the first use of a connection prepares the statements
    token = statistics.set(counted := Statistics())
    life()
    statistics.reset(token)
    assert counted.statements == 3


def test_a_commit_without_an_answer_is_unknown_and_not_repeated(
    postgres: PostgresServer, own: sa.Engine, engine: sa.Engine
) -> None:
    insert_image(engine)
    calls = []

    def work(connection: sa.Connection) -> None:
        calls.append(connection.execute(sa.text("UPDATE images SET name = 'x'")).rowcount)
        kill_connections(postgres)

    with pytest.raises(errors.OutcomeUnknown):
        run_transaction(own, work)
    assert calls == [1]


def test_a_commit_that_surely_failed_says_so(own: sa.Engine) -> None:
    """A deferred constraint fails at COMMIT: that is an answer."""

    def work(connection: sa.Connection) -> None:
        connection.execute(sa.text("CREATE TEMP TABLE t (a int UNIQUE DEFERRABLE INITIALLY DEFERRED)"))
        connection.execute(sa.text("INSERT INTO t VALUES (1), (1)"))

    with pytest.raises(errors.Duplicate):
        run_transaction(own, work)


def test_deadlocks_are_run_again(engine: sa.Engine) -> None:
    ids = [insert_image(engine), insert_image(engine)]
    both_hold_one, tries = threading.Barrier(2), []

    def work(connection: sa.Connection, mine: str, other: str) -> None:
        update = sa.text("UPDATE images SET min_ram = min_ram + 1 WHERE id = :id")
        connection.execute(update, {"id": mine})
        tries.append(mine)
        if len(tries) <= 2:
            both_hold_one.wait(60)
        connection.execute(update, {"id": other})

    threads = [threading.Thread(target=run_transaction, args=(engine, work, *pair)) for pair in (ids, ids[::-1])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    # One deadlock is certain; on a busy machine the two may meet again. Either way each is done exactly once.
    assert len(tries) >= 3
    with reading(engine) as connection:
        assert connection.execute(sa.text("SELECT sum(min_ram) FROM images")).scalar_one() == 4


def test_endless_conflicts_end(own: sa.Engine) -> None:
    calls = []

    def work(connection: sa.Connection) -> None:
        calls.append(1)
        connection.execute(sa.text("DO $$ BEGIN RAISE EXCEPTION SQLSTATE '40001'; END $$"))

    with pytest.raises(RetryTransaction):
        run_transaction(own, work)
    assert len(calls) == 5


def test_waiting_for_a_lock_ends(impatient: Callable[..., sa.Engine], engine: sa.Engine) -> None:
    insert_image(engine)
    waiting = impatient(lock_timeout=0.2)
    with transaction(engine) as holder:
        holder.execute(sa.text("UPDATE images SET min_ram = 1"))
        with pytest.raises(errors.Unavailable, match="too long") as raised, transaction(waiting) as connection:
            connection.execute(sa.text("UPDATE images SET min_ram = 2"))
    assert errors.is_row_held(raised.value)


def test_a_slow_statement_ends(impatient: Callable[..., sa.Engine]) -> None:
    with pytest.raises(errors.Unavailable, match="too long"):
        read(
            impatient(statement_timeout=0.3),
            lambda connection: connection.execute(sa.text("SELECT pg_sleep(120)")).all(),
        )


def test_a_stopped_process_does_not_keep_its_locks(impatient: Callable[..., sa.Engine], engine: sa.Engine) -> None:
    insert_image(engine)
    others = []

    def stop_in_the_middle(stopped: sa.Connection) -> None:
        stopped.execute(sa.text("UPDATE images SET min_ram = 1"))
        with transaction(engine) as connection:
            # Waits until the database ends the idle transaction.
            others.append(connection.execute(sa.text("UPDATE images SET min_ram = 2")).rowcount)
        one(stopped)

    with pytest.raises(errors.Unavailable):
        run_transaction(impatient(idle_timeout=1.5), stop_in_the_middle)
    assert others == [1, 1]


def test_a_busy_pool_is_unavailable(postgres: PostgresServer, registry_engine: sa.Engine) -> None:
    engine = make_engine(postgres.url("registry"), EngineSettings(pool_size=1, connect_timeout=4))
    with reading(engine), pytest.raises(errors.Unavailable, match="busy"), reading(engine):
        pass
    engine.dispose()


def test_a_database_without_schema_names_the_remedy(empty_database: str) -> None:
    engine = make_engine(empty_database)
    with pytest.raises(errors.Unavailable, match="glance-manage db check"):
        read(engine, crud.get, OWNER, "00000000-0000-0000-0000-000000000000")
    engine.dispose()


def test_a_standby_refuses_writes_clearly(own: sa.Engine) -> None:
    def write(connection: sa.Connection) -> None:
        connection.execute(sa.text("SET TRANSACTION READ ONLY"))
        connection.execute(sa.text("UPDATE images SET name = 'x'"))

    with pytest.raises(errors.Unavailable, match="read-only"):
        run_transaction(own, write)


def test_a_defect_stays_a_defect(own: sa.Engine) -> None:
    with pytest.raises(exc.ProgrammingError):
        read(own, lambda connection: connection.execute(sa.text("SELEC 1")))


def test_a_dead_database_is_told_quickly_and_recovery_needs_no_restart(own_postgres: PostgresServer) -> None:
    engine = make_engine(own_postgres.url("postgres"), OWN)
    assert read(engine, one) == 1
    own_postgres.stop()
    started = time.monotonic()
    with pytest.raises(errors.Unavailable, match="the database does not answer"):
        read(engine, one)
    with pytest.raises(errors.Unavailable, match="the database does not answer"):
        run_transaction(engine, one)
    assert time.monotonic() - started < 20, "less than a connection may take"
    own_postgres.start()
    assert read(engine, one) == 1
    assert run_transaction(engine, one) == 1
    engine.dispose()


def test_statements_are_counted(engine: sa.Engine) -> None:
    insert_image(engine)
    read(engine, one)
    token = statistics.set(counted := Statistics())
    with transaction(engine) as connection:
        assert one(connection) + one(connection) == 2
    statistics.reset(token)
    assert counted.statements == 2
    assert counted.seconds > 0


def test_a_statement_is_prepared_once_a_connection_and_forgotten_when_unused(
    engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    image_id, seen, execute = insert_image(engine), [], prepared.execute

    def listen(connection: sa.Connection, command: str, *values: Any, **how: Any) -> list[Any]:
        seen.append(command.split()[0])
        return execute(connection, command, *values, **how)

    monkeypatch.setattr(prepared, "execute", listen)
    with reading(engine) as connection:
        connection.exec_driver_sql("DEALLOCATE ALL")
        connection.info.clear()
        for _ in range(3):
            crud.get(connection, ADMIN, image_id)
        assert seen == ["PREPARE", "EXECUTE", "EXECUTE", "EXECUTE"]
        others: list[Prepared[Any]] = [Prepared(sa.select(sa.literal_column(str(n)))) for n in range(MOST_READY)]
        assert [other.run(connection, {}) for other in others] == [[(n,)] for n in range(MOST_READY)]
        count = connection.exec_driver_sql("SELECT count(*) FROM pg_prepared_statements").scalar_one()
        assert count == MOST_READY
        seen.clear()
        crud.get(connection, ADMIN, image_id)
        assert seen == ["PREPARE", "DEALLOCATE", "EXECUTE"]


def test_a_connection_lost_at_a_prepared_statement_is_not_used_again(
    postgres: PostgresServer, own: sa.Engine, engine: sa.Engine
) -> None:
    image_id = insert_image(engine)

    def lose_and_get(connection: AnyConnection) -> None:
        crud.get(connection, ADMIN, image_id)
        kill_connections(postgres)
        crud.get(connection, ADMIN, image_id)

    with pytest.raises(ConnectionLost):
        run_transaction(own, lose_and_get)
    with pytest.raises(ConnectionLost):
        read_prepared(own, lose_and_get)
    assert read_prepared(own, crud.get, ADMIN, image_id)


@pytest.mark.parametrize("give", [reading, reading_prepared, transaction])
def test_with_a_lost_connection_those_of_its_age_are_replaced(
    own: sa.Engine, give: Callable[[sa.Engine], AbstractContextManager[AnyConnection]]
) -> None:
    def servers() -> set[int]:
        with reading(own) as first, reading(own) as second:
            asked = sa.text("SELECT pg_backend_pid()")
            return {connection.execute(asked).scalar_one() for connection in (first, second)}

    before = servers()
    assert servers() == before
    with pytest.raises(ConnectionLost), give(own) as connection:
        prepared.execute(connection, "SELECT pg_terminate_backend(pg_backend_pid())")
    assert servers().isdisjoint(before)


def test_the_values_of_a_prepared_statement_are_not_told(own: sa.Engine) -> None:
    statement = sa.select(sa.cast(sa.bindparam("secret", type_=sa.Text), sa.LargeBinary))
    broken: PlannedForValues[Any] = PlannedForValues(statement)
    with pytest.raises(exc.DataError) as caught:
        read(own, lambda connection: broken.run(connection, {"secret": "pass\\word"}))
    assert "word" not in str(caught.value).replace(str(caught.value.orig), "")


def test_a_pooler_that_forgets_statements_is_named(engine: sa.Engine) -> None:
    image_id = insert_image(engine)

    def forget_and_get(connection: sa.Connection) -> None:
        crud.get(connection, ADMIN, image_id)
        connection.exec_driver_sql("DEALLOCATE ALL")
        try:
            crud.get(connection, ADMIN, image_id)
        finally:
            connection.info.clear()

    with pytest.raises(errors.Unavailable, match="pool"):
        read(engine, forget_and_get)


def test_a_connection_is_made_anew_when_it_is_older_than_connection_recycle_time(
    impatient: Callable[..., sa.Engine]
) -> None:
    engine = impatient(recycle=1)
    pid = sa.text("SELECT pg_backend_pid()")

    def backend() -> int:
        return read(engine, lambda connection: int(connection.execute(pid).scalar_one()))

    first = backend()
    wait_for(lambda: backend() != first, "another connection")
