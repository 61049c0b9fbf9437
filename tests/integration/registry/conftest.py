"""The registry on a real database."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_type_hints

import pytest
import sqlalchemy as sa
from deploy.local.embedded_postgres import PostgresServer
from tests.integration.registry.adopting import Adopting
from tests.servers.mariadb import MariaDB
from tests.servers.postgres import drop_database
from tests.support.old_database import OldDatabase
from tests.support.owners import Owners
from tests.support.owners_imports import Imports
from tests.support.registry_rows import clear, database

from glance_registry.db import row_types

_numbers = itertools.count(1)


@pytest.fixture(autouse=True)
def rows_are_of_their_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse a statement that has not the columns of the row type which its caller names."""

    def result_of(connection: sa.Connection, statement: Any, kind: type[Any]) -> sa.Result[Any]:
        result: sa.Result[Any] = connection.execute(statement)
        missing = get_type_hints(kind).keys() - set(result.keys())
        assert not missing, f"the statement gives no {kind.__name__}: it lacks {', '.join(sorted(missing))}"
        return result

    monkeypatch.setattr(row_types, "result_of", result_of)


@pytest.fixture(scope="session")
def owners_engine(postgres: PostgresServer, migrated_template: str) -> Iterator[sa.Engine]:
    """A database with the schema, for all tests of the locations table."""
    with database(postgres, "owners", migrated_template) as made:
        yield made


@pytest.fixture
def owners(owners_engine: sa.Engine) -> Owners:
    """The transitions on a database without rows."""
    world = Owners(owners_engine)
    world.clear()
    return world


@pytest.fixture
def imports(owners: Owners) -> Imports:
    """The transitions of operations on the same database."""
    return Imports(owners)


@pytest.fixture(scope="session")
def registry_engine(postgres: PostgresServer, migrated_template: str) -> Iterator[sa.Engine]:
    """A database with the schema, for all tests of images, members, tags and lists."""
    with database(postgres, "registry", migrated_template) as made:
        yield made


@pytest.fixture
def engine(registry_engine: sa.Engine) -> sa.Engine:
    """That database without rows."""
    clear(registry_engine)
    return registry_engine


@pytest.fixture(params=["postgresql", "mariadb"])
def adopting(
    request: pytest.FixtureRequest, database: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Iterator[Adopting]:
    """A database of Mitaka without rows, on either server."""
    name = f"old_{next(_numbers)}"
    if request.param == "mariadb":
        mariadb: MariaDB = request.getfixturevalue("mariadb")
        mariadb.create_database(name)
        url = mariadb.url(name)
    else:
        postgres: PostgresServer = request.getfixturevalue("postgres")
        postgres.create_database(name)
        url = postgres.url(name)
    (tmp_path / "images").mkdir()
    old = OldDatabase(url)
    old.make_tables()
    made = Adopting(old, database, tmp_path, capsys)
    yield made
    made.close()
    if request.param == "mariadb":
        mariadb.drop_database(name)
    else:
        drop_database(postgres, name)
