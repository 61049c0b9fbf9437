"""The purge of finished operations finds those whose time is over by an index."""

from alembic import op

revision = "0011"
down_revision = "0010"
phase = "expand"


def upgrade() -> None:
    """Make the index."""
    op.execute("CREATE INDEX ix_operations_expires_at ON operations (expires_at) WHERE expires_at IS NOT NULL")
