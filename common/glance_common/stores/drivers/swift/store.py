"""The swift store of one account: its containers, with others of older installations to read (stores section 6)."""

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from glance_common.stores.base import BaseStore, StreamBlob
from glance_common.stores.contract import (
    BlobExists,
    BlobNotFound,
    Capabilities,
    Stored,
    StoredObject,
    WriteDenied,
    is_key,
    require_range,
)
from glance_common.stores.drivers.swift.deleting import remove_object, remove_segments
from glance_common.stores.drivers.swift.errors import NoContainer, SwiftFailed
from glance_common.stores.drivers.swift.options import MIB, SwiftOptions
from glance_common.stores.drivers.swift.place import SCHEMES, SwiftObject, SwiftPlace
from glance_common.stores.drivers.swift.quota import free_bytes
from glance_common.stores.drivers.swift.reading import insist_on_absence, open_object, size_of
from glance_common.stores.drivers.swift.temp_url import temp_url
from glance_common.stores.drivers.swift.upload import SwiftUpload, insist
from glance_common.stores.place_mark import NAME, PlaceMark
from glance_common.stores.settings import Identities, StoreSettings

if TYPE_CHECKING:
    from glance_common.stores.drivers.swift.client import SwiftAccount

PAGE = 1000
"""Objects that one listing asks for."""

_LONGEST_MARK = 100
_LARGEST_MANIFEST = 1024 * 1024
"""Bytes of an object in a list from which it is none of the manifests that name segments."""


