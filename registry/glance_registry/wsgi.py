"""From options to the running registry: the one place that makes the engine."""

from dataclasses import replace

import sqlalchemy as sa
from flask import Flask
from oslo_config import cfg

from glance_common.config.loading import ConfigError, read_secrets
from glance_common.model.context import ContextSigner
from glance_common.model.errors import Unavailable
from glance_common.monitor.monitor import Watched
from glance_common.observability import profiling
from glance_common.observability.metrics.catalog import CONNECTIONS
from glance_common.server import Application, ServerState
from glance_registry import monitoring
from glance_registry.app import create_app
from glance_registry.db.session import EngineSettings, make_engine, read
from glance_registry.housekeeping import Ages
from glance_registry.records.bounds import Bounds

SPARE_CONNECTIONS = 3
"""Connections that PostgreSQL keeps for administrators by default."""
MONITOR_CONNECTIONS = 2
"""Connections of the process that watches the database."""


def application(conf: cfg.ConfigOpts) -> Application:
    """Return what builds the application in each worker process, and what is watched. Raises ConfigError."""
    secrets = read_secrets(conf.registry.context_secret_file)
    url = database_url(conf)
    settings = worker_settings(conf)
    bounds = Bounds(image_document=conf.max_image_document, page=conf.max_page_bytes)
    ages = kept_ages(conf)
    profiling.layer(conf, "registry")

    def make(state: ServerState) -> Flask:
        engine = make_engine(url, settings)
        CONNECTIONS.labels("limit").set(settings.pool_size + settings.overflow)
        state.at_stop(engine.dispose)
        app = create_app(engine, ContextSigner(secrets), bounds, ages)
        app.wsgi_app = profiling.layer(conf, "registry")(app.wsgi_app)  # type: ignore[method-assign]  # as Flask documents it
        return app

    def watch() -> Watched:
        return monitoring.watched(make_engine(url, replace(settings, pool_size=MONITOR_CONNECTIONS, overflow=0)))

    return Application(make, watch)


def kept_ages(conf: cfg.ConfigOpts) -> Ages:
    """Return after how many days deleted rows are purged. Raises ConfigError."""
    ages = Ages(images=conf.purge_deleted_images_after, rows=conf.purge_deleted_rows_after)
    if ages.images and not 0 < ages.rows <= ages.images:
        raise ConfigError(
            "DEFAULT", "purge_deleted_images_after", ages.images,
            f"needs a purge_deleted_rows_after from 1 to {ages.images}: the other rows of an image go first",
        )
    return ages


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
    """Return how a program talks to the database by one connection."""
    options = conf.database
    return EngineSettings(1, statement_timeout=options.statement_timeout, lock_timeout=options.lock_timeout)


def worker_settings(conf: cfg.ConfigOpts) -> EngineSettings:
    """Return how a worker with its threads talks to the database."""
    options = conf.database
    kept = min(options.max_pool_size or conf.threads, conf.threads)
    more = conf.threads - kept
    settings = replace(
        engine_settings(conf), pool_size=kept, overflow=more, recycle=options.connection_recycle_time
    )
    if options.max_overflow is not None:
        settings = replace(settings, overflow=min(options.max_overflow, more))
    if options.pool_timeout is not None:
        settings = replace(settings, pool_timeout=options.pool_timeout)
    return settings


def check_capacity(conf: cfg.ConfigOpts) -> None:
    """Raise ConfigError when all threads together could ask for more connections than the database gives.

    A database that does not answer yet is no reason not to start.
    """
    each = worker_settings(conf)
    wanted = max(conf.workers, 1) * (each.pool_size + each.overflow) + MONITOR_CONNECTIONS
    engine = make_engine(database_url(conf), engine_settings(conf))
    try:
        limit = read(engine, _max_connections)
    except Unavailable:
        return
    finally:
        engine.dispose()
    if wanted > limit - SPARE_CONNECTIONS:
        raise ConfigError(
            "DEFAULT", "threads", conf.threads,
            f"the workers and their monitor want {wanted} connections, but the database allows {limit} "
            f"(max_connections), {SPARE_CONNECTIONS} of them for administrators",
        )


def _max_connections(connection: sa.Connection) -> int:
    return int(connection.execute(sa.text("SHOW max_connections")).scalar_one())
