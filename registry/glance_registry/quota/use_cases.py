"""What a caller can ask about usage: each function is one request, in a transaction of its own."""

import sqlalchemy as sa

from glance_common.model.limits import Limits, Usage
from glance_registry.db.session import read, run_transaction
from glance_registry.quota import usage


def of_owner(engine: sa.Engine, owner: str) -> Usage:
    """Return everything that ``owner`` uses now."""
    return read(engine, usage.of_owner, owner)


def reserve(engine: sa.Engine, attempt: str, at_least: int, at_most: int, limits: Limits | None) -> int:
    """Let an upload write more; return how many bytes in all. Raises as ``usage.reserve``."""
    return run_transaction(engine, usage.reserve, attempt, at_least, at_most, limits)
