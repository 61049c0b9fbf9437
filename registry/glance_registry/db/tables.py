"""The schema, as SQLAlchemy tables. Migrations build it; a test compares the two.

Image rows carry their properties and tags, so that one row read is one image. All text keys are compared bytewise
(collation "C"): the order of a list must not depend on the host's locale. Times are ``timestamptz``, always written and
compared with the database's own clock.
"""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, DOUBLE_PRECISION, JSON, JSONB, TIMESTAMP, UUID

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "pk": "pk_%(table_name)s",
}
metadata = sa.MetaData(naming_convention=NAMING)

Text = sa.Text(collation="C")
Time = TIMESTAMP(timezone=True)
Id = UUID(as_uuid=False)
NOW = sa.text("now()")

images = sa.Table(
    "images",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("name", Text),
    sa.Column("status", Text, nullable=False),
    sa.Column("visibility", Text, nullable=False),
    sa.Column("owner", Text),
    sa.Column("disk_format", Text),
    sa.Column("container_format", Text),
    sa.Column("size", sa.BigInteger),
    sa.Column("virtual_size", sa.BigInteger),
    sa.Column("min_disk", sa.Integer, nullable=False, server_default="0"),
    sa.Column("min_ram", sa.Integer, nullable=False, server_default="0"),
    sa.Column("protected", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("os_hidden", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("checksum", Text),
    sa.Column("os_hash_algo", Text),
    sa.Column("os_hash_value", Text),
    sa.Column("properties", JSONB, nullable=False, server_default="{}"),
    sa.Column("tags", ARRAY(Text), nullable=False, server_default="{}"),
    sa.Column("created_at", Time, nullable=False, server_default=NOW),
    sa.Column("updated_at", Time, nullable=False, server_default=NOW),
    sa.Column("deleted_at", Time),
    sa.Column("status_before_delete", Text, comment="where restore goes back to"),
    sa.Column("delayed", sa.Boolean, nullable=False, server_default=sa.false(), comment="deleted with delayed_delete"),
    sa.Column("row_version", sa.BigInteger, nullable=False, server_default="1", comment="optimistic lock of updates"),
    sa.Column("create_attempt", Id, nullable=False, comment="repeating this create answers the row"),
    sa.Column(
        "listed", sa.Boolean, sa.Computed("status NOT IN ('deleted', 'pending_delete', 'killed')", persisted=True),
        nullable=False, comment="lists show the row; planning with the expression itself takes twice as long",
    ),
    sa.Column("write_attempt", Id, comment="repeating this update, delete or restore answers the row"),
)

members = sa.Table(
    "members",
    metadata,
    sa.Column("image_id", Id, sa.ForeignKey("images.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("member", Text, primary_key=True),
    sa.Column("status", Text, nullable=False, server_default="pending"),
    sa.Column("image_created_at", Time, nullable=False, comment="copy of the immutable images.created_at, for lists"),
    sa.Column("created_at", Time, nullable=False, server_default=NOW),
    sa.Column("updated_at", Time, nullable=False, server_default=NOW),
    sa.Column("attempt", Id, comment="repeating this add answers the row"),
    sa.Column("can_share", sa.Boolean, nullable=False, server_default=sa.false(),
              comment="the member may manage members too (v1)"),
)

locations = sa.Table(
    "locations",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("image_id", Id, sa.ForeignKey("images.id"), nullable=False),
    sa.Column("store", Text, nullable=False),
    sa.Column("key", Text, nullable=False),
    sa.Column("status", Text, nullable=False),
    sa.Column("size", sa.BigInteger, comment="bytes; announced while writing, counted when active"),
    sa.Column("metadata", JSONB, nullable=False, server_default="{}"),
    sa.Column("position", sa.BigInteger, sa.Identity(), nullable=False, comment="order in which locations were added"),
    sa.Column("attempt", Id, nullable=False, comment="the write that made this row"),
    sa.Column("on_fail", Text, comment="image status after a failed or dead attempt: queued, or killed for v1"),
    sa.Column("token", Id, comment="the claim that may remove the bytes"),
    sa.Column("lease_until", Time, comment="of the writer while writing, of the claim while deleting or reaping"),
    sa.Column("not_before", Time, comment="no removal before this time"),
    sa.Column("attempts", sa.Integer, nullable=False, server_default="0", comment="failed removals"),
    sa.Column("last_error", sa.Text),
    sa.Column("late_passes", sa.SmallInteger, nullable=False, server_default="0",
              comment="of a reaped key: how many more times to delete it, against a late writer"),
    sa.Column("request_id", sa.Text, comment="the request that asked for the removal, for the logs"),
    sa.Column("created_at", Time, nullable=False, server_default=NOW),
    sa.Column("deleted_at", Time, comment="since when it is no data of the image, or is gone from the store"),
    sa.Column("staging", sa.Boolean, nullable=False, server_default=sa.false(),
              comment="bytes of a staging store, never data of the image"),
    sa.Column("operation", Id, comment="the operation that may still take this copy back"),
    sa.Column("external", sa.Boolean, nullable=False, server_default=sa.false(),
              comment="the bytes are not ours: nothing deletes them, and several images may point at them"),
    sa.Column("fingerprint", Text, comment="what downloads are verified by: the algorithm, a colon, the digest"),
    sa.Column("verified_at", Time, comment="when the bytes were last read in the store and found right"),
    sa.Column("quarantined_at", Time),
    sa.Column("quarantine_reason", sa.Text, comment="set while quarantined, and kept by a delete for its restore"),
    sa.Column("replaces", Id, comment="the quarantined location that this one was written to replace"),
)

operations = sa.Table(
    "operations",
    metadata,
    sa.Column("id", Id, primary_key=True, comment="also the id of the task"),
    sa.Column("kind", Text, nullable=False),
    sa.Column("image_id", Id, sa.ForeignKey("images.id", ondelete="CASCADE")),
    sa.Column("owner", Text, comment="project of the caller, in whose name the work is done"),
    sa.Column("user_id", Text),
    sa.Column("request_id", Text),
    sa.Column("roles", ARRAY(Text), nullable=False, server_default="{}"),
    sa.Column("is_admin", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("status", Text, nullable=False),
    sa.Column("input", JSONB, nullable=False, server_default="{}"),
    sa.Column("signature", JSONB(none_as_null=True), comment="what the data of a signed image are verified with"),
    sa.Column("result", JSONB),
    sa.Column("message", sa.Text, nullable=False, server_default=""),
    sa.Column("host", Text, comment="the only host that can do it, as its input is there"),
    sa.Column("token", Id, comment="of the worker that claimed it last"),
    sa.Column("worker", Text, comment="host of that worker"),
    sa.Column("lease_until", Time, comment="of that worker"),
    sa.Column("deadline", Time, nullable=False, comment="after the last sign of life of a worker or of the host"),
    sa.Column("patience", sa.Double, nullable=False, server_default=sa.text("7200"),
              comment="seconds without a sign of life after which it is given up"),
    sa.Column("attempts", sa.Integer, nullable=False, server_default="0", comment="how often it was claimed"),
    sa.Column("on_fail", Text, nullable=False, comment="image status after a failure, or delete"),
    sa.Column("cancelled", sa.Boolean, nullable=False, server_default=sa.false(), comment="its image was deleted"),
    sa.Column("ttl", sa.Integer, nullable=False, comment="hours to show it after its end"),
    sa.Column("created_at", Time, nullable=False, server_default=NOW),
    sa.Column("updated_at", Time, nullable=False, server_default=NOW),
    sa.Column("expires_at", Time, comment="set at its end"),
    sa.Column("written", JSONB, nullable=False, server_default="{}",
              comment="field or property of the image: value before, value that the worker wrote"),
)

store_identities = sa.Table(
    "store_identities",
    metadata,
    sa.Column("store", Text, primary_key=True),
    sa.Column("place", Text, primary_key=True, comment="a directory of a file store"),
    sa.Column("identity", Id, nullable=False, comment="the uuid in the sentinel file of that place"),
    sa.Column("created_at", Time, nullable=False, server_default=NOW),
)

store_runs = sa.Table(
    "store_runs",
    metadata,
    sa.Column("kind", Text, primary_key=True, comment="verify or reconcile"),
    sa.Column("store", Text, primary_key=True),
    sa.Column("cursor", Text, comment="the key up to which an unfinished run has come"),
    sa.Column("token", Id, comment="of the process that runs it, or ran it last"),
    sa.Column("lease_until", Time, comment="of that process"),
    sa.Column("started_at", Time),
    sa.Column("finished_at", Time, comment="when a run last came to its end"),
)

orphans = sa.Table(
    "orphans",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("store", Text, nullable=False),
    sa.Column("key", Text, nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("found_at", Time, nullable=False, server_default=NOW),
    sa.Column("token", Id, comment="the claim that may remove the bytes"),
    sa.Column("lease_until", Time, comment="of the claim"),
    sa.Index("uq_orphans_key", "store", "key", unique=True),
)

cached_copies = sa.Table(
    "cached_copies",
    metadata,
    sa.Column(
        "node", Text, primary_key=True, comment="worker_self_reference_url of the node whose cache has the copy"
    ),
    sa.Column("image_id", Id, primary_key=True),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("modified", DOUBLE_PRECISION, nullable=False, comment="seconds of the epoch, by the clock of the node"),
    sa.Column(
        "verified", sa.BigInteger, nullable=False,
        comment="last change (ns) of the file whose data were found right, 0 = never",
    ),
    sa.Column("hits", sa.BigInteger, nullable=False),
    sa.Column(
        "accessed", DOUBLE_PRECISION, nullable=False,
        comment="seconds of the epoch, by the clock of the node; 0 until the first hit",
    ),
    sa.Column("checksum", Text),
    sa.Index("ix_cached_copies_image_id", "image_id"),
)

# A key is taken while bytes may be under it, and stays taken after a reaped attempt until the late passes are over. So
# no two images ever own the same bytes; what is not ours may be pointed at by many.
sa.Index(
    "uq_locations_key", locations.c.store, locations.c.key, unique=True,
    postgresql_where=sa.text("(status <> 'deleted' OR late_passes > 0) AND NOT external"),
)
sa.Index("uq_locations_attempt", locations.c.attempt, unique=True)
sa.Index("ix_locations_image_id", locations.c.image_id)
# What a sweep looks for: everything that is not at rest.
sa.Index(
    "ix_locations_due", sa.func.coalesce(locations.c.not_before, locations.c.lease_until),
    postgresql_where=sa.text("status IN ('writing','pending_delete','deleting','reaping') OR late_passes > 0"),
)
sa.Index("ix_locations_operation", locations.c.operation, postgresql_where=sa.text("operation IS NOT NULL"))
# The purge of deleted rows.
sa.Index("ix_images_deleted_at", images.c.deleted_at, postgresql_where=sa.text("status = 'deleted'"))
sa.Index("ix_locations_deleted_at", locations.c.deleted_at, postgresql_where=sa.text("status = 'deleted'"))
sa.Index("ix_locations_failed", locations.c.image_id, postgresql_where=sa.text("status = 'failed'"))
sa.Index("ix_locations_quarantined", locations.c.id, postgresql_where=sa.text("status = 'quarantined'"))

# The import lock: an image has one live operation.
sa.Index(
    "uq_operations_image_id", operations.c.image_id, unique=True,
    postgresql_where=sa.text("status IN ('pending','processing')"),
)
sa.Index(
    "ix_operations_live", operations.c.created_at, postgresql_where=sa.text("status IN ('pending','processing')")
)
sa.Index("ix_operations_image_id", operations.c.image_id)
sa.Index("ix_operations_owner", operations.c.owner, operations.c.created_at, operations.c.id)
sa.Index("ix_operations_expires_at", operations.c.expires_at, postgresql_where=operations.c.expires_at.isnot(None))

# What an owner uses (usage.py): the many rows at rest without a look at the rows themselves, and the few under way.
sa.Index(
    "ix_locations_active_size", locations.c.image_id, postgresql_include=["size"],
    postgresql_where=sa.text("status = 'active'"),
)
sa.Index(
    "ix_locations_unfinished", locations.c.image_id,
    postgresql_where=sa.text("on_fail IS NOT NULL AND status IN ('writing','pending_delete','deleting','reaping')"),
)
sa.Index("ix_locations_staged", locations.c.image_id, postgresql_where=sa.text("status = 'staged'"))
sa.Index(
    "ix_images_in_transfer", images.c.owner,
    postgresql_where=sa.text("status IN ('saving','uploading','importing')"),
)
sa.Index(
    "ix_images_copying", images.c.owner,
    postgresql_where=sa.text("status = 'active' AND properties ->> 'os_glance_importing_to_stores' <> ''"),
)

# Lists. Each index serves one arm of a list (visibility.py) in one order, so that a page costs the same at any depth.
# Nulls sort as the empty text and as 0, in index and marker alike, hence the coalesce.
_ARMS = {
    "everyone": ((), "listed AND visibility <> 'community'"),
    "public": ((), "listed AND visibility = 'public'"),
    "community": ((), "listed AND visibility = 'community'"),
    "own": ((images.c.owner,), "listed"),
}
_ORDERS: dict[str, tuple[sa.ColumnElement[object], ...]] = {
    "created_at": (images.c.created_at, images.c.id),
    "updated_at": (images.c.updated_at, images.c.created_at, images.c.id),
    "name": (sa.func.coalesce(images.c.name, sa.literal_column("''")), images.c.created_at, images.c.id),
    "size": (sa.func.coalesce(images.c.size, sa.literal_column("0")), images.c.created_at, images.c.id),
}
for _arm, (_prefix, _clause) in _ARMS.items():
    for _key, _columns in _ORDERS.items():
        sa.Index(f"ix_images_{_arm}_{_key}", *_prefix, *_columns, postgresql_where=sa.text(_clause))
# What has few values is ordered and found by one index for all images: of the rows it gives, most belong to the arm, or
# the arm is so small that sorting it is cheap. Lists in the order of ids walk the primary key in the same way. Only the
# planner cannot know how few images a project owns, so that these have indexes of their own in every order.
_OF_FEW_VALUES = {
    "status": (images.c.status,),
    "disk_format": (sa.func.coalesce(images.c.disk_format, sa.literal_column("''")),),
    "container_format": (sa.func.coalesce(images.c.container_format, sa.literal_column("''")),),
}
for _key, _columns in _OF_FEW_VALUES.items():
    _columns = (*_columns, images.c.created_at, images.c.id)
    sa.Index(f"ix_images_{_key}", *_columns, postgresql_where=sa.text("listed"))
    sa.Index(f"ix_images_own_{_key}", images.c.owner, *_columns, postgresql_where=sa.text("listed"))
sa.Index("ix_images_own_id", images.c.owner, images.c.id, postgresql_where=sa.text("listed"))
sa.Index("ix_images_hidden", images.c.created_at, images.c.id, postgresql_where=sa.text("listed AND os_hidden IS true"))
for _key in ("checksum", "os_hash_value"):
    sa.Index(f"ix_images_{_key}", images.c[_key], postgresql_where=sa.text(f"listed AND {_key} IS NOT NULL"))
# What was deleted with a delay, for owners and administrators who look for an image to restore.
for _name, _columns in {"own_": (images.c.owner,), "": ()}.items():
    sa.Index(
        f"ix_images_{_name}restorable", *_columns, images.c.created_at, images.c.id,
        postgresql_where=sa.text("status = 'pending_delete' AND delayed"),
    )
# One index for what is rarely asked for: whichever column it is, reading the index is a tenth of reading the table.
sa.Index(
    "ix_images_rarely_asked", images.c.min_ram, images.c.min_disk, images.c.protected, images.c.os_hash_algo,
    images.c.virtual_size, postgresql_where=sa.text("listed"),
)
# An administrator's list has of the community images only the few of his own project.
sa.Index(
    "ix_images_own_community", images.c.owner, images.c.created_at, images.c.id,
    postgresql_where=sa.text("listed AND visibility = 'community'"),
)
sa.Index(
    "ix_images_properties", images.c.properties, postgresql_using="gin",
    postgresql_ops={"properties": "jsonb_path_ops"}, postgresql_where=sa.text("listed"),
)
sa.Index("ix_images_tags", images.c.tags, postgresql_using="gin", postgresql_where=sa.text("listed"))
# The images shared with a project, newest first, without looking at a single image row that is not on the page.
sa.Index(
    "ix_members_shared_with", members.c.member, members.c.status, members.c.image_created_at, members.c.image_id,
)
# In the order of ids the planner would else walk the primary key, for however little is shared with the project.
sa.Index("ix_members_shared_with_id", members.c.member, members.c.status, members.c.image_id)

# The catalogue of metadata definitions. Ids give the order in which rows were made. What is in a namespace has the same
# columns in every kind, and its own besides, so that one set of functions serves them all.
metadef_namespaces = sa.Table(
    "metadef_namespaces",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
    sa.Column("namespace", Text, nullable=False),
    sa.Column("display_name", Text),
    sa.Column("description", Text),
    sa.Column("visibility", Text, nullable=False),
    sa.Column("protected", sa.Boolean, nullable=False),
    sa.Column("owner", Text),
    sa.Column("created_at", Time, nullable=False, server_default=NOW),
    sa.Column("updated_at", Time, nullable=False, server_default=NOW),
)

metadef_resource_types = sa.Table(
    "metadef_resource_types",
    metadata,
    sa.Column("name", Text, primary_key=True),
    sa.Column("created_at", Time, nullable=False, server_default=NOW),
    sa.Column("updated_at", Time, nullable=False, server_default=NOW),
)


def _content(table: str, *columns: sa.Column[object], name: sa.ForeignKey | None = None) -> sa.Table:
    return sa.Table(
        table,
        metadata,
        sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
        sa.Column(
            "namespace_id", sa.BigInteger, sa.ForeignKey("metadef_namespaces.id", ondelete="CASCADE"), nullable=False
        ),
        sa.Column("name", Text, *([name] if name is not None else []), nullable=False),
        *columns,
        sa.Column("created_at", Time, nullable=False, server_default=NOW),
        sa.Column("updated_at", Time, nullable=False, server_default=NOW),
        sa.Index(f"uq_{table}_namespace_id_name", "namespace_id", "name", unique=True),
    )


metadef_properties = _content(
    "metadef_properties",
    sa.Column("definition", JSON, nullable=False, comment="not jsonb: its keys are shown in the order they came in"),
)
metadef_objects = _content(
    "metadef_objects",
    sa.Column("description", Text),
    sa.Column("required", ARRAY(Text)),
    sa.Column("properties", JSON, nullable=False),
)
metadef_tags = _content("metadef_tags")
metadef_namespace_resource_types = _content(
    "metadef_namespace_resource_types",
    sa.Column("prefix", Text),
    sa.Column("properties_target", Text),
    name=sa.ForeignKey("metadef_resource_types.name"),
)

metadef_writes = sa.Table(
    "metadef_writes",
    metadata,
    sa.Column("attempt", Id, primary_key=True),
    sa.Column("answer", sa.Text, nullable=False, server_default="", comment="what repeating the write is answered"),
    sa.Column("made_at", Time, nullable=False, server_default=NOW),
)

sa.Index("uq_metadef_namespaces_namespace", metadef_namespaces.c.namespace, unique=True)
sa.Index("ix_metadef_namespaces_created_at", metadef_namespaces.c.created_at, metadef_namespaces.c.id)
sa.Index("ix_metadef_namespace_resource_types_name", metadef_namespace_resource_types.c.name)
sa.Index("ix_metadef_writes_made_at", metadef_writes.c.made_at)
