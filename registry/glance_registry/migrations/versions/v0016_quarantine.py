"""When data were verified, what is in quarantine, and how far the runs over each store have come."""

from alembic import op

from glance_registry.migrations import online

revision = "0016"
down_revision = "0015"
phase = "expand"

SCHEMA = """
ALTER TABLE locations
    ADD COLUMN IF NOT EXISTS verified_at TIMESTAMP WITH TIME ZONE,
    ADD COLUMN IF NOT EXISTS quarantined_at TIMESTAMP WITH TIME ZONE,
    ADD COLUMN IF NOT EXISTS quarantine_reason TEXT,
    ADD COLUMN IF NOT EXISTS replaces UUID;
COMMENT ON COLUMN locations.verified_at IS 'when the bytes were last read in the store and found right';
COMMENT ON COLUMN locations.quarantine_reason IS 'set while quarantined, and kept by a delete for its restore';
COMMENT ON COLUMN locations.replaces IS 'the quarantined location that this one was written to replace';
CREATE TABLE IF NOT EXISTS store_runs (
    kind TEXT COLLATE "C" NOT NULL, store TEXT COLLATE "C" NOT NULL, cursor TEXT COLLATE "C", token UUID,
    lease_until TIMESTAMP WITH TIME ZONE, started_at TIMESTAMP WITH TIME ZONE, finished_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT pk_store_runs PRIMARY KEY (kind, store)
);
COMMENT ON COLUMN store_runs.kind IS 'verify or reconcile';
COMMENT ON COLUMN store_runs.cursor IS 'the key up to which an unfinished run has come';
COMMENT ON COLUMN store_runs.token IS 'of the process that runs it, or ran it last';
COMMENT ON COLUMN store_runs.lease_until IS 'of that process';
COMMENT ON COLUMN store_runs.finished_at IS 'when a run last came to its end';
CREATE TABLE IF NOT EXISTS orphans (
    id UUID NOT NULL, store TEXT COLLATE "C" NOT NULL, key TEXT COLLATE "C" NOT NULL, size BIGINT NOT NULL,
    found_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL, token UUID, lease_until TIMESTAMP WITH TIME ZONE,
    CONSTRAINT pk_orphans PRIMARY KEY (id)
);
COMMENT ON COLUMN orphans.token IS 'the claim that may remove the bytes';
COMMENT ON COLUMN orphans.lease_until IS 'of the claim';
CREATE UNIQUE INDEX IF NOT EXISTS uq_orphans_key ON orphans (store, key);
"""


def upgrade() -> None:
    """Add the columns and the tables."""
    op.execute(SCHEMA)
    online.create_index("ix_locations_quarantined", "locations (id) WHERE status = 'quarantined'")
