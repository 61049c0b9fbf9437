"""The catalogue of metadata definitions on a real database: statements, and calls at the same time."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa
from sqlalchemy import event
from tests.support.registry_rows import ADMIN

from glance_common.model import errors
from glance_common.model.metadef import NamespaceQuery
from glance_registry.db.session import read, run_transaction
from glance_registry.db.tables import metadef_resource_types, metadef_tags, metadef_writes
from glance_registry.metadefs import content, files, listing, namespaces, schema
from glance_registry.metadefs.attempts import once
from glance_registry.metadefs.content import PROPERTIES, TAGS
from glance_registry.metadefs.files import Existing

MANY = 1000


def document(namespace: str = "ns", properties: int = 0) -> dict[str, Any]:
    definition = {"title": "Title", "type": "string", "description": "x" * 200, "enum": ["a", "b", "c"]}
    return {
        "namespace": namespace, "visibility": "public",
        "properties": {f"property {number}": definition for number in range(properties)},
        "resource_type_associations": [{"name": "I", "prefix": "p_"}, {"name": "F"}],
        "objects": [{"name": "o", "properties": {"p": definition}}], "tags": [{"name": "t"}],
    }


def make(engine: sa.Engine, wanted: dict[str, Any]) -> None:
    run_transaction(engine, files.load, wanted, Existing.SKIP)


def statements(engine: sa.Engine, work: Callable[[], Any]) -> int:
    """Return how many statements reach the server while ``work`` runs; a list of parameters is one for each."""
    sent: list[int] = []

    def count(_conn: Any, _cursor: Any, _statement: Any, parameters: Any, _context: Any, _many: Any) -> None:
        sent.append(len(parameters) if isinstance(parameters, list) else 1)

    event.listen(engine, "before_cursor_execute", count)
    try:
        work()
    finally:
        event.remove(engine, "before_cursor_execute", count)
    return sum(sent)


def test_statements_do_not_grow_with_the_properties(engine: sa.Engine) -> None:
    made = {
        number: statements(engine, partial(make, engine, document(f"n{number}", number)))
        for number in (1, MANY)
    }
    assert made[1] == made[MANY] < 20
    large = f"n{MANY}"
    assert len(json.loads(read(engine, namespaces.get, ADMIN, large))["properties"]) == MANY
    for show in (
        lambda: read(engine, namespaces.get, ADMIN, large),
        lambda: read(engine, content.list_all, ADMIN, large, PROPERTIES),
        lambda: read(engine, listing.list_namespaces, ADMIN, NamespaceQuery(limit=25)),
    ):
        assert statements(engine, show) == 1
    assert statements(engine, lambda: run_transaction(engine, namespaces.delete, ADMIN, large)) < 5


def test_one_of_several_creations_at_the_same_time_succeeds(engine: sa.Engine) -> None:
    given, things = schema.whole_namespace(document())

    def create(_number: int) -> bool:
        try:
            run_transaction(engine, namespaces.create, schema.with_defaults(given), things)
        except errors.Duplicate:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(create, range(8))) == 1


def test_namespaces_with_the_same_resource_types_are_made_at_the_same_time(engine: sa.Engine) -> None:
    def create(number: int) -> None:
        wanted = document(f"ns {number}")
        wanted["resource_type_associations"] = [{"name": name} for name in ("IF", "FI")[number % 2] + "xyz"]
        make(engine, wanted)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(create, range(16)))
    with engine.begin() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(metadef_resource_types)).scalar_one() == 5


def test_the_same_tag_is_added_once_and_a_removed_namespace_takes_all_tags(engine: sa.Engine) -> None:
    make(engine, document())

    def add(connection: sa.Connection, names: list[str]) -> None:
        holder = namespaces.lock(connection, ADMIN, "ns")
        content.put_tags(connection, holder, [{"name": name} for name in names], append=True)

    def attempt(number: int) -> str:
        try:
            if number == 6:
                run_transaction(engine, namespaces.delete, ADMIN, "ns")
            else:
                run_transaction(engine, add, ["same", f"tag {number}"])
        except errors.GlanceError as error:
            return type(error).__name__
        return "done"

    with ThreadPoolExecutor(8) as pool:
        ends = list(pool.map(attempt, range(12)))
    assert ends[6] == "done"
    assert ends.count("done") <= 2
    assert set(ends) <= {"done", "Duplicate", "NotFound"}
    with engine.begin() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(metadef_tags)).scalar_one() == 0


def test_an_attempt_is_done_once_and_forgotten_later(engine: sa.Engine) -> None:
    make(engine, document())
    same, done = str(uuid4()), []

    def work(connection: sa.Connection) -> str:
        holder = namespaces.lock(connection, ADMIN, "ns")
        content.delete(connection, holder, TAGS, "t")
        done.append(1)
        return '"answer"'

    with ThreadPoolExecutor(6) as pool:
        assert set(pool.map(lambda _: run_transaction(engine, once, same, work), range(6))) == {'"answer"'}
    assert len(done) == 1
    with engine.begin() as connection:
        connection.execute(sa.update(metadef_writes).values(made_at=sa.text("now() - interval '1 hour'")))
    with pytest.raises(errors.NotFound):
        run_transaction(engine, once, same, work)
    with pytest.raises(errors.NotFound):
        run_transaction(engine, once, str(uuid4()), work)
    run_transaction(engine, once, str(uuid4()), lambda _: "")
    with engine.begin() as connection:
        assert len(connection.execute(sa.select(metadef_writes.c.attempt)).all()) == 1
