"""From options to the running registry: the one place that makes the engine."""

import sqlalchemy as sa
from flask import Flask
from oslo_config import cfg

from glance_common import profiling
from glance_common.config import ConfigError, read_secrets
from glance_common.context import ContextSigner
from glance_common.errors import Unavailable
from glance_common.server import AppFactory, ServerState
from glance_registry.app import create_app
from glance_registry.db.session import EngineSettings, make_engine, reading

SPARE_CONNECTIONS = 3
"""Connections that PostgreSQL keeps for administrators by default."""


def app_factory(conf: cfg.ConfigOpts) -> AppFactory:
    """Return the function that builds the application in each worker process. Raises ConfigError."""
    secrets = read_secrets(conf.registry.context_secret_file)
    url = database_url(conf)
    settings = engine_settings(conf)
    profiling.layer(conf, "registry")

    def make(state: ServerState) -> Flask:
        engine = make_engine(url, settings)
        state.at_stop(engine.dispose)
        app = create_app(engine, ContextSigner(secrets))
        app.wsgi_app = profiling.layer(conf, "registry")(app.wsgi_app)  # type: ignore[method-assign]  # as Flask documents it
        return app

    return make


def database_url(conf: cfg.ConfigOpts) -> str:
    """Return ``[database] connection``; raise ConfigError when it is not the URL of a PostgreSQL database."""
    url = conf.database.connection
    try:
        backend = sa.make_url(url or "").get_backend_name()
    except sa.exc.ArgumentError:
        backend = ""
    if backend not in ("postgresql", "postgres"):
        raise ConfigError("database", "connection", "***", "must be postgresql://user:password@host/database")
    return str(url)


def engine_settings(conf: cfg.ConfigOpts) -> EngineSettings:
    """Return how this process talks to the database."""
    return EngineSettings(
        pool_size=conf.threads,
        statement_timeout=conf.database.statement_timeout,
        lock_timeout=conf.database.lock_timeout,
    )


def check_capacity(conf: cfg.ConfigOpts) -> None:
    """Raise ConfigError when all threads together could ask for more connections than the database gives.

    A database that does not answer yet is no reason not to start.
    """
    wanted = max(conf.workers, 1) * conf.threads
    engine = make_engine(database_url(conf), engine_settings(conf))
    try:
        with reading(engine) as connection:
            limit = int(connection.execute(sa.text("SHOW max_connections")).scalar_one())
    except Unavailable:
        return
    finally:
        engine.dispose()
    if wanted > limit - SPARE_CONNECTIONS:
        raise ConfigError(
            "DEFAULT", "threads", conf.threads,
            f"workers x threads is {wanted}, but the database allows {limit} connections (max_connections), "
            f"{SPARE_CONNECTIONS} of them for administrators",
        )
