"""The index in the registry, where other nodes find it: ``image_cache_driver = centralized_db``."""

import logging
import os
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from glance_api.cache.index.contract import IndexBroken, IndexBusy, IndexEntry, Use
from glance_api.cache.index.sqlite import SqliteIndex
from glance_common.model.errors import GlanceError
from glance_common.registry_client.cached_copies import CachedCopiesClient

LOG = logging.getLogger(__name__)

T = TypeVar("T")


class CentralIndex:
    """Fulfils ``contract.CacheIndex`` for one node. A registry that does not answer is a busy index."""

    def __init__(self, copies: CachedCopiesClient, node: str) -> None:
        self._copies = copies
        self._node = node

    def put(self, entry: IndexEntry) -> None:
        """See the contract."""
        values = {
            "size": entry.size, "modified": entry.modified, "verified": entry.verified, "hits": entry.hits,
            "accessed": entry.accessed, "checksum": entry.checksum,
        }
        _asked(lambda: self._copies.put(self._node, entry.image_id, values))

    def get(self, image_id: str) -> IndexEntry | None:
        """See the contract."""
        found = _asked(lambda: self._copies.of_node(self._node, image_id))
        return _entry(found[0]) if found else None

    def all(self) -> dict[str, IndexEntry]:
        """See the contract."""
        return {found["image_id"]: _entry(found) for found in _asked(lambda: self._copies.of_node(self._node))}

    def remove(self, image_id: str) -> None:
        """See the contract."""
        _asked(lambda: self._copies.remove(self._node, image_id))

    def count(self, uses: Mapping[str, Use]) -> list[str]:
        """See the contract."""
        told = [(image_id, use.hits, use.accessed) for image_id, use in uses.items()]
        return _asked(lambda: self._copies.count(self._node, told))

    def renew(self) -> None:
        """Do nothing: the database of the registry is never made anew by a node."""

    def take_over(self, path: str) -> None:
        """Tell the registry what an SQLite index of this node holds, and remove that. What fails is tried next time."""
        if not os.path.exists(path):
            return
        local = SqliteIndex(path)
        try:
            entries = local.all()
            for entry in entries.values():
                if os.path.exists(f"{os.path.dirname(path)}/{entry.image_id}"):
                    self.put(entry)
            local.renew()
        except (IndexBroken, IndexBusy, OSError) as error:
            LOG.warning("the index %s is not taken over into the registry now: %s", path, error)
            return
        LOG.info("the index %s is in the registry now: %d entries", path, len(entries))


def _entry(found: Mapping[str, Any]) -> IndexEntry:
    return IndexEntry(**found)


def _asked(ask: Callable[[], T]) -> T:
    try:
        return ask()
    except GlanceError as error:
        raise IndexBusy(error.message) from error
