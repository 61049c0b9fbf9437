"""Lists from a replica: old ones at most, never wrong ones, and never none."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import orjson
import pytest
import sqlalchemy as sa
from deploy.local.embedded_postgres import PostgresServer
from tests.servers.postgres import running_postgres, streaming_replica
from tests.support.registry_rows import ADMIN, OWNER, PATIENT, database, insert_image
from tests.support.waiting import wait_for

from glance_common.model import errors
from glance_common.observability.metrics.catalog import REGISTRY
from glance_registry.db import replica as module
from glance_registry.db.replica import Replica
from glance_registry.db.schema import upgrade
from glance_registry.db.session import make_engine
from glance_registry.images import use_cases
from glance_registry.images.listing import ListingQuery
from glance_registry.metadefs import use_cases as metadefs
from glance_registry.operations import tasks
from glance_registry.operations import use_cases as operations
from glance_registry.records.documents import row_fields

NAME = "replicated"


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[PostgresServer, PostgresServer]]:
    """A server with a database of the newest schema, and its streaming replica."""
    with ExitStack() as stack:
        primary = stack.enter_context(running_postgres())
        primary.create_database(NAME)
        upgrade(primary.url(NAME))
        yield primary, stack.enter_context(streaming_replica(primary))


@pytest.fixture
def connect(
    servers: tuple[PostgresServer, PostgresServer], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[float], sa.Engine]]:
    """A function that gives the primary with its replica, whose lag is watched as told."""
    monkeypatch.setattr(module, "PAUSE", 0.1)
    primary, replica = (make_engine(server.url(NAME), PATIENT) for server in servers)

    def with_lag(lag: float) -> sa.Engine:
        Replica(replica, lag).attach(primary)
        return primary

    yield with_lag
    resume(servers[1])
    primary.dispose()
    replica.dispose()


def tell(server: PostgresServer, statement: str) -> None:
    engine = make_engine(server.url(NAME), PATIENT)
    with engine.begin() as connection:
        connection.execute(sa.text(statement))
    engine.dispose()


def pause(replica: PostgresServer) -> None:
    tell(replica, "SELECT pg_wal_replay_pause()")
    engine = make_engine(replica.url(NAME), PATIENT)
    with engine.connect() as connection:
        state = sa.text("SELECT pg_get_wal_replay_pause_state()")
        wait_for(lambda: connection.execute(state).scalar_one() == "paused", "the paused replica")
    engine.dispose()


def resume(replica: PostgresServer) -> None:
    tell(replica, "SELECT pg_wal_replay_resume()")


def listed(engine: sa.Engine, **query: object) -> list[str]:
    """The ids of the newest images of the owner."""
    found = use_cases.search(engine, OWNER, ListingQuery(limit=1000, **query), 2**24)  # type: ignore[arg-type]  # fields of the query
    at = row_fields(False).index("id")
    return [orjson.loads(row)[at] for row in found.rows]


def reads(of: str) -> float:
    return REGISTRY.get_sample_value("glance_list_reads_total", {"database": of}) or 0.0


def test_cfg01_lists_come_from_slave_connection_and_may_be_old(
    connect: Callable[[float], sa.Engine], servers: tuple[PostgresServer, PostgresServer]
) -> None:
    engine, before = connect(0), reads("replica")
    first = insert_image(engine)
    wait_for(lambda: first in listed(engine), "the first image at the replica")
    pause(servers[1])
    second = insert_image(engine)
    assert first in listed(engine)
    assert second not in listed(engine), "the list did not come from the replica"
    shown = use_cases.show(engine, OWNER, second, locations=False, deleted=False)
    assert second in shown, "what shows one thing is never old"
    assert use_cases.list_members(engine, OWNER, second) == []
    assert reads("replica") > before
    resume(servers[1])
    wait_for(lambda: second in listed(engine), "the second image at the replica")


def test_an_error_is_never_old(
    connect: Callable[[float], sa.Engine], servers: tuple[PostgresServer, PostgresServer]
) -> None:
    engine = connect(0)
    older = insert_image(engine)
    pause(servers[1])
    marker = insert_image(engine)
    assert older in listed(engine, marker=marker)
    with pytest.raises(errors.BadRequest, match="no image with ID"):
        listed(engine, marker="00000000-0000-4000-8000-000000000000")


def test_a_replica_that_is_too_far_behind_is_not_asked(
    connect: Callable[[float], sa.Engine],
    servers: tuple[PostgresServer, PostgresServer],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, module.__name__)
    engine, before = connect(0.2), reads("replica")

    def comes_from_replica() -> bool:
        listed(engine)
        return reads("replica") > before

    wait_for(comes_from_replica, "a list from the replica")
    pause(servers[1])
    new = insert_image(engine)
    wait_for(lambda: new in listed(engine), "the primary is asked")

    def is_told() -> bool:
        insert_image(engine)
        listed(engine)
        return "is more than 0.2 s behind: lists are read from the primary" in caplog.text

    wait_for(is_told, "the line about the lag")
    resume(servers[1])
    before = reads("replica")
    wait_for(comes_from_replica, "a list from the replica again")
    assert "works again" in caplog.text


@pytest.mark.parametrize("lag", [0, 0.2])
def test_without_the_replica_lists_come_from_the_primary(
    lag: float,
    connect: Callable[[float], sa.Engine],
    servers: tuple[PostgresServer, PostgresServer],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, module.__name__)
    engine = connect(lag)
    image = insert_image(engine)
    wait_for(lambda: image in listed(engine), "the image")
    servers[1].stop()
    try:
        before = reads("replica")
        new = insert_image(engine)
        assert all(new in listed(engine) for _ in range(20))
        assert reads("replica") == before

        def is_told() -> bool:
            listed(engine)
            return "the replica of slave_connection fails" in caplog.text

        wait_for(is_told, "the log line")
    finally:
        servers[1].start()

    def comes_from_replica() -> bool:
        listed(engine)
        return reads("replica") > before

    wait_for(comes_from_replica, "a list from the replica again")
    assert "works again" in caplog.text


def test_all_lists_may_come_from_it(connect: Callable[[float], sa.Engine]) -> None:
    engine, before = connect(0), reads("replica")
    use_cases.shared_with(engine, OWNER, "own")
    query = tasks.TaskQuery(limit=5, marker=None, sort_key="created_at", is_descending=True)
    operations.list_tasks(engine, ADMIN, query)
    metadefs.list_resource_types(engine)
    assert reads("replica") == before + 3


def test_databases_without_positions_are_used_with_a_warning(
    connect: Callable[[float], sa.Engine], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_WRITTEN", sa.text("SELECT position_that_no_database_tells()::text"))
    engine, before = connect(0.2), reads("replica")
    listed(engine)
    listed(engine)
    assert reads("replica") == before + 2
    assert caplog.text.count("cannot be watched") == 1


def test_a_primary_that_is_a_standby_for_a_while_is_compared_again(
    connect: Callable[[float], sa.Engine], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO, module.__name__)
    engine, before = connect(0.2), reads("replica")
    with monkeypatch.context() as changed:
        # What a standby answers: this needs a server that is not in recovery.
        changed.setattr(module, "_WRITTEN", sa.text("SELECT pg_wal_replay_pause()::text"))
        listed(engine)
        assert reads("replica") == before
        assert "cannot be compared with the primary now" in caplog.text

    def comes_from_replica() -> bool:
        listed(engine)
        return reads("replica") > before

    wait_for(comes_from_replica, "a list from the replica")


def test_a_verdict_of_long_ago_is_not_trusted(connect: Callable[[float], sa.Engine]) -> None:
    engine, before = connect(0.2), reads("replica")

    def comes_from_replica() -> bool:
        listed(engine)
        return reads("replica") > before

    wait_for(comes_from_replica, "a list from the replica")
    replica = engine.get_execution_options()[module._OPTION]
    wait_for(lambda: time.monotonic() > replica._judged_at + 0.4, "an old verdict")
    with replica._comparing:
        before = reads("replica")
        listed(engine)
        assert reads("replica") == before


def test_the_lag_of_a_database_that_replays_nothing_is_not_watched(
    postgres: PostgresServer, migrated_template: str, connect: Callable[[float], sa.Engine]
) -> None:
    engine = connect(0)
    with database(postgres, "other", migrated_template) as other:
        Replica(other, 0.2).attach(engine)
        mine, theirs = insert_image(engine), insert_image(other)
        found = listed(engine)
    assert theirs in found
    assert mine not in found
