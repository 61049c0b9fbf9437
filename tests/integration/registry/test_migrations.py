"""The schema of a database: built by migrations only, and just what the code's tables say."""

from __future__ import annotations

import importlib
import re
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa
from tests.support.registry_rows import insert_image

from glance_common.model import errors, property_names
from glance_registry.db import schema
from glance_registry.db.connections import reading
from glance_registry.db.session import make_engine
from glance_registry.db.tables import metadata

# What PostgreSQL itself says about columns, constraints and indexes; Alembic does not compare expressions.
CATALOG = {
    "columns": """
        SELECT c.oid::regclass::text, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
            a.attidentity::text,
            a.attgenerated::text, pg_get_expr(d.adbin, d.adrelid), a.attcollation::regcollation::text,
            col_description(c.oid, a.attnum)
        FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
        LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
        WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace AND a.attnum > 0
            AND c.relname <> 'alembic_version' ORDER BY 1, 2""",
    "constraints": """
        SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint
        WHERE connamespace = 'public'::regnamespace AND conrelid::regclass::text <> 'alembic_version' ORDER BY 1""",
    "indexes": """
        SELECT indexname, indexdef FROM pg_indexes
        WHERE schemaname = 'public' AND tablename <> 'alembic_version' ORDER BY 1""",
}


@pytest.mark.parametrize("kind", CATALOG)
def test_migrations_build_what_the_code_says(database: str, empty_database: str, kind: str) -> None:
    found = []
    for url in (database, empty_database):
        engine = make_engine(url)
        if url == empty_database:
            with engine.begin() as connection:
                metadata.create_all(connection)
        with reading(engine) as connection:
            found.append([tuple(row) for row in connection.execute(sa.text(CATALOG[kind]))])
        engine.dispose()
    assert found[0]
    assert found[0] == found[1]


def test_the_planner_counts_owners_as_told(database: str) -> None:
    engine = make_engine(database)
    with reading(engine) as connection:
        rows = connection.execute(sa.text(
            "SELECT attrelid::regclass::text, attname FROM pg_attribute WHERE attoptions = '{n_distinct=100}'"
        ))
        assert sorted(tuple(row) for row in rows) == [("images", "owner"), ("members", "member")]
    engine.dispose()


def test_upgrade_from_nothing_and_again(empty_database: str) -> None:
    assert schema.version(empty_database) is None
    schema.upgrade(empty_database)
    assert schema.version(empty_database) == schema.newest()
    schema.upgrade(empty_database)
    assert schema.version(empty_database) == schema.newest()


def test_s47_an_upgrade_removes_properties_with_reserved_names(empty_database: str) -> None:
    free = {"a": "1", "os_hash": "2", "os_glanc": "3", "x_os_glance_x": "4", "Checksum": None}
    own = {"os_glance_import_task": "t", "os_glance_failed_import": "", "os_glance_stage_host": "h"}
    reserved = {"os_glancefoo": "x", "os_glance_mine": None, "OS-Glance-X": "x", "os_hash_x": "x", "owner": "x",
                "location": "x"}
    schema.upgrade(empty_database, "0009")
    engine = make_engine(empty_database)
    found = insert_image(engine, properties={**free, **own, **reserved}, status="deleted")
    clean = insert_image(engine, properties={**free, **own})
    schema.upgrade(empty_database)
    with reading(engine) as connection:
        rows = {
            row.id: (row.properties, row.row_version)
            for row in connection.execute(sa.text("SELECT id::text, properties, row_version FROM images"))
        }
    engine.dispose()
    assert rows == {found: ({**free, **own}, 2), clean: ({**free, **own}, 1)}


def test_the_migration_and_the_code_know_the_same_names() -> None:
    migration = importlib.import_module("glance_registry.migrations.versions.v0010_reserved_properties")
    assert set(re.findall(r"'(\w+)'", migration.OWN)) == property_names.OWN
    fields = set(re.findall(r"'(\w+)'", migration.RESERVED.partition("IN (")[2]))
    assert fields == property_names.FIELDS | {"location", "deleted"}


def test_hosts_may_upgrade_at_the_same_time(empty_database: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(schema.upgrade, [empty_database] * 4))
    assert schema.version(empty_database) == schema.newest()


def test_a_database_that_is_away_is_named_so() -> None:
    with pytest.raises(errors.Unavailable, match="does not answer"):
        schema.version("postgresql://glance@127.0.0.1:1/none")
    with pytest.raises(errors.Unavailable, match="does not answer"):
        schema.upgrade("postgresql://glance@127.0.0.1:1/none")
