"""Where hits and verified copies are recorded. ``contract`` says how; ``choose`` takes the one of the options."""

import logging

from glance_api.cache.index.contract import CacheIndex
from glance_api.cache.index.sqlite import SqliteIndex
from glance_api.cache.index.xattr import XattrIndex, are_possible
from glance_api.cache.settings import CacheSettings

LOG = logging.getLogger(__name__)


def choose(settings: CacheSettings) -> CacheIndex:
    """Return the index that ``image_cache_driver`` names; sqlite where that one cannot be."""
    if settings.driver == "xattr":
        if are_possible(settings.directory):
            return XattrIndex(settings.directory)
        LOG.warning(
            "image_cache_driver = xattr: the file system of %s keeps no extended attributes; sqlite is used",
            settings.directory,
        )
    elif settings.driver != "sqlite":
        LOG.warning("image_cache_driver = %s is not there yet; sqlite is used", settings.driver)
    return SqliteIndex(f"{settings.directory}/{settings.sqlite_db}")
