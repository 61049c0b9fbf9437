"""Writes that may be repeated: the answer to an attempt is kept for a while and given again.

The row is written in the transaction of the write itself, so it is there exactly when the write happened.
"""

from collections.abc import Callable

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from glance_registry.db.tables import metadef_writes as writes

KEPT = sa.text("interval '10 minutes'")
"""Far longer than any caller repeats itself."""


def once(connection: sa.Connection, attempt: str, work: Callable[[sa.Connection], str]) -> str:
    """Return the answer of ``work(connection)``, done now or by an earlier call with the same attempt."""
    _forget_old(connection)
    statement = insert(writes).values(attempt=attempt).on_conflict_do_nothing()
    if connection.execute(statement).rowcount != 1:
        return str(connection.execute(sa.select(writes.c.answer).where(writes.c.attempt == attempt)).scalar_one())
    answer = work(connection)
    connection.execute(sa.update(writes).where(writes.c.attempt == attempt).values(answer=answer))
    return answer


def _forget_old(connection: sa.Connection) -> None:
    # Rows that another transaction is removing are skipped, so that the two do not wait for each other.
    old = sa.select(writes.c.attempt).where(writes.c.made_at < sa.func.now() - KEPT).with_for_update(skip_locked=True)
    connection.execute(sa.delete(writes).where(writes.c.attempt.in_(old)))
