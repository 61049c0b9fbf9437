"""A registry of a new release on a schema that is not expanded yet refuses all work, and serves when it is there."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa
from tests.contract.conftest import SIGNER
from tests.support.owners import new_id
from tests.support.registry_rows import OWNER
from tests.support.wsgi_adapter import WsgiAdapter

from glance_common.model import errors
from glance_common.registry_client import over
from glance_common.registry_client.http import RegistryHttp, Timeouts
from glance_registry import readiness
from glance_registry.app import create_app
from glance_registry.db import schema
from glance_registry.db.schema import Phase
from glance_registry.db.session import make_engine

ALL = readiness.phases()
NEEDED = max(revision for revision, phase in ALL.items() if phase == "expand")
BEFORE = max(revision for revision in ALL if revision < NEEDED)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds of the clock by which the registry asks again."""
    now = [1000.0]
    monkeypatch.setattr(readiness, "time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


@pytest.fixture
def behind(empty_database: str) -> Iterator[sa.Engine]:
    """A database that lacks the last thing that this release adds."""
    schema.upgrade(empty_database, BEFORE)
    made = make_engine(empty_database)
    yield made
    made.dispose()


def health(adapter: WsgiAdapter) -> tuple[int, str]:
    answer = adapter.exchange("GET", "/healthcheck", {})
    return answer.status, answer.body.decode()


def test_the_phases_are_read_as_the_migrations_say_them(empty_database: str) -> None:
    assert dict(ALL) == {step.revision: step.phase for step in schema.pending(empty_database)}


def test_too03_a_registry_waits_for_the_schema_and_then_serves(
    behind: sa.Engine, empty_database: str, clock: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger=readiness.__name__)
    adapter = WsgiAdapter(create_app(behind, SIGNER))
    client = over(RegistryHttp(adapter, SIGNER, timeouts=Timeouts(read_deadline=0, write_deadline=0)))
    wanted = {"id": new_id(), "owner": "own", "visibility": "private"}
    reason = f"the database has revision {BEFORE}, and this release needs {NEEDED}: run glance-manage db expand"
    assert health(adapter) == (503, reason)

    calls: list[Callable[[], Any]] = [
        lambda: client.images.create(OWNER, new_id(), wanted), lambda: client.images.get(OWNER, wanted["id"]),
    ]
    for call in calls:
        # Not OutcomeUnknown: what was refused was not executed.
        with pytest.raises(errors.Unavailable, match=reason) as refused:
            call()
        assert type(refused.value) is errors.Unavailable

    schema.advance(empty_database, Phase.EXPAND)
    assert health(adapter) == (503, reason)  # asked less than a second ago
    clock[0] += readiness.INTERVAL
    assert health(adapter) == (200, "OK")
    with pytest.raises(errors.NotFound):
        client.images.get(OWNER, wanted["id"])
    assert client.images.create(OWNER, new_id(), wanted).id == wanted["id"]
    # Each once, however often it was asked.
    assert [record.getMessage() for record in caplog.records if record.name == readiness.__name__] == [
        f"not ready: {reason}", "the database has the schema of this release now",
    ]


def test_a_registry_that_is_ready_asks_no_more(engine: sa.Engine, clock: list[float]) -> None:
    asked = []
    listener = lambda *arguments: asked.append(arguments[2])  # noqa: E731  # the event hands over six
    sa.event.listen(engine, "before_cursor_execute", listener)
    try:
        checked = readiness.Readiness(engine)
        checked.check()
        assert asked != []
        asked.clear()
        clock[0] += 1000
        checked.check()
    finally:
        sa.event.remove(engine, "before_cursor_execute", listener)
    assert asked == []


@pytest.mark.parametrize(("found", "expected"), [
    (NEEDED, None), (max(ALL), None), ("9999", None),
    (None, f"the database has no schema, and this release needs revision {NEEDED}: run glance-manage db sync"),
    ("0009", f"the database has revision 0009, and this release needs {NEEDED}: run glance-manage db migrate"),
    ("queens_contract01", ("the database has the revision queens_contract01, which no release of this service has: it "
                           "is another service's")),
])
def test_what_a_revision_means(found: str | None, expected: str | None) -> None:
    assert readiness.missing(found) == expected


def test_a_database_without_a_schema_says_so(empty_database: str) -> None:
    engine = make_engine(empty_database)
    try:
        with pytest.raises(errors.Unavailable, match="run glance-manage db sync"):
            readiness.Readiness(engine).check()
    finally:
        engine.dispose()


def test_a_database_that_does_not_answer_is_asked_again(
    engine: sa.Engine, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    checked = readiness.Readiness(engine)

    def fail(*_arguments: object) -> None:
        raise errors.Unavailable("the database does not answer")

    with monkeypatch.context() as broken:
        broken.setattr(readiness, "read", fail)
        with pytest.raises(errors.Unavailable, match="does not answer"):
            checked.check()
    checked.check()
