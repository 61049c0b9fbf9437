"""The real registry client against the real registry application on a real database, without a socket between."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from deploy.local.embedded_postgres import PostgresServer
from tests.support.registry_rows import clear, database
from tests.support.wsgi_adapter import WsgiAdapter

from glance_common.context import ContextSigner
from glance_common.registry_client import RegistryClient, over
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
    """The client, impatient."""
    made = over(RegistryHttp(adapter, SIGNER, timeouts=Timeouts(read_deadline=0.2, write_deadline=0.2)))
    yield made
    made.close()
