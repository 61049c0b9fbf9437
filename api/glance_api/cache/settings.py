"""The options of the image cache (configuration section 1.8): those of the original, and a few of our own."""

import os
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from oslo_config import cfg

from glance_common.config.loading import ConfigError

DRIVERS = ("sqlite", "xattr", "centralized_db")

OPTS: list[cfg.Opt] = [
    cfg.StrOpt(
        "image_cache_dir",
        help="Directory in which this node keeps copies of image data that were read, for the next readers. It "
        "switches the image cache on. It must be on a local disk and belong to one node alone; its parent must exist.",
    ),
    cfg.StrOpt(
        "image_cache_driver", default="sqlite", choices=DRIVERS,
        help="Where hits and times of the copies are recorded: in an SQLite database, in extended attributes of the "
        "files (xattr), or in the registry, where each node has its rows under its worker_self_reference_url "
        "(centralized_db). sqlite is used where the other one cannot be.",
    ),
    cfg.StrOpt(
        "image_cache_sqlite_db", default="cache.db",
        help="File of the SQLite database, relative to image_cache_dir.",
    ),
    cfg.IntOpt(
        "image_cache_max_size", default=10 * 1024**3, min=0,
        help="Bytes that the copies may take. The least recently used ones make room for new ones; an image that is "
        "larger is not kept. While copies are being made the directory may exceed it by the largest of them.",
    ),
    cfg.IntOpt(
        "image_cache_stall_time", default=86400, min=1,
        help="Seconds after which an unfinished copy that does not grow is removed, although its process lives. What "
        "dead processes left is removed at once.",
    ),
    cfg.IntOpt(
        "image_cache_max_fills", default=8, min=1,
        help="Copies that one process makes at the same time; further images are read from their store only.",
    ),
    cfg.IntOpt(
        "image_cache_max_readers", default=1000, min=0, max=1500,
        help="Downloads from the cache that one process carries without a thread for each, beside max_transfers: all "
        "from copies that are being made, and those from whole copies that find no permit of max_transfers. A project "
        "may have the same part of them as of max_transfers.",
    ),
    cfg.FloatOpt(
        "image_cache_patience", default=10.0, min=0.1,
        help="Seconds for which the reader of a copy that is being made waits for its next byte. After that it reads "
        "the store itself.",
    ),
    cfg.IntOpt(
        "image_cache_prefetch_workers", default=2, min=0, max=64,
        help="Queued images that this node fetches at the same time, in all its processes; 0 = it fetches none.",
    ),
    cfg.IntOpt(
        "image_cache_prefetch_rate", default=0, min=0,
        help="Most bytes per second at which one queued image is fetched while no client reads it; 0 = no limit.",
    ),
]


@dataclass(frozen=True, slots=True)
class CacheSettings:
    """Values of the options ``image_cache_…``; sizes in bytes, times in seconds.

    ``node`` names this node; ``is_named``: by its ``worker_self_reference_url``, under which other nodes know it.
    """

    directory: str
    driver: str
    sqlite_db: str
    max_size: int
    stall_time: int
    max_fills: int
    patience: float
    prefetch_workers: int
    prefetch_rate: int
    node: str
    is_named: bool

    def check_apart(self, places: Iterable[str]) -> None:
        """Raise ConfigError when the directory is, contains or lies in one of ``places``, where stores have their data.

        Files of the cache are named like images, and are removed to make room.
        """
        for place in places:
            path = os.path.normpath(place)
            if path.startswith("/") and os.path.commonpath([self.directory, path]) in (self.directory, path):
                raise ConfigError(
                    "DEFAULT", "image_cache_dir", self.directory, f"must be apart from the directory of a store, {path}"
                )

    @classmethod
    def from_conf(cls, conf: cfg.ConfigOpts) -> Self | None:
        """Read the options, None when the cache is off. Raises ConfigError."""
        text = (conf.image_cache_dir or "").strip()
        if not text:
            return None
        directory = os.path.normpath(text)
        if not directory.startswith("/") or directory == "/":
            raise ConfigError("DEFAULT", "image_cache_dir", text, "must be an absolute path of a directory of its own")
        database = conf.image_cache_sqlite_db
        if not database or os.path.basename(database) != database or database.startswith("."):
            raise ConfigError("DEFAULT", "image_cache_sqlite_db", database, "must be a name without a path")
        return cls(
            directory=directory,
            driver=conf.image_cache_driver,
            sqlite_db=database,
            max_size=conf.image_cache_max_size,
            stall_time=conf.image_cache_stall_time,
            max_fills=conf.image_cache_max_fills,
            patience=conf.image_cache_patience,
            prefetch_workers=conf.image_cache_prefetch_workers,
            prefetch_rate=conf.image_cache_prefetch_rate,
            node=conf.worker_self_reference_url or socket.gethostname(),
            is_named=bool(conf.worker_self_reference_url),
        )
