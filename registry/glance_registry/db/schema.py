"""The schema of a database: which revision it has, and bringing it to a newer one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import exc, text

from glance_common.model.errors import BadRequest
from glance_registry.db.errors import translate
from glance_registry.db.session import EngineSettings, make_engine, read

if TYPE_CHECKING:
    from alembic.config import Config

# Alembic is imported where it works: it is slow to import, and most commands of glance-manage do not touch the schema.

# Building an index on a large table takes longer than any request may.
_PATIENT = EngineSettings(pool_size=1, statement_timeout=0, lock_timeout=60, idle_timeout=0,
                          application_name="glance-manage")


def newest() -> str:
    """Return the revision that this code needs."""
    from alembic.script import ScriptDirectory

    head = ScriptDirectory.from_config(_config()).get_current_head()
    assert head is not None, "the package has migrations"
    return head


def version(url: str) -> str | None:
    """Return the revision of the database at ``url``, None for an empty one. Raises Unavailable."""
    from alembic.runtime.migration import MigrationContext

    engine = make_engine(url, _PATIENT)
    try:
        return read(engine, lambda connection: MigrationContext.configure(connection).get_current_revision())
    finally:
        engine.dispose()


def upgrade(url: str, revision: str = "head") -> None:
    """Bring the database at ``url`` to ``revision``; what is there already stays.

    Raises Unavailable, and BadRequest for a revision that this code does not know, wanted or found.

    Safe to run on several hosts at once: one works, the others wait and find nothing left to do.
    """
    from alembic import command
    from alembic.util import CommandError

    engine = make_engine(url, _PATIENT)
    try:
        with engine.begin() as connection:
            connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('glance schema'))"))
            config = _config()
            config.attributes["connection"] = connection
            command.upgrade(config, revision)
    except exc.SQLAlchemyError as error:
        raise translate(error) from error
    except CommandError as error:
        raise BadRequest(f"the schema cannot be brought to revision {revision}: {error}") from None
    finally:
        engine.dispose()


def _config() -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "glance_registry:migrations")
    config.set_main_option("path_separator", "os")
    return config
