"""${message}"""

from alembic import op

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
phase = "expand"  # or "migrate", with a function batch, or "contract": see db/schema.py


def upgrade() -> None:
    """Say what changes."""
