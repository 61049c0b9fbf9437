"""The services, for all random lives of a run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from deploy.local.embedded_postgres import PostgresServer
from tests.model.values import LIMITS
from tests.servers.postgres import drop_database
from tests.support.daemons import Services

OPTIONS = {
    "image_property_quota": LIMITS.properties, "image_tag_quota": LIMITS.tags, "image_member_quota": LIMITS.members,
    "image_size_cap": LIMITS.image_size, "user_storage_quota": LIMITS.project_size,
    "limit_param_default": LIMITS.page, "api_limit_max": LIMITS.largest_page,
}  # fmt: skip


@pytest.fixture(scope="module")
def database_url(postgres: PostgresServer, migrated_template: str) -> Iterator[str]:
    """The URL of a database with the newest schema."""
    postgres.create_database("model", template=migrated_template)
    yield postgres.url("model")
    drop_database(postgres, "model")


@pytest.fixture(scope="module")
def services(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    """Registry, API and scrubber behind a proxy that has told who calls, with small limits."""
    folder: Path = tmp_path_factory.mktemp("model")
    made = Services(folder, database_url, api={"DEFAULT": OPTIONS, "paste_deploy": {"flavor": "trusted-auth"}})
    try:
        made.start()
        yield made
    finally:
        made.stop()
