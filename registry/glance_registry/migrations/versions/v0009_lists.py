"""Lists of a million images: indexes for what few images have, fewer for the order of ids."""

from alembic import op

revision = "0009"
down_revision = "0008"
phase = "expand"

INDEXES = """
DROP INDEX ix_images_everyone_id, ix_images_public_id, ix_images_community_id;
CREATE INDEX ix_images_status ON images (status, created_at, id) WHERE listed;
CREATE INDEX ix_images_disk_format ON images (coalesce(disk_format, ''), created_at, id) WHERE listed;
CREATE INDEX ix_images_container_format ON images (coalesce(container_format, ''), created_at, id) WHERE listed;
CREATE INDEX ix_images_own_status ON images (owner, status, created_at, id) WHERE listed;
CREATE INDEX ix_images_own_disk_format ON images (owner, coalesce(disk_format, ''), created_at, id) WHERE listed;
CREATE INDEX ix_images_own_container_format
    ON images (owner, coalesce(container_format, ''), created_at, id) WHERE listed;
CREATE INDEX ix_images_hidden ON images (created_at, id) WHERE listed AND os_hidden IS true;
CREATE INDEX ix_images_checksum ON images (checksum) WHERE listed AND checksum IS NOT NULL;
CREATE INDEX ix_images_os_hash_value ON images (os_hash_value) WHERE listed AND os_hash_value IS NOT NULL;
CREATE INDEX ix_images_rarely_asked ON images (min_ram, min_disk, protected, os_hash_algo, virtual_size) WHERE listed;
CREATE INDEX ix_members_shared_with_id ON members (member, status, image_id);
"""

# PostgreSQL has no statistics on the expressions of indexes that hold a part of the rows only.
STATISTICS = """
CREATE STATISTICS st_images_name ON (coalesce(name, '')) FROM images;
CREATE STATISTICS st_images_disk_format ON (coalesce(disk_format, '')) FROM images;
CREATE STATISTICS st_images_container_format ON (coalesce(container_format, '')) FROM images;
CREATE STATISTICS st_images_size ON (coalesce(size, 0)) FROM images;
ANALYZE images;
"""


def upgrade() -> None:
    """Exchange them, and let the planner know what is in them."""
    op.execute(INDEXES)
    op.execute(STATISTICS)
