"""The options of glance-registry and of glance-manage."""

from oslo_config import cfg

from glance_common import config, profiling, server
from glance_common.config import OptionTable
from glance_common.stores import loader, reserved

DATABASE_OPTS: list[cfg.Opt] = [
    cfg.StrOpt(
        "connection", secret=True,
        help="URL of the PostgreSQL database: postgresql://user:password@host/glance",
    ),
    cfg.FloatOpt(
        "statement_timeout", default=8.0, min=0.1,
        help="Seconds after which the database gives up a statement; a request is then answered 503.",
    ),
    cfg.FloatOpt("lock_timeout", default=5.0, min=0.1, help="Seconds that a statement waits for a locked row."),
]


METADEF_OPTS: list[cfg.Opt] = [
    cfg.StrOpt(
        "metadata_source_path", default="/etc/glance/metadefs/",
        help="Directory of the metadata definition files that db load_metadefs reads and db export_metadefs writes.",
    ),
]


def database_opts() -> OptionTable:
    """Return what it takes to reach the database and to log."""
    return [("DEFAULT", config.LOG_OPTS), ("database", DATABASE_OPTS)]


def list_opts() -> OptionTable:
    """Return the options of glance-registry. It listens on loopback unless told otherwise (S-80).

    Every thread may hold a database connection, so the defaults stay within PostgreSQL's default of 100.
    """
    return [
        *server.list_opts(
            bind_host_default="127.0.0.1", bind_port_default=9191, metrics_default="127.0.0.1:9391",
            most_workers=8, threads_default=8
        ),
        *database_opts(),
        ("registry", config.REGISTRY_OPTS),
        ("profiler", profiling.OPTS),
    ]


def list_manage_opts() -> OptionTable:
    """Return the options of glance-manage: the database, definition files, and the stores for ``store init``."""
    return [*database_opts(), ("DEFAULT", METADEF_OPTS), *loader.list_opts(), *reserved.list_opts()]
