"""A fast digest of each copy, by which downloads are verified."""

from alembic import op

revision = "0013"
down_revision = "0012"
phase = "expand"

SCHEMA = """
ALTER TABLE locations ADD COLUMN fingerprint TEXT COLLATE "C";
COMMENT ON COLUMN locations.fingerprint IS 'what downloads are verified by: the algorithm, a colon, the digest';
"""


def upgrade() -> None:
    """Give locations a place for it. Copies that are there have none, and are verified by os_hash_value."""
    op.execute(SCHEMA)
