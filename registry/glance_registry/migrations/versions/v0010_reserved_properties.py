"""Properties with reserved names, which older versions let through, and which no request could remove again."""

from alembic import op

revision = "0010"
down_revision = "0009"

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

# The row version moves, so that no update which is under way brings them back.
REMOVE = f"""
UPDATE images SET properties = images.properties - found.keys, row_version = images.row_version + 1
FROM (
    SELECT id, array_agg(key) AS keys FROM images, jsonb_object_keys(images.properties) AS key
    WHERE ({RESERVED}) AND key NOT IN ({OWN})
    GROUP BY id
) AS found
WHERE images.id = found.id
"""  # noqa: S608 - constants of this file


def upgrade() -> None:
    """Remove them from all images, deleted ones too: a restore would bring them back."""
    op.execute(REMOVE)
