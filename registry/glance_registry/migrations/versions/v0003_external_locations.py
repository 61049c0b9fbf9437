"""Locations whose bytes are not ours: several images may point at them, and nothing deletes them."""

from alembic import op

revision = "0003"
down_revision = "0002"
phase = "expand"

SCHEMA = """
ALTER TABLE locations ADD COLUMN external BOOLEAN DEFAULT false NOT NULL;
COMMENT ON COLUMN locations.external IS
    'the bytes are not ours: nothing deletes them, and several images may point at them';
DROP INDEX uq_locations_key;
CREATE UNIQUE INDEX uq_locations_key ON locations (store, key)
    WHERE (status <> 'deleted' OR late_passes > 0) AND NOT external;
"""


def upgrade() -> None:
    """Mark such rows, and free their keys."""
    op.execute(SCHEMA)
