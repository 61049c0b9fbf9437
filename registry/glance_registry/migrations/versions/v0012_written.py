"""What workers wrote to images, so that a failed operation can take it back."""

from alembic import op

revision = "0012"
down_revision = "0011"
phase = "expand"

SCHEMA = """
ALTER TABLE operations ADD COLUMN written JSONB DEFAULT '{}' NOT NULL;
COMMENT ON COLUMN operations.written IS 'field or property of the image: value before, value that the worker wrote';
"""


def upgrade() -> None:
    """Give operations a place for it."""
    op.execute(SCHEMA)
