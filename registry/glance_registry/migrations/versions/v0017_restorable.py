"""Lists of the images that can be restored are walks over small indexes."""

from glance_registry.migrations import online

revision = "0017"
down_revision = "0016"
phase = "expand"

_KEPT = "WHERE status = 'pending_delete' AND delayed"


def upgrade() -> None:
    """Make them."""
    online.create_index("ix_images_own_restorable", f"images (owner, created_at, id) {_KEPT}")
    online.create_index("ix_images_restorable", f"images (created_at, id) {_KEPT}")
