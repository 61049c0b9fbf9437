"""The console script glance-cache-cleaner: remove what is no copy of an image (tools section 4)."""

from collections.abc import Sequence

from oslo_config import cfg

from glance_api.cache.settings import CacheSettings
from glance_api.cache_tools import start

PROG = "glance-cache-cleaner"
_NUMBER = 1


def main(argv: Sequence[str] | None = None) -> int:
    """Remove damaged copies and unfinished ones that do not grow any more; return 0, or 1 for an error."""
    return start.run(PROG, argv, clean)


def clean(conf: cfg.ConfigOpts, settings: CacheSettings) -> int:
    """Do it, and print how many went. Raises ConfigError, Unavailable."""
    with start.cache_of(conf, settings) as cache, start.alone(cache, PROG, _NUMBER) as is_alone:
        if is_alone:
            start.say(f"Removed {cache.clean()} damaged or unfinished copies.")
    return 0
