"""The console script glance-cache-pruner: keep the cache of this host within its size (tools section 4)."""

from collections.abc import Sequence

from oslo_config import cfg

from glance_api.cache.settings import CacheSettings
from glance_api.cache_tools import start

PROG = "glance-cache-pruner"
_NUMBER = 0


def main(argv: Sequence[str] | None = None) -> int:
    """Remove the least recently used copies until ``image_cache_max_size`` holds; return 0, or 1 for an error."""
    return start.run(PROG, argv, prune)


def prune(conf: cfg.ConfigOpts, settings: CacheSettings) -> int:
    """Do it, and print what went. Raises ConfigError, Unavailable."""
    with start.cache_of(conf, settings) as cache, start.alone(cache, PROG, _NUMBER) as is_alone:
        if is_alone:
            pruned = cache.prune()
            start.say(f"Pruned {pruned.files} images, {pruned.size} bytes.")
    return 0
