"""Properties with reserved names, which older versions let through, and which no request could remove again."""

from uuid import UUID

import sqlalchemy as sa

revision = "0010"
down_revision = "0009"
phase = "migrate"

# What is reserved and what the service writes itself, as of this revision.
RESERVED = r"""
    replace(lower(key), '-', '_') LIKE 'os\_glance%' OR replace(lower(key), '-', '_') LIKE 'os\_hash\_%'
    OR key IN (
        'id', 'name', 'status', 'visibility', 'owner', 'disk_format', 'container_format', 'size', 'virtual_size',
        'min_disk', 'min_ram', 'protected', 'os_hidden', 'checksum', 'os_hash_algo', 'os_hash_value', 'created_at',
        'updated_at', 'deleted_at', 'tags', 'locations', 'self', 'file', 'schema', 'direct_url', 'stores', 'location',
        'deleted'
    )
"""
OWN = """
    'os_glance_import_task', 'os_glance_importing_to_stores', 'os_glance_failed_import', 'os_glance_stage_host',
    'os_glance_hash_op_host', 'os_glance_data_refused'
"""

BATCH = 5000
"""Images that one transaction looks at."""

# The row version moves, so that no update which is under way brings them back.
REMOVE = f"""
WITH page AS (
    SELECT id, properties FROM images WHERE id > :after ORDER BY id LIMIT :limit
), found AS (
    SELECT id, array_agg(key) AS keys FROM page, jsonb_object_keys(page.properties) AS key
    WHERE ({RESERVED}) AND key NOT IN ({OWN})
    GROUP BY id
), removed AS (
    UPDATE images SET properties = images.properties - found.keys, row_version = images.row_version + 1
    FROM found WHERE images.id = found.id
)
SELECT id FROM page ORDER BY id DESC LIMIT 1
"""  # noqa: S608 - constants of this file


def batch(connection: sa.Connection, after: str | None) -> str | None:
    """Remove them from the next images, deleted ones too: a restore would bring them back."""
    values = {"after": after or UUID(int=0), "limit": BATCH}
    last = connection.execute(sa.text(REMOVE), values).scalar_one_or_none()
    return None if last is None else str(last)


def upgrade() -> None:
    """Nothing is left to do."""
