"""The options of glance-registry and of glance-manage."""

from oslo_config import cfg

from glance_common import health_switches, server
from glance_common.config import loading, paste
from glance_common.config.loading import OptionTable
from glance_common.config.log_options import FORMAT_OPTS, LOG_OPTS
from glance_common.model.pages import MAX_PAGE_ROWS
from glance_common.observability import profiling
from glance_common.stores import loader, reserved
from glance_registry.records import bounds

MOST_DAYS = 36_500
"""A century: the largest age of rows."""


def _old(*names: tuple[str, str]) -> list[cfg.DeprecatedOpt]:
    return [cfg.DeprecatedOpt(name, group=group) for group, name in names]


CONNECTION_OPTS: list[cfg.Opt] = [
    cfg.StrOpt(
        "connection", secret=True,
        deprecated_opts=_old(("DEFAULT", "sql_connection"), ("DATABASE", "sql_connection"), ("sql", "connection")),
        help="URL of the PostgreSQL database: postgresql://user:password@host/glance",
    ),
    cfg.FloatOpt(
        "statement_timeout", default=8.0, min=0.1,
        help="Seconds after which the database gives up a statement; a request is then answered 503.",
    ),
    cfg.FloatOpt("lock_timeout", default=5.0, min=0.1, help="Seconds that a statement waits for a locked row."),
]
"""How registry and tools reach the database."""

POOL_OPTS: list[cfg.Opt] = [
    cfg.IntOpt(
        "max_pool_size", min=1,
        deprecated_opts=_old(("DEFAULT", "sql_max_pool_size"), ("DATABASE", "sql_max_pool_size")),
        help="Connections that a worker keeps open when they are not used. Unset: as many as it has threads, each of "
        "which uses one at most.",
    ),
    cfg.IntOpt(
        "max_overflow", min=0,
        deprecated_opts=_old(("DEFAULT", "sql_max_overflow"), ("DATABASE", "sqlalchemy_max_overflow")),
        help="Connections beyond max_pool_size, which are closed after use. Unset: as many as there are more threads.",
    ),
    cfg.FloatOpt(
        "pool_timeout", min=0.1, deprecated_opts=_old(("DATABASE", "sqlalchemy_pool_timeout")),
        help="Seconds that a request waits for a connection before it is answered 503. Unset: 3.",
    ),
    cfg.IntOpt(
        "connection_recycle_time", default=3600, min=-1,
        deprecated_opts=_old(
            ("database", "idle_timeout"), ("DEFAULT", "sql_idle_timeout"), ("DATABASE", "sql_idle_timeout"),
            ("sql", "idle_timeout"),
        ),
        help="Seconds after which a connection is made anew before it is used again; -1 = never.",
    ),
]
"""How many connections a worker of the registry has."""


REPLICA_OPTS: list[cfg.Opt] = [
    cfg.StrOpt(
        "slave_connection", secret=True,
        help="URL of a replica of the database. Lists are read from it, which may be a little old; all else, and lists "
        "while it cannot be used, from connection.",
    ),
    cfg.FloatOpt(
        "slave_max_lag", default=10.0, min=0,
        help="Seconds that a streaming replica may be behind before lists are read from connection; 0 = any time.",
    ),
]


BOUND_OPTS: list[cfg.Opt] = [
    cfg.IntOpt(
        "max_image_document", default=bounds.MAX_IMAGE_DOCUMENT, min=4096, max=8 * 1024 * 1024,
        help="Largest image document, in bytes: name, properties, tags and locations together. An image "
        "that is larger already may become smaller only. The option of glance-api with this name has the same value.",
    ),
    cfg.IntOpt(
        "max_page_bytes", default=bounds.MAX_PAGE, min=65536, max=256 * 1024 * 1024,
        help="Most bytes of one page of a list. A page that would be larger ends earlier, after one row at least, and "
        "the next one goes on from there. Clients of v1 take a page that ends early for the last: leave room for 25 "
        "times max_image_document.",
    ),
    cfg.IntOpt(
        "api_limit_max", default=MAX_PAGE_ROWS, min=1,
        help="Most images or namespaces of one page, whatever glance-api asks for; at most 10000. The next page goes "
        "on from there.",
    ),
    cfg.IntOpt("limit_param_default", default=25, min=1, help="Rows of a page when a request names no number."),
]


PURGE_OPTS: list[cfg.Opt] = [
    cfg.IntOpt(
        "purge_deleted_rows_after", default=0, min=0, max=MOST_DAYS,
        help="Days after which rows of purged locations are deleted from the database; 0 = never, as glance-manage "
        "db purge does it.",
    ),
    cfg.IntOpt(
        "purge_deleted_images_after", default=0, min=0, max=MOST_DAYS,
        help="Days after which rows of deleted images are deleted from the database with all that belongs to them; "
        "0 = never, as glance-manage db purge_images_table does it. From then on another image can have the id of such "
        "an image, so keep the rows for as long as anything may refer to them: 180 days or longer. Needs "
        "purge_deleted_rows_after.",
    ),
]
"""When the registry by itself purges rows of what was deleted."""


PATIENCE_OPTS: list[cfg.Opt] = [
    cfg.IntOpt(
        "max_retries", default=0, min=-1,
        deprecated_opts=_old(("DEFAULT", "sql_max_retries"), ("DATABASE", "sql_max_retries")),
        help="How often a command asks again for a database that does not answer before it fails; -1 = for ever. The "
        "original's default is 10. glance-registry starts without its database and needs no such limit.",
    ),
    cfg.FloatOpt(
        "retry_interval", default=10.0, min=0.1,
        deprecated_opts=_old(("DEFAULT", "sql_retry_interval"), ("DATABASE", "reconnect_interval")),
        help="Seconds between these tries.",
    ),
]
"""How long the commands of glance-manage wait for the database."""


METADEF_OPTS: list[cfg.Opt] = [
    cfg.StrOpt(
        "metadata_source_path", default="/etc/glance/metadefs/",
        help="Directory of the metadata definition files that db load_metadefs reads and db export_metadefs writes.",
    ),
]


def database_opts() -> OptionTable:
    """Return what it takes to reach the database and to log."""
    return [("DEFAULT", [*LOG_OPTS, *FORMAT_OPTS]), ("database", CONNECTION_OPTS)]


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
        ("database", [*POOL_OPTS, *REPLICA_OPTS]),
        ("DEFAULT", BOUND_OPTS),
        ("DEFAULT", PURGE_OPTS),
        (paste.GROUP, [paste.CONFIG_FILE_OPT]),
        (health_switches.GROUP, health_switches.OPTS),
        ("registry", loading.REGISTRY_OPTS),
        ("profiler", profiling.OPTS),
    ]


def list_manage_opts() -> OptionTable:
    """Return the options of glance-manage: the database, definition files, and the stores for ``store init``."""
    own: OptionTable = [("database", PATIENCE_OPTS), ("DEFAULT", METADEF_OPTS)]
    return [*database_opts(), *own, *loader.list_opts(), *reserved.list_opts()]
