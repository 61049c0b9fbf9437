"""What the registry knows about the places of stores; the ``Identities`` that file stores ask (store settings)."""

import threading
from uuid import uuid4

from glance_common.model.context import RequestContext, system_context
from glance_common.registry_client.http import RegistryHttp, segment


class StoresClient:
    """The uuids of store places. A known one never changes, so it is asked for once in a process."""

    def __init__(self, http: RegistryHttp) -> None:
        self._http = http
        self._known: dict[str, dict[str, str]] = {}
        self._lock = threading.Lock()

    def known(self, store: str, place: str) -> str | None:
        """Return the uuid registered for the place, or None when the place was never used."""
        with self._lock:
            found = self._known.get(store, {}).get(place)
        if found is not None:
            return found
        # Another process may have registered the place since the last look.
        answer = self._http.call(_context(), "GET", _path(store))
        return self._keep(store, answer["identities"]).get(place)

    def register(self, store: str, place: str, identity: str) -> str:
        """Register the uuid unless one is registered; return the one that is registered now (the first one wins).

        Raises Conflict when the uuid belongs to another store.
        """
        answer = self._http.call(_context(), "POST", _path(store), {"place": place, "identity": identity})
        winner = str(answer["identity"])
        self._keep(store, {place: winner})
        return winner

    def _keep(self, store: str, places: dict[str, str]) -> dict[str, str]:
        with self._lock:
            kept = self._known.setdefault(store, {})
            kept.update(places)
            return dict(kept)


def _context() -> RequestContext:
    return system_context(f"req-{uuid4()}")


def _path(store: str) -> str:
    return f"/v1/stores/{segment(store)}/identities"
