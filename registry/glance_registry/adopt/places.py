"""Which of our stores has the data that a location URL of the other installation names, and under which key.

The store that the record names is asked first, then all others: an installation may have given its stores other names,
and older records name none (STO-22). Credentials in a URL are not taken over: the store uses its own.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from glance_common.stores.contract import Store, StoreError, UnknownStore
from glance_common.stores.loader import Stores
from glance_registry.adopt.cipher import LocationCipher, is_url

NAMES_STORE = ("store", "backend")
"""What the metadata of a location call its store, now and in 2019."""


class CannotCome(Exception):
    """A row cannot be taken over; the text is the reason, without ids, addresses and credentials."""


@dataclass(frozen=True, slots=True)
class FoundPlace:
    """Where data are: ``url`` in the clear, as the other side means it. ``external``: nothing deletes them there."""

    store: str
    key: str
    url: str
    external: bool


class Places:
    """Finds stores and keys. ``cipher`` opens the URLs that the other installation encrypted."""

    def __init__(self, stores: Stores, cipher: LocationCipher | None) -> None:
        self._stores = stores
        self._cipher = cipher

    def find(self, text: str, metadata: Mapping[str, Any]) -> FoundPlace:
        """Return the place that a location names. Raises CannotCome."""
        url = self._readable(text)
        named = next((metadata[name] for name in NAMES_STORE if isinstance(metadata.get(name), str)), None)
        store, key = self._named(named, url) or self._by_url(named, url)
        return FoundPlace(store.id, key, url, not store.capabilities.delete)

    def _readable(self, text: str) -> str:
        if is_url(text):
            return text
        url = self._cipher.open(text) if self._cipher is not None else None
        if url is not None:
            return url
        if ":" in text or "/" in text or len(text) < 44:
            raise CannotCome("the location is not a URL")
        if self._cipher is None:
            raise CannotCome("the location is encrypted, and no metadata_encryption_key is given")
        raise CannotCome("the location is encrypted with another metadata_encryption_key, or damaged")

    def _named(self, named: str | None, url: str) -> tuple[Store, str] | None:
        if named is None:
            return None
        try:
            store = self._stores.get(named)
        except UnknownStore:
            return None
        key = _key(store, url)
        return None if key is None else (store, key)

    def _by_url(self, named: str | None, url: str) -> tuple[Store, str]:
        for store in self._stores:
            key = _key(store, url)
            if key is not None:
                return store, key
        raise CannotCome(self._why(named, url.partition("://")[0].lower()))

    def _why(self, named: str | None, scheme: str) -> str:
        of_scheme = [store.id for store in self._stores if scheme in store.capabilities.schemes]
        if of_scheme:
            return f"a location of {scheme} leads to no place of the configured stores ({', '.join(of_scheme)})"
        if named is not None and named not in self._stores.ids:
            return f"the store {named[:80]} is not configured, and no other one for {scheme}"
        return f"no store for {scheme} is configured"


def _key(store: Store, url: str) -> str | None:
    try:
        return store.key_of(url)
    except StoreError as error:
        raise CannotCome(f"the store {store.id} cannot tell whether a location is its own: {error}") from None
