-- The tables of the original service as Mitaka (Glance 12) made them, for PostgreSQL and MariaDB.
-- {time}: the type of a time without a zone. Indexes are those that reading depends on.
CREATE TABLE migrate_version (repository_id VARCHAR(250) PRIMARY KEY, repository_path TEXT, version INTEGER);
CREATE TABLE images (
    id VARCHAR(36) PRIMARY KEY, name VARCHAR(255), size BIGINT, status VARCHAR(30) NOT NULL, is_public BOOLEAN NOT NULL,
    created_at {time} NOT NULL, updated_at {time} NULL, deleted_at {time} NULL, deleted BOOLEAN NOT NULL,
    disk_format VARCHAR(20), container_format VARCHAR(20), checksum VARCHAR(32), owner VARCHAR(255),
    min_disk INTEGER NOT NULL, min_ram INTEGER NOT NULL, protected BOOLEAN NOT NULL, virtual_size BIGINT
);
CREATE TABLE image_properties (
    id INTEGER PRIMARY KEY, image_id VARCHAR(36) NOT NULL REFERENCES images (id), name VARCHAR(255) NOT NULL,
    value TEXT, created_at {time} NOT NULL, updated_at {time} NULL, deleted_at {time} NULL, deleted BOOLEAN NOT NULL,
    UNIQUE (image_id, name)
);
CREATE TABLE image_locations (
    id INTEGER PRIMARY KEY, image_id VARCHAR(36) NOT NULL REFERENCES images (id), value TEXT NOT NULL,
    created_at {time} NOT NULL, updated_at {time} NULL, deleted_at {time} NULL, deleted BOOLEAN NOT NULL,
    meta_data TEXT, status VARCHAR(30) DEFAULT 'active' NOT NULL
);
CREATE TABLE image_members (
    id INTEGER PRIMARY KEY, image_id VARCHAR(36) NOT NULL REFERENCES images (id), member VARCHAR(255) NOT NULL,
    can_share BOOLEAN NOT NULL, created_at {time} NOT NULL, updated_at {time} NULL, deleted_at {time} NULL,
    deleted BOOLEAN NOT NULL, status VARCHAR(20) DEFAULT 'pending' NOT NULL, UNIQUE (image_id, member, deleted_at)
);
CREATE TABLE image_tags (
    id INTEGER PRIMARY KEY, image_id VARCHAR(36) NOT NULL REFERENCES images (id), value VARCHAR(255) NOT NULL,
    created_at {time} NOT NULL, updated_at {time} NULL, deleted_at {time} NULL, deleted BOOLEAN NOT NULL
);
CREATE INDEX ix_image_properties_image_id ON image_properties (image_id);
CREATE INDEX ix_image_locations_image_id ON image_locations (image_id);
CREATE INDEX ix_image_members_image_id ON image_members (image_id);
CREATE INDEX ix_image_tags_image_id ON image_tags (image_id);
CREATE TABLE tasks (
    id VARCHAR(36) PRIMARY KEY, type VARCHAR(30) NOT NULL, status VARCHAR(30) NOT NULL, owner VARCHAR(255) NOT NULL,
    expires_at {time} NULL, created_at {time} NOT NULL, updated_at {time} NULL, deleted_at {time} NULL,
    deleted BOOLEAN NOT NULL
);
CREATE TABLE task_info (
    task_id VARCHAR(36) PRIMARY KEY REFERENCES tasks (id), input TEXT, result TEXT, message TEXT
);
CREATE TABLE metadef_namespaces (
    id INTEGER PRIMARY KEY, namespace VARCHAR(80) NOT NULL UNIQUE, display_name VARCHAR(80), description TEXT,
    visibility VARCHAR(32), protected BOOLEAN, owner VARCHAR(255) NOT NULL, created_at {time} NOT NULL,
    updated_at {time} NULL
);
CREATE TABLE metadef_resource_types (
    id INTEGER PRIMARY KEY, name VARCHAR(80) NOT NULL UNIQUE, protected BOOLEAN NOT NULL, created_at {time} NOT NULL,
    updated_at {time} NULL
);
CREATE TABLE metadef_namespace_resource_types (
    resource_type_id INTEGER NOT NULL REFERENCES metadef_resource_types (id),
    namespace_id INTEGER NOT NULL REFERENCES metadef_namespaces (id), properties_target VARCHAR(80), prefix VARCHAR(80),
    created_at {time} NOT NULL, updated_at {time} NULL, PRIMARY KEY (resource_type_id, namespace_id)
);
CREATE TABLE metadef_objects (
    id INTEGER PRIMARY KEY, namespace_id INTEGER NOT NULL REFERENCES metadef_namespaces (id), name VARCHAR(80) NOT NULL,
    description TEXT, required TEXT, json_schema TEXT NOT NULL, created_at {time} NOT NULL, updated_at {time} NULL
);
CREATE TABLE metadef_properties (
    id INTEGER PRIMARY KEY, namespace_id INTEGER NOT NULL REFERENCES metadef_namespaces (id), name VARCHAR(80) NOT NULL,
    json_schema TEXT NOT NULL, created_at {time} NOT NULL, updated_at {time} NULL
);
CREATE TABLE metadef_tags (
    id INTEGER PRIMARY KEY, namespace_id INTEGER NOT NULL REFERENCES metadef_namespaces (id), name VARCHAR(80) NOT NULL,
    created_at {time} NOT NULL, updated_at {time} NULL
);
INSERT INTO migrate_version VALUES ('Glance Migrations', '/usr/lib/python2.7/dist-packages/glance', 44);
