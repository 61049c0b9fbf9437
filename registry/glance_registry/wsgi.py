"""From options to the running registry: the one place that makes the engine."""

from dataclasses import replace

import sqlalchemy as sa
from flask import Flask
from oslo_config import cfg

from glance_common.config import paste
from glance_common.config.loading import ConfigError, read_secrets
from glance_common.health_switches import HealthSwitches
from glance_common.model.context import ContextSigner
from glance_common.model.errors import Unavailable
from glance_common.model.pages import MAX_PAGE_ROWS
from glance_common.monitor.monitor import Watched
from glance_common.observability import profiling
from glance_common.observability.metrics.catalog import CONNECTIONS
from glance_common.server import Application, ServerState
from glance_registry import monitoring
from glance_registry.app import create_app
from glance_registry.db.replica import Replica
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
    url, replica = database_url(conf), replica_url(conf)
    settings = worker_settings(conf)
    bounds = Bounds(
        image_document=conf.max_image_document, page=conf.max_page_bytes,
        rows=min(conf.api_limit_max, MAX_PAGE_ROWS), default_rows=conf.limit_param_default,
    )
    ages = kept_ages(conf)
    switches = HealthSwitches.from_conf(conf, paste.read(conf).health_options(), conf.bind_port)
    profiling.layer(conf, "registry")

    def make(state: ServerState) -> Flask:
        engine = make_engine(url, settings)
        CONNECTIONS.labels("limit").set(settings.pool_size + settings.overflow)
        state.at_stop(engine.dispose)
        if replica is not None:
            lists = make_engine(replica, settings)
            Replica(lists, conf.database.slave_max_lag).attach(engine)
            state.at_stop(lists.dispose)
        app = create_app(engine, ContextSigner(secrets), bounds, ages, switches)
        app.wsgi_app = profiling.layer(conf, "registry")(app.wsgi_app)  # type: ignore[method-assign]  # as Flask documents it
        return app

    def watch() -> Watched:
        few = replace(settings, pool_size=MONITOR_CONNECTIONS, overflow=0)
        return monitoring.watched(make_engine(url, few), None if replica is None else make_engine(replica, few))

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
    return _postgresql("connection", conf.database.connection or "")


def replica_url(conf: cfg.ConfigOpts) -> str | None:
    """Return ``[database] slave_connection``; raise ConfigError when it is not the URL of a PostgreSQL database."""
    url = conf.database.slave_connection
    return _postgresql("slave_connection", url) if url else None


def _postgresql(option: str, url: str) -> str:
    try:
        backend = sa.make_url(url).get_backend_name()
    except (sa.exc.ArgumentError, ValueError):  # a port that is no number, with a part of the password in its text
        backend = ""
    if backend not in ("postgresql", "postgres"):
        raise ConfigError("database", option, "***", "must be postgresql://user:password@host/database")
    return url


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
    for name, url in (("database", database_url(conf)), ("replica", replica_url(conf))):
        limit = None if url is None else _connections_of(url, engine_settings(conf))
        if limit is not None and wanted > limit - SPARE_CONNECTIONS:
            raise ConfigError(
                "DEFAULT", "threads", conf.threads,
                f"the workers and their monitor want {wanted} connections, but the {name} allows {limit} "
                f"(max_connections), {SPARE_CONNECTIONS} of them for administrators",
            )


def _connections_of(url: str, settings: EngineSettings) -> int | None:
    engine = make_engine(url, settings)
    try:
        return read(engine, _max_connections)
    except Unavailable:
        return None
    finally:
        engine.dispose()


def _max_connections(connection: sa.Connection) -> int:
    return int(connection.execute(sa.text("SHOW max_connections")).scalar_one())
