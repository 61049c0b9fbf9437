"""Where hits and verified copies are recorded. ``contract`` says how; ``choose`` takes the one of the options."""

import logging

from glance_api.cache.index.central import CentralIndex
from glance_api.cache.index.contract import CacheIndex
from glance_api.cache.index.sqlite import SqliteIndex
from glance_api.cache.index.xattr import XattrIndex, are_possible
from glance_api.cache.settings import CacheSettings
from glance_common.registry_client.cached_copies import CachedCopiesClient

LOG = logging.getLogger(__name__)


def choose(settings: CacheSettings, copies: CachedCopiesClient | None) -> CacheIndex:
    """Return the index that ``image_cache_driver`` names; sqlite where that one cannot be.

    ``copies`` reaches the registry. An index in SQLite that is there goes into the registry with ``centralized_db``.
    """
    path = f"{settings.directory}/{settings.sqlite_db}"
    if settings.driver == "xattr":
        if are_possible(settings.directory):
            return XattrIndex(settings.directory)
        LOG.warning(
            "image_cache_driver = xattr: the file system of %s keeps no extended attributes; sqlite is used",
            settings.directory,
        )
    elif settings.driver == "centralized_db":
        if copies is not None and settings.is_named:
            central = CentralIndex(copies, settings.node)
            central.take_over(path)
            return central
        LOG.warning("image_cache_driver = centralized_db needs worker_self_reference_url; sqlite is used")
    return SqliteIndex(path)
