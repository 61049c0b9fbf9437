"""How long an operation waits for a sign of life."""

from alembic import op

revision = "0006"
down_revision = "0005"
phase = "expand"

SCHEMA = """
ALTER TABLE operations ADD COLUMN patience DOUBLE PRECISION DEFAULT 7200 NOT NULL;
COMMENT ON COLUMN operations.patience IS 'seconds without a sign of life after which it is given up';
"""


def upgrade() -> None:
    """Give each operation its own."""
    op.execute(SCHEMA)
