"""The real registry client against the real registry application on a real database, without a socket between."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from deploy.local.embedded_postgres import PostgresServer
from tests.support.registry_rows import clear, database
from tests.support.wsgi_adapter import WsgiAdapter

from glance_common.model.context import ContextSigner
from glance_common.registry_client import RegistryClient, http, over
from glance_common.registry_client.http import RegistryHttp, Timeouts
from glance_registry.app import create_app

SIGNER = ContextSigner([b"s" * 32])


@pytest.fixture(scope="session")
def contract_engine(postgres: PostgresServer, migrated_template: str) -> Iterator[sa.Engine]:
    """A database with the schema, for all tests of the contract."""
    with database(postgres, "contract", migrated_template) as made:
        yield made


@pytest.fixture
def engine(contract_engine: sa.Engine) -> sa.Engine:
    """That database without rows."""
    clear(contract_engine)
    return contract_engine


@pytest.fixture
def adapter(engine: sa.Engine) -> WsgiAdapter:
    """The way to the registry."""
    return WsgiAdapter(create_app(engine, SIGNER))


@pytest.fixture
def client(adapter: WsgiAdapter) -> Iterator[RegistryClient]:
    """The client, so patient that it repeats what got no answer however long the first try took."""
    made = over(RegistryHttp(adapter, SIGNER, timeouts=Timeouts(read_deadline=60, write_deadline=60)))
    yield made
    made.close()


class Clock:
    """Time that passes only while somebody sleeps; stands for the module ``time`` of the registry client."""

    def __init__(self) -> None:
        self.now = 0.0
        self.perf_counter = time.perf_counter

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The time by which the client repeats calls: pauses pass at once, and nothing else takes any."""
    made = Clock()
    monkeypatch.setattr(http, "time", made)
    return made
