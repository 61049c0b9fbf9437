"""Databases of the registry, rows written past its rules, and callers to look at them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import orjson
import sqlalchemy as sa
from deploy.local.embedded_postgres import PostgresServer

from glance_common.model.context import RequestContext
from glance_registry.db.session import EngineSettings, make_engine, read
from glance_registry.db.tables import images, members, metadata
from glance_registry.images.listing import ListingQuery, list_images
from glance_registry.records.documents import row_fields

OWNER = RequestContext("req-owner", project_id="own")
STRANGER = RequestContext("req-stranger", project_id="stranger")
MEMBER = RequestContext("req-member", project_id="member")
ADMIN = RequestContext("req-admin", project_id="admins", is_admin=True)
ANONYMOUS = RequestContext("req-anonymous", read_only=True)

PATIENT = EngineSettings(
    pool_size=16, connect_timeout=30, statement_timeout=60.0, lock_timeout=60.0, idle_timeout=60.0
)
"""How tests talk to the database: what a machine that stands still for seconds delays is no failure."""


@contextmanager
def database(postgres: PostgresServer, name: str, template: str) -> Iterator[sa.Engine]:
    """Give an engine on a new database that is a copy of ``template``, which has the schema."""
    postgres.create_database(name, template=template)
    engine = make_engine(postgres.url(name), PATIENT)
    yield engine
    engine.dispose()


def clear(engine: sa.Engine) -> None:
    """Remove every row."""
    names = ", ".join(table.name for table in metadata.sorted_tables)
    with engine.begin() as connection:
        connection.execute(sa.text(f"TRUNCATE {names}"))


def insert_image(engine: sa.Engine, **columns: Any) -> str:
    """Write an image row; what is not said is a private active image of project ``own``. Return its id."""
    row = {"id": str(uuid4()), "status": "active", "visibility": "private", "owner": "own", **columns}
    with engine.begin() as connection:
        connection.execute(images.insert().values(create_attempt=str(uuid4()), **row))
    return str(row["id"])


def insert_members(engine: sa.Engine, image_id: str, statuses: Mapping[str, str]) -> None:
    """Write member rows: project → status."""
    created_at = sa.select(images.c.created_at).where(images.c.id == image_id).scalar_subquery()
    with engine.begin() as connection:
        for member, status in statuses.items():
            connection.execute(
                members.insert().values(image_id=image_id, member=member, status=status, image_created_at=created_at)
            )


def page(engine: sa.Engine, caller: RequestContext, query: ListingQuery) -> list[dict[str, Any]]:
    """Return the images of a list by the names of their fields."""
    names = row_fields(query.locations, query.deleted)
    return [dict(zip(names, orjson.loads(row), strict=True)) for row in read(engine, list_images, caller, query).rows]
