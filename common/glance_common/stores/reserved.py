"""The stores of a host that users never see: where data wait for their import, and where tasks work.

Rules: stores section 13.

Each is a file store with one directory. Its id names the host, ``os_glance_staging_store@<host>``, because the same
path on two hosts is two places; hosts that share the directory set the same ``staging_host`` and are then one place.
The sentinel of the directory keeps a process from using the wrong one: a host with a disk of its own and the
name of another gets StoreUnavailable.
"""

import os
import re
import socket
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from oslo_config import cfg

from glance_common.config import loading
from glance_common.config.loading import ConfigError
from glance_common.stores import loader
from glance_common.stores.contract import require_key
from glance_common.stores.decorators.base import Logged
from glance_common.stores.drivers.file.driver import FileStore
from glance_common.stores.drivers.file.options import DataDir, FileOptions
from glance_common.stores.settings import Identities, StoreConfigError, StoreSettings

STAGING = "os_glance_staging_store"
TASKS = "os_glance_tasks_store"

_PIECE = 1024 * 1024
_LONGEST_HOST = 200
_HOST = re.compile(r"[A-Za-z0-9_.-]+")

_DEFAULT_OPTS: list[cfg.Opt] = [
    cfg.StrOpt(
        "node_staging_uri", default="file:///var/lib/glance/staging/",
        help="Directory where data wait for their import, as file:///path. The original's default is in /tmp, where "
        "anybody may make it first. Unused when [os_glance_staging_store] filesystem_store_datadir is set.",
    ),
    cfg.StrOpt(
        "staging_host", sample_default="<host name>",
        help="Name of this host in the records of staged data. Hosts that share the staging directory set the same "
        "name, and a host whose name changes at each start needs one. Unset: the host name.",
    ),
]


def _datadir(text: str) -> cfg.Opt:
    return cfg.StrOpt("filesystem_store_datadir", help=text)


def list_opts() -> loading.OptionTable:
    """Return the options of the reserved stores."""
    return [
        ("DEFAULT", _DEFAULT_OPTS),
        (STAGING, [_datadir("Directory where data wait for their import. Unset: the one of node_staging_uri.")]),
        (TASKS, [_datadir("Directory where import tasks work. Unset: the one of [task] work_dir.")]),
        ("task", [cfg.StrOpt("work_dir", help="Directory where import tasks work. Unset: the staging directory.")]),
    ]


class LocalStore(Logged):
    """A file store of this host, whose files programs may read where they are."""

    def __init__(self, store: FileStore, directory: Path) -> None:
        super().__init__(store)
        self.directory = directory

    def path(self, key: str) -> Path:
        """Return the file of the key, whether it is there or not. Raises BadLocation."""
        require_key(key)
        return self.directory / key


def load_staging(conf: cfg.ConfigOpts, identities: Identities) -> LocalStore:
    """Return the staging store of this host. One that is down is loaded all the same; raises ConfigError."""
    directory = _staging_directory(conf)
    _refuse_image_directories(conf, STAGING, directory)
    return _store(conf, STAGING, directory, identities)


def load_tasks(conf: cfg.ConfigOpts, identities: Identities) -> LocalStore | None:
    """Return the store of import tasks of this host, None when tasks work in the staging store. Raises ConfigError."""
    directory = _tasks_directory(conf)
    if directory is None or directory == _staging_directory(conf):
        return None
    _refuse_image_directories(conf, TASKS, directory)
    return _store(conf, TASKS, directory, identities)


def init_directories(conf: cfg.ConfigOpts) -> list[tuple[str, str]]:
    """Create the missing directories and return (store, directory) of each that was created.

    Only the service may look inside: staged data belong to many projects. Raises ConfigError, OSError.
    """
    wanted = [(STAGING, _staging_directory(conf)), (TASKS, _tasks_directory(conf))]
    created = []
    for store, directory in wanted:
        if directory is not None and not directory.is_dir():
            directory.mkdir(mode=0o700, parents=True)
            created.append((store, str(directory)))
    return created


def _store(conf: cfg.ConfigOpts, name: str, directory: Path, identities: Identities) -> LocalStore:
    settings = StoreSettings(f"{name}@{_host(conf)}", conf, name, None, 0)
    options = FileOptions((DataDir(str(directory), 0),), mode=None, piece=_PIECE, thin=False, metadata=())
    return LocalStore(FileStore(settings, options, identities), directory)


def _host(conf: cfg.ConfigOpts) -> str:
    host: str = conf.staging_host or socket.gethostname()
    if len(host) > _LONGEST_HOST or _HOST.fullmatch(host) is None:
        raise ConfigError("DEFAULT", "staging_host", host, "must be letters, digits, '_', '.' and '-'")
    return host


def _staging_directory(conf: cfg.ConfigOpts) -> Path:
    if conf[STAGING].filesystem_store_datadir:
        return _absolute(STAGING, "filesystem_store_datadir", conf[STAGING].filesystem_store_datadir)
    uri: str = conf.node_staging_uri
    try:
        parts = urlsplit(uri)
    except ValueError:
        parts = urlsplit("")
    more = parts.netloc or parts.query or parts.fragment
    if parts.scheme != "file" or more or not parts.path.startswith("/") or not parts.path.strip("/"):
        raise ConfigError("DEFAULT", "node_staging_uri", uri, "must be file:///path with an absolute path")
    return _absolute("DEFAULT", "node_staging_uri", unquote(parts.path))


def _tasks_directory(conf: cfg.ConfigOpts) -> Path | None:
    for group, option in ((TASKS, "filesystem_store_datadir"), ("task", "work_dir")):
        if conf[group][option]:
            return _absolute(group, option, conf[group][option])
    return None


def _absolute(group: str, option: str, text: str) -> Path:
    if not text.startswith("/"):
        raise ConfigError(group, option, text, "must be an absolute path")
    # normpath keeps two leading slashes, which would make two names of one directory.
    return Path(os.path.normpath("/" + text.lstrip("/")))


def _refuse_image_directories(conf: cfg.ConfigOpts, name: str, directory: Path) -> None:
    """A staged image and the same image in its store have the same file name."""
    owners: Sequence[tuple[str, str]] = loader.places(conf)
    for place, store in owners:
        if place == str(directory):
            raise StoreConfigError(name, "filesystem_store_datadir", place, f"is already used by the store {store}")
