"""Indexes for what an owner uses."""

from alembic import op

revision = "0004"
down_revision = "0003"
phase = "expand"

INDEXES = """
CREATE INDEX ix_locations_active_size ON locations (image_id) INCLUDE (size) WHERE status = 'active';
CREATE INDEX ix_locations_unfinished
    ON locations (image_id)
    WHERE on_fail IS NOT NULL AND status IN ('writing','pending_delete','deleting','reaping');
CREATE INDEX ix_locations_staged ON locations (image_id) WHERE status = 'staged';
CREATE INDEX ix_images_in_transfer ON images (owner) WHERE status IN ('saving','uploading','importing');
CREATE INDEX ix_images_copying
    ON images (owner) WHERE status = 'active' AND properties ->> 'os_glance_importing_to_stores' <> '';
"""


def upgrade() -> None:
    """Add them."""
    op.execute(INDEXES)
