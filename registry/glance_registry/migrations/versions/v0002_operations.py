"""Background operations, and the bytes that they and staging own."""

from alembic import op

revision = "0002"
down_revision = "0001"
phase = "expand"

SCHEMA = """
CREATE TABLE operations (
    id UUID NOT NULL,
    kind TEXT COLLATE "C" NOT NULL,
    image_id UUID,
    owner TEXT COLLATE "C",
    user_id TEXT COLLATE "C",
    request_id TEXT COLLATE "C",
    roles TEXT[] COLLATE "C" DEFAULT '{}' NOT NULL,
    is_admin BOOLEAN DEFAULT false NOT NULL,
    status TEXT COLLATE "C" NOT NULL,
    input JSONB DEFAULT '{}' NOT NULL,
    result JSONB,
    message TEXT DEFAULT '' NOT NULL,
    host TEXT COLLATE "C",
    token UUID,
    worker TEXT COLLATE "C",
    lease_until TIMESTAMP WITH TIME ZONE,
    deadline TIMESTAMP WITH TIME ZONE NOT NULL,
    attempts INTEGER DEFAULT '0' NOT NULL,
    on_fail TEXT COLLATE "C" NOT NULL,
    cancelled BOOLEAN DEFAULT false NOT NULL,
    ttl INTEGER NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    expires_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT pk_operations PRIMARY KEY (id),
    CONSTRAINT fk_operations_image_id FOREIGN KEY(image_id) REFERENCES images (id) ON DELETE CASCADE
);
COMMENT ON COLUMN operations.id IS 'also the id of the task';
COMMENT ON COLUMN operations.owner IS 'project of the caller, in whose name the work is done';
COMMENT ON COLUMN operations.host IS 'the only host that can do it, as its input is there';
COMMENT ON COLUMN operations.token IS 'of the worker that claimed it last';
COMMENT ON COLUMN operations.worker IS 'host of that worker';
COMMENT ON COLUMN operations.lease_until IS 'of that worker';
COMMENT ON COLUMN operations.deadline IS 'after the last sign of life of a worker or of the host';
COMMENT ON COLUMN operations.attempts IS 'how often it was claimed';
COMMENT ON COLUMN operations.on_fail IS 'image status after a failure, or delete';
COMMENT ON COLUMN operations.cancelled IS 'its image was deleted';
COMMENT ON COLUMN operations.ttl IS 'hours to show it after its end';
COMMENT ON COLUMN operations.expires_at IS 'set at its end';
CREATE INDEX ix_operations_image_id ON operations (image_id);
CREATE INDEX ix_operations_live ON operations (created_at) WHERE status IN ('pending','processing');
CREATE INDEX ix_operations_owner ON operations (owner, created_at, id);
CREATE UNIQUE INDEX uq_operations_image_id ON operations (image_id) WHERE status IN ('pending','processing');
ALTER TABLE locations
    ADD COLUMN staging BOOLEAN DEFAULT false NOT NULL,
    ADD COLUMN operation UUID;
COMMENT ON COLUMN locations.staging IS 'bytes of a staging store, never data of the image';
COMMENT ON COLUMN locations.operation IS 'the operation that may still take this copy back';
COMMENT ON COLUMN locations.deleted_at IS 'since when it is no data of the image, or is gone from the store';
CREATE INDEX ix_locations_operation ON locations (operation) WHERE operation IS NOT NULL;
"""


def upgrade() -> None:
    """Add the table of operations and what locations say about them."""
    op.execute(SCHEMA)
