"""Members that may share an image further, as v1 knows them."""

from alembic import op

revision = "0007"
down_revision = "0006"
phase = "expand"

SCHEMA = """
ALTER TABLE members ADD COLUMN can_share BOOLEAN NOT NULL DEFAULT false;
COMMENT ON COLUMN members.can_share IS 'the member may manage members too (v1)';
"""


def upgrade() -> None:
    """Give memberships this right; no member has it until it is given."""
    op.execute(SCHEMA)
