"""The purge of deleted rows finds those that are old enough by indexes."""

from glance_registry.migrations import online

revision = "0015"
down_revision = "0014"
phase = "expand"


def upgrade() -> None:
    """Make them."""
    online.create_index("ix_images_deleted_at", "images (deleted_at) WHERE status = 'deleted'")
    online.create_index("ix_locations_deleted_at", "locations (deleted_at) WHERE status = 'deleted'")
