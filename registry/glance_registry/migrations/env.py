"""Runs the migrations on the connection that ``db/schema.py`` hands over, each in a transaction of its own."""

from alembic import context

from glance_registry.db.tables import metadata

connection = context.config.attributes["connection"]
context.configure(
    connection=connection, target_metadata=metadata, transactional_ddl=True, transaction_per_migration=True
)
with context.begin_transaction():
    context.run_migrations()
