"""Fills a registry's database with N images and as many deleted ones, straight by SQL: a million takes minutes.

    python tests/benchmarks/fill.py postgresql://glance@/glance?host=/run/postgresql 1000000

Every row follows from its number alone, so running it again adds only what is missing, and two databases of different
size begin with the same rows. Who looks at them in a benchmark: ``BIG`` owns about a seventh of all images, ``PARTNER``
is an accepted member of about a sixth, ``STRANGER`` has nothing.
"""

import argparse
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa

from glance_registry.db import schema
from glance_registry.db.session import EngineSettings, make_engine

BIG, PARTNER, STRANGER = "project-0", "partner", "stranger"

# Of two numbers the even one is a deleted image. r(k) are numbers from 0 to 1 that look random and are always the same.
NUMBERS = """
    CREATE TEMPORARY TABLE numbers ON COMMIT DROP AS
    SELECT n, n % 2 = 0 AS gone, md5('image ' || n)::uuid AS id,
        CASE WHEN n % 2 = 0 THEN CASE n % 2000 WHEN 0 THEN 'pending_delete' ELSE 'deleted' END
             ELSE CASE WHEN r[1] < 0.94 THEN 'active' WHEN r[1] < 0.97 THEN 'queued' WHEN r[1] < 0.99 THEN 'deactivated'
                       WHEN r[1] < 0.9995 THEN 'killed' ELSE 'saving' END
        END AS status,
        timestamptz '2023-01-01 00:00:00.25+00' + n * interval '45 seconds' AS created_at, r
    FROM generate_series(1, 2 * CAST(:images AS integer)) n,
    LATERAL (SELECT array_agg((hashint8extended(n, k) & 1048575) / 1048576.0::float8 ORDER BY k) AS r
             FROM generate_series(1, 8) k) random
    WHERE NOT EXISTS (SELECT FROM images WHERE images.id = md5('image ' || n)::uuid)
"""
IMAGES = """
    INSERT INTO images (
        id, name, status, visibility, owner, disk_format, container_format, size, virtual_size, min_disk, min_ram,
        protected, os_hidden, checksum, os_hash_algo, os_hash_value, properties, tags, created_at, updated_at,
        deleted_at, status_before_delete, delayed, create_attempt)
    SELECT id,
        CASE WHEN r[2] < 0.1 THEN 'ubuntu-24.04' WHEN r[2] < 0.12 THEN NULL ELSE 'image-' || n END,
        status,
        CASE WHEN r[3] < 0.15 THEN 'public' WHEN r[3] < 0.2 THEN 'community' WHEN r[3] < 0.55 THEN 'shared'
             ELSE 'private' END,
        CASE WHEN r[4] > 0.999 THEN NULL ELSE 'project-' || floor(300 * power(r[4], 3)) END,
        CASE WHEN status = 'queued' AND r[2] < 0.5 THEN NULL WHEN r[5] < 0.7 THEN 'qcow2' WHEN r[5] < 0.95 THEN 'raw'
             WHEN r[5] < 0.9995 THEN 'iso' ELSE 'vdi' END,
        CASE WHEN status = 'queued' AND r[2] < 0.5 THEN NULL WHEN r[5] < 0.9995 THEN 'bare' ELSE 'ova' END,
        CASE WHEN has_data THEN floor(exp(14 + 10 * r[6]))::bigint * 512 + n END,
        CASE WHEN has_data THEN floor(exp(16 + 10 * r[6]))::bigint * 512 END,
        (ARRAY[0, 10, 20, 40])[1 + floor(4 * r[6])::integer],
        CASE WHEN r[7] > 0.9999 THEN 65536 ELSE (ARRAY[0, 512, 2048])[1 + floor(3 * r[7])::integer] END,
        NOT gone AND r[7] < 0.01, r[8] < 0.02,
        CASE WHEN has_data THEN md5('data ' || n) END, CASE WHEN has_data THEN 'sha512' END,
        CASE WHEN has_data THEN encode(sha512(('data ' || n)::bytea), 'hex') END,
        jsonb_build_object(
            'os_distro', (ARRAY['ubuntu', 'debian', 'fedora', 'windows'])[1 + floor(4 * r[2])::integer],
            'hw_disk_bus', CASE WHEN r[5] < 0.9 THEN 'virtio' ELSE 'scsi' END,
            'build', n::text, 'batch', (n / 100)::text),
        ARRAY[CASE WHEN r[6] < 0.5 THEN 'stable' ELSE 'daily' END, 'batch-' || n / 100],
        created_at, created_at + r[7] * interval '30 days',
        CASE WHEN gone THEN created_at + r[8] * interval '60 days' END,
        CASE WHEN gone THEN 'active' END, status = 'pending_delete', gen_random_uuid()
    FROM numbers, LATERAL (SELECT status NOT IN ('queued', 'saving', 'killed') AS has_data) data ORDER BY n
"""
MEMBERS = """
    INSERT INTO members (image_id, member, status, image_created_at)
    SELECT id, member, status, created_at FROM (
        SELECT id, created_at, r, ARRAY['accepted', 'pending', 'rejected'] AS words FROM numbers WHERE r[3] < 0.55
            AND r[3] >= 0.2
    ) shared,
    LATERAL (
        SELECT 'project-' || floor(300 * r[7]) AS member, words[1 + floor(3 * r[8])::integer] AS status
        UNION ALL SELECT 'partner', CASE WHEN r[8] > 0.98 THEN 'pending' ELSE 'accepted' END WHERE r[7] < 0.5
    ) memberships
"""
LOCATIONS = """
    INSERT INTO locations (
        id, image_id, store, key, status, size, attempt, not_before, lease_until, on_fail, created_at, deleted_at)
    SELECT gen_random_uuid(), id, CASE WHEN r[5] < 0.9 THEN 'file' ELSE 'rbd' END, id::text,
        CASE WHEN gone THEN status WHEN status = 'saving' THEN 'writing' ELSE 'active' END,
        floor(exp(14 + 10 * r[6]))::bigint * 512 + n, gen_random_uuid(),
        CASE status WHEN 'pending_delete' THEN now() + (2 * r[7] - 1) * interval '1 day' END,
        CASE status WHEN 'saving' THEN now() + interval '1 day' END, CASE status WHEN 'saving' THEN 'queued' END,
        created_at, CASE WHEN gone THEN created_at + r[8] * interval '60 days' END
    FROM numbers WHERE status NOT IN ('queued', 'killed') ORDER BY n
"""
OPERATIONS = """
    INSERT INTO operations (
        id, kind, image_id, owner, status, deadline, on_fail, ttl, created_at, updated_at, expires_at)
    SELECT gen_random_uuid(), 'import', id, 'project-' || floor(300 * power(r[4], 3)),
        CASE WHEN n % 1001 = 0 THEN 'pending' ELSE 'success' END, now() + interval '1 day', 'queued', 48, created_at,
        created_at, CASE WHEN n % 1001 = 0 THEN NULL ELSE now() + (r[7] - 0.9) * interval '20 days' END
    FROM numbers WHERE NOT gone AND n % 7 = 0 ORDER BY n
"""
TABLES = ("images", "members", "locations", "operations")
SECONDARY_INDEXES = """
    SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid) FROM pg_index
    WHERE indrelid::regclass::text = ANY(:tables) AND NOT indisprimary
"""