class SwiftStore(BaseStore):
    """Objects in containers; fulfils ``contract.Store``."""

    kind = "swift"
    capabilities = Capabilities(schemes=SCHEMES, add=True, delete=True, ranges=True, walk=True, presign=True)

    def __init__(
        self, settings: StoreSettings, options: SwiftOptions, accounts: "Mapping[str, SwiftAccount]",
        identities: Identities,
    ) -> None:
        """``accounts``: reference → account."""
        super().__init__(settings, identities)
        self._options = options
        self._place = place_of(options)
        self._accounts = accounts
        self._account = accounts[options.reference]
        self._made: set[str] = set()
        self._marks = {
            reference: PlaceMark(
                self.id, self._place.name_of(reference), identities,
                read=partial(self._read_mark, account), write=partial(self._write_mark, account),
            )
            for reference, account in accounts.items()
        }

    def add(self, key: str, pieces: Iterable[bytes], size: int | None) -> Stored:
        """See the contract. An object appears whole or not at all."""
        found = self._place.find(key)
        account = self._accounts[found.reference]
        insist(self._prove_or_create)
        if insist(partial(account.head, found.container, found.name)) is not None:
            raise BlobExists(f"{self._place.name}: {key} is there")
        try:
            insist(partial(self._make_container, found.container))
            return Stored(SwiftUpload(account, self._options, found).write(pieces, size), {})
        except SwiftFailed as failed:
            if failed.status == 403:
                raise WriteDenied(str(failed)) from None
            raise

    def open(self, key: str, offset: int = 0, length: int | None = None) -> StreamBlob:
        """See the contract."""
        found = self._place.find(key)
        require_range(offset, length)
        blob = open_object(self._accounts[found.reference], found, offset, length, self._options.resumes)
        if blob is None:
            raise self._missing(found)
        return blob

    def size(self, key: str) -> int:
        """See the contract."""
        found = self._place.find(key)
        account = self._accounts[found.reference]
        headers = account.head(found.container, found.name)
        if headers is None:
            insist_on_absence(account, found)
            raise self._missing(found)
        return size_of(headers, found.name)

    def delete(self, key: str) -> None:
        """See the contract. Segments of uploads that are under way are removed."""
        found = self._place.find(key)
        account = self._accounts[found.reference]
        self._marks[found.reference].prove()
        headers = account.head(found.container, found.name, manifest=True)
        if headers is not None:
            remove_object(account, found, headers)
        try:
            remove_segments(account, found.container, f"{found.name}-")
        except NoContainer:
            # One of several: that of the mark was there a moment ago.
            if found.container == self._place.container:
                raise
        if headers is None:
            raise self._missing(found)

    def url(self, key: str) -> str:
        """See the contract."""
        return self._place.url(key)

    def key_of(self, url: str) -> str | None:
        """See the contract. URLs of older installations with credentials are understood; these are ignored."""
        return self._place.key_of(url)

    def details(self) -> dict[str, Any]:
        """Return the container, and the sizes in MiB from which and in which images are cut."""
        return {
            "container": self._options.container,
            "large_object_size": self._options.large_object // MIB,
            "large_object_chunk_size": self._options.segment // MIB,
        }

    def identity(self) -> str:
        """See the contract."""
        return self._marks[self._options.reference].prove()

    def walk(self, after: str | None = None) -> Iterator[StoredObject]:
        """See the contract. The objects in the containers that new data go to."""
        self.identity()
        containers = [self._place.container]
        if self._place.seed:
            # In this order the keys are in order too: the names end with the beginnings of the keys.
            containers = self._account.containers(f"{self._place.container}_")
        for container in containers:
            for entry in self._account.pages(container, "", after or "", PAGE):
                key = entry["name"]
                if is_key(key) and self._place.container_of(key) == container:
                    yield StoredObject(key, self._size_of_entry(container, entry), seconds_of(entry["last_modified"]))

    def free(self) -> int | None:
        """See the contract: what the quotas of account and container leave."""
        return free_bytes(self._account, None if self._place.seed else self._place.container)

    def presign(self, key: str, seconds: int) -> str | None:
        """See the contract."""
        found = self._place.find(key)
        secret = self._options.temp_url_key
        return None if secret is None else temp_url(self._accounts[found.reference], found, secret, seconds)

    def _missing(self, found: SwiftObject) -> BlobNotFound:
        """Return the error for a missing object, after the proof that this is the right account."""
        self._marks[found.reference].prove()
        return BlobNotFound(f"{self._place.name}: there is no {found.name}")

    def _size_of_entry(self, container: str, entry: Mapping[str, Any]) -> int:
        """Return the bytes of an object in a list, which may be those of its manifest."""
        if entry["bytes"] > _LARGEST_MANIFEST:
            return int(entry["bytes"])
        headers = self._account.head(container, entry["name"])
        return 0 if headers is None else size_of(headers, entry["name"])

    def _prove_or_create(self) -> None:
        """Prove the container of the mark; create it where that is wanted, but never one that was used before."""
        try:
            self.identity()
        except NoContainer:
            if not self._options.creates_container or self.identities.known(self.id, self._place.name) is not None:
                raise
            self._account.put_container(self._place.container)
            self.identity()

    def _make_container(self, container: str) -> None:
        """Create one of several containers, once."""
        if self._place.seed and self._options.creates_container and container not in self._made:
            self._account.put_container(container)
            self._made.add(container)

    def _read_mark(self, account: "SwiftAccount") -> str | None:
        container = self._place.container
        try:
            body = account.get(container, NAME, {})
        except SwiftFailed as failed:
            if failed.status != 404:
                raise
            account.head_container(container)
            return None
        try:
            return body.read(_LONGEST_MARK).decode(errors="replace")
        finally:
            body.close()

    def _write_mark(self, account: "SwiftAccount", identity: str, *, replace: bool) -> None:
        conditions = {} if replace else {"If-None-Match": "*"}
        try:
            account.put(self._place.container, NAME, [identity.encode()], conditions)
        except SwiftFailed as failed:
            if failed.status != 412:
                raise


def place_of(options: SwiftOptions) -> SwiftPlace:
    """Return the place of a store with these options."""
    return SwiftPlace(options.logins, options.reference, options.container, options.seed)


def seconds_of(text: str) -> float:
    """Return the seconds of the epoch of a time in a list: UTC, maybe with a Z."""
    return dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC).timestamp()
