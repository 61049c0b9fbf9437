"""The console script glance-cache-prefetcher: fetch what is queued on this host (tools section 4).

The workers of glance-api do the same by themselves, unless ``image_cache_prefetch_workers`` is 0.
"""

import logging
from collections.abc import Sequence
from functools import partial

from oslo_config import cfg

from glance_api import wsgi
from glance_api.background.cache_work import CacheDuties
from glance_api.cache.facade import ImageCache
from glance_api.cache.settings import CacheSettings
from glance_api.cache_tools import start
from glance_api.cache_tools.fetch_line import fetch_line
from glance_api.services.collaborators import Services
from glance_common import progress
from glance_common.config.loading import read_secrets

LOG = logging.getLogger(__name__)
PROG = "glance-cache-prefetcher"
_NUMBER = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Fetch every queued image; return 0 when none is left that could be fetched, 1 otherwise or for an error."""
    return start.run(PROG, argv, prefetch)


def prefetch(conf: cfg.ConfigOpts, _settings: CacheSettings) -> int:
    """Do it, and print how many came. Raises ConfigError, Unavailable."""
    services = wsgi.build(conf, read_secrets(conf.registry.context_secret_file))
    assert services.cache is not None  # ``start.run`` has looked
    try:
        with start.alone(services.cache, PROG, _NUMBER) as is_alone:
            return fetch_all(services, services.cache) if is_alone else 0
    finally:
        services.registry.close()


def fetch_all(services: Services, cache: ImageCache) -> int:
    """Fetch one queued image after the other and return the exit code."""
    duties = CacheDuties(services, cache)
    fetched, failed = 0, []
    while image_id := next((each for each in cache.queued() if each not in failed), None):
        with cache.using() as parts, progress.shown(partial(fetch_line, parts.layout, image_id)):
            is_done = duties.fetch(image_id)
        if not is_done:
            failed.append(image_id)
        elif cache.has(image_id):
            fetched += 1
    start.say(f"Fetched {fetched} images" + (f", {len(failed)} could not be fetched." if failed else "."))
    return 1 if failed else 0
