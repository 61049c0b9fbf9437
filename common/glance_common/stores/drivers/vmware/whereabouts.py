"""Which datastore has a key, as far as this process knows: keys do not tell it, and every question is a request."""

import threading
from collections import OrderedDict

from glance_common.stores.drivers.vmware.place import Datastore

_MOST = 10_000
"""Keys that are remembered."""


class Whereabouts:
    """Remembers the datastores of the last keys. What it says may be outdated."""

    def __init__(self, datastores: tuple[Datastore, ...]) -> None:
        self._datastores = datastores
        self._lock = threading.Lock()
        self._known: OrderedDict[str, Datastore] = OrderedDict()

    def order(self, key: str) -> list[Datastore]:
        """Return all datastores, first the one that should have the key."""
        known = self._known.get(key)
        return sorted(self._datastores, key=lambda datastore: datastore != known)

    def knows(self, key: str) -> bool:
        """Say whether the datastore of the key is remembered."""
        return key in self._known

    def learn(self, key: str, datastore: Datastore) -> None:
        """Remember a datastore that has the key."""
        with self._lock:
            self._known[key] = datastore
            self._known.move_to_end(key)
            if len(self._known) > _MOST:
                self._known.popitem(last=False)

    def forget(self, key: str) -> None:
        """Forget where the key was."""
        with self._lock:
            self._known.pop(key, None)