@contextmanager
def without_indexes(engine: sa.Engine) -> Iterator[sa.Connection]:
    """Give a transaction in which the tables have no secondary indexes; ANALYZE afterwards.

    They are built anew when all rows are there, which is several times faster than row by row.
    """
    with engine.begin() as connection:
        connection.execute(sa.text("SET LOCAL statement_timeout = 0"))
        connection.execute(sa.text("SET LOCAL maintenance_work_mem = '512MB'"))
        indexes = connection.execute(sa.text(SECONDARY_INDEXES), {"tables": list(TABLES)}).all()
        for name, _ in indexes:
            connection.execute(sa.text(f"DROP INDEX {name}"))
        yield connection
        for _, definition in indexes:
            connection.exec_driver_sql(definition)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text("SET statement_timeout = 0"))
        connection.execute(sa.text(f"VACUUM ANALYZE {', '.join(TABLES)}"))


def fill(engine: sa.Engine, images: int) -> None:
    """Add what is missing of ``images`` living and as many deleted images."""
    with without_indexes(engine) as connection:
        connection.execute(sa.text(NUMBERS), {"images": images})
        for statement in (IMAGES, MEMBERS, LOCATIONS, OPERATIONS):
            connection.execute(sa.text(statement))


def main() -> None:
    """Bring the database to the newest schema and fill it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", help="of a PostgreSQL database that is there for nothing else")
    parser.add_argument("images", type=int, nargs="?", default=1_000_000)
    arguments = parser.parse_args()
    began = time.monotonic()
    schema.upgrade(arguments.url)
    engine = make_engine(arguments.url, EngineSettings(idle_timeout=0))
    fill(engine, arguments.images)
    engine.dispose()
    sys.stdout.write(f"{arguments.images} images and as many deleted ones, {time.monotonic() - began:.0f} s\n")


if __name__ == "__main__":
    main()
