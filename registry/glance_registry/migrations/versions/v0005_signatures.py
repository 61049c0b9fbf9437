"""What the data of an operation on a signed image are verified with."""

from alembic import op

revision = "0005"
down_revision = "0004"
phase = "expand"

SCHEMA = """
ALTER TABLE operations ADD COLUMN signature JSONB;
COMMENT ON COLUMN operations.signature IS 'what the data of a signed image are verified with';
"""


def upgrade() -> None:
    """Give operations a place for it."""
    op.execute(SCHEMA)
