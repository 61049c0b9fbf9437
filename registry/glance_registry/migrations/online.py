"""Changes of the schema that hold up no request."""

from alembic import op


def create_index(name: str, definition: str) -> None:
    """Make an index while rows are written; ``definition`` is what follows ``ON``.

    It is the last thing that a revision does, as it ends the transaction. A try that was broken off leaves an index
    that nothing uses, hence the DROP.
    """
    with op.get_context().autocommit_block():
        # It waits for transactions that are older, and nothing waits for it.
        op.execute("SET lock_timeout = 0")
        try:
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
            op.execute(f"CREATE INDEX CONCURRENTLY {name} ON {definition}")
        finally:
            op.execute("RESET lock_timeout")
