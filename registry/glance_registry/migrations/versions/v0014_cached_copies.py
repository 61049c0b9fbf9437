"""Which nodes have copies of which images in their caches."""

from alembic import op

revision = "0014"
down_revision = "0013"
phase = "expand"

SCHEMA = """
CREATE TABLE cached_copies (
    node TEXT COLLATE "C" NOT NULL, image_id UUID NOT NULL, size BIGINT NOT NULL, modified DOUBLE PRECISION NOT NULL,
    verified BIGINT NOT NULL, hits BIGINT NOT NULL, accessed DOUBLE PRECISION NOT NULL, checksum TEXT COLLATE "C",
    CONSTRAINT pk_cached_copies PRIMARY KEY (node, image_id)
);
CREATE INDEX ix_cached_copies_image_id ON cached_copies (image_id);
COMMENT ON COLUMN cached_copies.node IS 'worker_self_reference_url of the node whose cache has the copy';
COMMENT ON COLUMN cached_copies.modified IS 'seconds of the epoch, by the clock of the node';
COMMENT ON COLUMN cached_copies.verified IS 'last change (ns) of the file whose data were found right, 0 = never';
COMMENT ON COLUMN cached_copies.accessed IS 'seconds of the epoch, by the clock of the node; 0 until the first hit';
"""


def upgrade() -> None:
    """Make the table."""
    op.execute(SCHEMA)
