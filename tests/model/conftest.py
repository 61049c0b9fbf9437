"""The services, for all random lives of a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from deploy.local.embedded_postgres import PostgresServer
from tests.model.client import Client
from tests.model.machine import Lives
from tests.model.values import LIMITS
from tests.servers.postgres import drop_database
from tests.support.daemons import Services

from glance_common.model.context import ContextSigner, system_context
from glance_common.registry_client import over
from glance_common.registry_client.http import connect_to

OPTIONS = {
    "image_property_quota": LIMITS.properties, "image_tag_quota": LIMITS.tags, "image_member_quota": LIMITS.members,
    "image_size_cap": LIMITS.image_size, "user_storage_quota": LIMITS.project_size,
    "limit_param_default": LIMITS.page, "api_limit_max": LIMITS.largest_page,
}


@pytest.fixture(scope="session")
def database_url(postgres: PostgresServer, migrated_template: str) -> Iterator[str]:
    """The URL of a database with the newest schema."""
    postgres.create_database("model", template=migrated_template)
    yield postgres.url("model")
    drop_database(postgres, "model")


@pytest.fixture(scope="session")
def services(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    """Registry, API and scrubber behind a proxy that has told who calls, with small limits."""
    folder: Path = tmp_path_factory.mktemp("model")
    made = Services(folder, database_url, api={"DEFAULT": OPTIONS, "paste_deploy": {"flavor": "trusted-auth"}})
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest.fixture
def lives(services: Services) -> Iterator[type[Lives]]:
    """The machine, bound to the services: each of its instances is a life of projects of its own."""
    secret = (services.folder / "registry-secret").read_bytes().strip()
    registry = over(connect_to(services.registry.url, ContextSigner([secret])))
    client = Client(services.api.port)

    def usage(project: str) -> int:
        return registry.usage.of_owner(system_context(f"req-{uuid4()}"), project).size

    yield type("Lives", (Lives,), {"client": client, "usage": staticmethod(usage), "tried": Counter()})
    client.close()
    registry.close()
