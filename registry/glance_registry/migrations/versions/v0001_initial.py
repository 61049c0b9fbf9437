"""The first schema: images, members, locations, and what is known of stores."""

from alembic import op

revision = "0001"
down_revision = None
phase = "expand"

SCHEMA = """
CREATE TABLE images (
    id UUID NOT NULL,
    name TEXT COLLATE "C",
    status TEXT COLLATE "C" NOT NULL,
    visibility TEXT COLLATE "C" NOT NULL,
    owner TEXT COLLATE "C",
    disk_format TEXT COLLATE "C",
    container_format TEXT COLLATE "C",
    size BIGINT,
    virtual_size BIGINT,
    min_disk INTEGER DEFAULT '0' NOT NULL,
    min_ram INTEGER DEFAULT '0' NOT NULL,
    protected BOOLEAN DEFAULT false NOT NULL,
    os_hidden BOOLEAN DEFAULT false NOT NULL,
    checksum TEXT COLLATE "C",
    os_hash_algo TEXT COLLATE "C",
    os_hash_value TEXT COLLATE "C",
    properties JSONB DEFAULT '{}' NOT NULL,
    tags TEXT[] COLLATE "C" DEFAULT '{}' NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    deleted_at TIMESTAMP WITH TIME ZONE,
    status_before_delete TEXT COLLATE "C",
    delayed BOOLEAN DEFAULT false NOT NULL,
    row_version BIGINT DEFAULT '1' NOT NULL,
    create_attempt UUID NOT NULL,
    listed BOOLEAN GENERATED ALWAYS AS (status NOT IN ('deleted', 'pending_delete', 'killed')) STORED NOT NULL,
    write_attempt UUID,
    CONSTRAINT pk_images PRIMARY KEY (id)
);
COMMENT ON COLUMN images.status_before_delete IS 'where restore goes back to';
COMMENT ON COLUMN images.delayed IS 'deleted with delayed_delete';
COMMENT ON COLUMN images.row_version IS 'optimistic lock of updates';
COMMENT ON COLUMN images.create_attempt IS 'repeating this create answers the row';
COMMENT ON COLUMN images.listed IS 'lists show the row; planning with the expression itself takes twice as long';
COMMENT ON COLUMN images.write_attempt IS 'repeating this update, delete or restore answers the row';
CREATE INDEX ix_images_community_created_at ON images (created_at, id) WHERE listed AND visibility = 'community';
CREATE INDEX ix_images_community_id ON images (id) WHERE listed AND visibility = 'community';
CREATE INDEX ix_images_community_name
    ON images (coalesce(name, ''), created_at, id) WHERE listed AND visibility = 'community';
CREATE INDEX ix_images_community_size
    ON images (coalesce(size, 0), created_at, id) WHERE listed AND visibility = 'community';
CREATE INDEX ix_images_community_updated_at
    ON images (updated_at, created_at, id) WHERE listed AND visibility = 'community';
CREATE INDEX ix_images_everyone_created_at ON images (created_at, id) WHERE listed AND visibility <> 'community';
CREATE INDEX ix_images_everyone_id ON images (id) WHERE listed AND visibility <> 'community';
CREATE INDEX ix_images_everyone_name
    ON images (coalesce(name, ''), created_at, id) WHERE listed AND visibility <> 'community';
CREATE INDEX ix_images_everyone_size
    ON images (coalesce(size, 0), created_at, id) WHERE listed AND visibility <> 'community';
CREATE INDEX ix_images_everyone_updated_at
    ON images (updated_at, created_at, id) WHERE listed AND visibility <> 'community';
CREATE INDEX ix_images_own_community ON images (owner, created_at, id) WHERE listed AND visibility = 'community';
CREATE INDEX ix_images_own_created_at ON images (owner, created_at, id) WHERE listed;
CREATE INDEX ix_images_own_id ON images (owner, id) WHERE listed;
CREATE INDEX ix_images_own_name ON images (owner, coalesce(name, ''), created_at, id) WHERE listed;
CREATE INDEX ix_images_own_size ON images (owner, coalesce(size, 0), created_at, id) WHERE listed;
CREATE INDEX ix_images_own_updated_at ON images (owner, updated_at, created_at, id) WHERE listed;
CREATE INDEX ix_images_properties ON images USING gin (properties jsonb_path_ops) WHERE listed;
CREATE INDEX ix_images_public_created_at ON images (created_at, id) WHERE listed AND visibility = 'public';
CREATE INDEX ix_images_public_id ON images (id) WHERE listed AND visibility = 'public';
CREATE INDEX ix_images_public_name
    ON images (coalesce(name, ''), created_at, id) WHERE listed AND visibility = 'public';
CREATE INDEX ix_images_public_size
    ON images (coalesce(size, 0), created_at, id) WHERE listed AND visibility = 'public';
CREATE INDEX ix_images_public_updated_at
    ON images (updated_at, created_at, id) WHERE listed AND visibility = 'public';
CREATE INDEX ix_images_tags ON images USING gin (tags) WHERE listed;
CREATE TABLE store_identities (
    store TEXT COLLATE "C" NOT NULL,
    place TEXT COLLATE "C" NOT NULL,
    identity UUID NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_store_identities PRIMARY KEY (store, place)
);
COMMENT ON COLUMN store_identities.place IS 'a directory of a file store';
COMMENT ON COLUMN store_identities.identity IS 'the uuid in the sentinel file of that place';
CREATE TABLE locations (
    id UUID NOT NULL,
    image_id UUID NOT NULL,
    store TEXT COLLATE "C" NOT NULL,
    key TEXT COLLATE "C" NOT NULL,
    status TEXT COLLATE "C" NOT NULL,
    size BIGINT,
    metadata JSONB DEFAULT '{}' NOT NULL,
    position BIGINT GENERATED BY DEFAULT AS IDENTITY,
    attempt UUID NOT NULL,
    on_fail TEXT COLLATE "C",
    token UUID,
    lease_until TIMESTAMP WITH TIME ZONE,
    not_before TIMESTAMP WITH TIME ZONE,
    attempts INTEGER DEFAULT '0' NOT NULL,
    last_error TEXT,
    late_passes SMALLINT DEFAULT '0' NOT NULL,
    request_id TEXT,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    deleted_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT pk_locations PRIMARY KEY (id),
    CONSTRAINT fk_locations_image_id FOREIGN KEY(image_id) REFERENCES images (id)
);
COMMENT ON COLUMN locations.size IS 'bytes; announced while writing, counted when active';
COMMENT ON COLUMN locations.position IS 'order in which locations were added';
COMMENT ON COLUMN locations.attempt IS 'the write that made this row';
COMMENT ON COLUMN locations.on_fail IS 'image status after a failed or dead attempt: queued, or killed for v1';
COMMENT ON COLUMN locations.token IS 'the claim that may remove the bytes';
COMMENT ON COLUMN locations.lease_until IS 'of the writer while writing, of the claim while deleting or reaping';
COMMENT ON COLUMN locations.not_before IS 'no removal before this time';
COMMENT ON COLUMN locations.attempts IS 'failed removals';
COMMENT ON COLUMN locations.late_passes IS 'of a reaped key: how many more times to delete it, against a late writer';
COMMENT ON COLUMN locations.request_id IS 'the request that asked for the removal, for the logs';
CREATE INDEX ix_locations_due
    ON locations (coalesce(not_before, lease_until))
    WHERE status IN ('writing','pending_delete','deleting','reaping') OR late_passes > 0;
CREATE INDEX ix_locations_failed ON locations (image_id) WHERE status = 'failed';
CREATE INDEX ix_locations_image_id ON locations (image_id);
CREATE UNIQUE INDEX uq_locations_attempt ON locations (attempt);
CREATE UNIQUE INDEX uq_locations_key ON locations (store, key) WHERE status <> 'deleted' OR late_passes > 0;
CREATE TABLE members (
    image_id UUID NOT NULL,
    member TEXT COLLATE "C" NOT NULL,
    status TEXT COLLATE "C" DEFAULT 'pending' NOT NULL,
    image_created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    attempt UUID,
    CONSTRAINT pk_members PRIMARY KEY (image_id, member),
    CONSTRAINT fk_members_image_id FOREIGN KEY(image_id) REFERENCES images (id) ON DELETE CASCADE
);
COMMENT ON COLUMN members.image_created_at IS 'copy of the immutable images.created_at, for lists';
COMMENT ON COLUMN members.attempt IS 'repeating this add answers the row';
CREATE INDEX ix_members_shared_with ON members (member, status, image_created_at, image_id);
"""

# Statements are planned once for all projects. Counting real owners, of which a small cloud has three, PostgreSQL would
# take a third of all images for everybody's own and read them all on behalf of a project that has none. One in a
# hundred keeps it on the index of the project, which suits large and small ones.
PLANNING = """
ALTER TABLE images ALTER COLUMN owner SET (n_distinct = 100);
ALTER TABLE members ALTER COLUMN member SET (n_distinct = 100);
"""


def upgrade() -> None:
    """Create everything in an empty database."""
    op.execute(SCHEMA)
    op.execute(PLANNING)
