"""How the tools begin that work on the directory of the cache: options, the right user, one at a time."""

import logging
import os
import pwd
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from oslo_config import cfg

from glance_api import config as api_config
from glance_api import policy
from glance_api.cache.facade import ImageCache
from glance_api.cache.settings import CacheSettings
from glance_common.config import loading
from glance_common.config.findings import explain, report
from glance_common.config.loading import ConfigError
from glance_common.model.errors import GlanceError
from glance_common.observability import log
from glance_common.registry_client import connect
from glance_common.stores import loader

LOG = logging.getLogger(__name__)

READS_ALSO = ("glance-api", "glance-cache")
"""Their files are read, in this order: what both name is taken from glance-cache.conf."""

Work = Callable[[cfg.ConfigOpts, CacheSettings], int]


def run(prog: str, argv: Sequence[str] | None, work: Work) -> int:
    """Do ``work`` for the console script ``prog``; return its exit code, 1 with ``ERROR: …`` when it cannot be done."""
    try:
        conf = load(prog, sys.argv[1:] if argv is None else argv)
        is_right = report(conf, _options(conf), explains=False)
        settings = CacheSettings.from_conf(conf)
        if settings is None:
            raise ConfigError("DEFAULT", "image_cache_dir", conf.image_cache_dir, "must name the directory to work on")
        if conf.check_config:
            loading.register(conf, loader.store_opts(conf))
            explain(conf, _options(conf))
            return 0 if is_right else 1
        become_owner(settings.directory)
        return work(conf, settings)
    except (ConfigError, GlanceError) as error:
        print(f"ERROR: {error}", file=sys.stderr)  # noqa: T201 - the tool's answer to its caller
        return 1
    except KeyboardInterrupt:
        return 130


def load(prog: str, argv: Sequence[str]) -> cfg.ConfigOpts:
    """Read the configuration, which is that of glance-api with changes, and begin to log. Raises ConfigError."""
    conf = loading.load(prog, argv, [*api_config.list_opts(), *policy.list_opts()], others=READS_ALSO)
    log.setup_tool(conf, prog, argv)
    return conf


def _options(conf: cfg.ConfigOpts) -> loading.OptionTable:
    """Return all options that the files may have."""
    return [*api_config.list_opts(), *loader.store_opts(conf)]


def become_owner(directory: str) -> None:
    """Go on as the owner of the directory when root has started the tool: glance-api must be able to use its files."""
    try:
        seen = os.stat(directory)
    except OSError:
        return  # ``open`` says what is wrong
    if os.geteuid() != 0 or seen.st_uid == 0:
        return
    try:
        os.initgroups(pwd.getpwuid(seen.st_uid).pw_name, seen.st_gid)
    except KeyError:
        os.setgroups([seen.st_gid])
    os.setgid(seen.st_gid)
    os.setuid(seen.st_uid)


@contextmanager
def cache_of(conf: cfg.ConfigOpts, settings: CacheSettings) -> Iterator[ImageCache]:
    """Give the cache to the block, with its index in the registry where it is there. Raises ConfigError."""
    if settings.driver != "centralized_db":
        yield ImageCache(settings)
        return
    registry = connect(conf, loading.read_secrets(conf.registry.context_secret_file), pool_size=1)
    try:
        yield ImageCache(settings, registry.cached_copies)
    finally:
        registry.close()


@contextmanager
def alone(cache: ImageCache, prog: str, number: int) -> Iterator[bool]:
    """Open the cache for the block, which gets False when the tool ``number`` runs already. Raises ConfigError."""
    if not cache.open():
        raise ConfigError("DEFAULT", "image_cache_dir", cache.settings.directory, "cannot be used; the log says why")
    try:
        with cache.using() as parts:
            lock = parts.locks.tool(number)
        if lock is None:
            say(f"Another {prog} works on {cache.settings.directory}.")
        try:
            yield lock is not None
        finally:
            if lock is not None:
                lock.close()
    finally:
        cache.close()


def say(text: str) -> None:
    """Print a result."""
    print(text, flush=True)  # noqa: T201 - the tool's answer to its caller
