"""The swift driver with the accounts of projects: each image in a container of the project that wrote it.

The user of the store reads, deletes and sets the lists of who may read; a caller's own token writes (stores section 6).
"""

import logging
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING

from glance_common.stores.base import StreamBlob
from glance_common.stores.caller import current_caller
from glance_common.stores.contract import (
    BlobExists,
    BlobNotFound,
    Capabilities,
    DataAccess,
    Stored,
    StoredObject,
    StoreError,
    WriteDenied,
    is_key,
    require_key,
    require_range,
)
from glance_common.stores.drivers.swift.deleting import remove_object, remove_segments
from glance_common.stores.drivers.swift.errors import NoContainer, SwiftFailed
from glance_common.stores.drivers.swift.options import SwiftOptions
from glance_common.stores.drivers.swift.place import SCHEMES
from glance_common.stores.drivers.swift.reading import insist_on_absence, open_object, size_of
from glance_common.stores.drivers.swift.store import PAGE, SwiftStore, seconds_of
from glance_common.stores.drivers.swift.tenant_accounts import TenantAccounts
from glance_common.stores.drivers.swift.tenant_place import TenantObject, container_of, parse_key, parse_url
from glance_common.stores.drivers.swift.upload import SwiftUpload, insist
from glance_common.stores.settings import Identities, StoreSettings

if TYPE_CHECKING:
    from glance_common.stores.drivers.swift.client import SwiftAccount

LOG = logging.getLogger(__name__)

_EVERY_PROJECT = "*:*"


class TenantSwiftStore(SwiftStore):
    """Objects in the accounts of projects. The mark, and a note about each image, are in the store's own container."""

    capabilities = Capabilities(
        schemes=SCHEMES, add=True, delete=True, ranges=True, walk=True, presign=False, access_lists=True
    )

    def __init__(
        self, settings: StoreSettings, options: SwiftOptions, accounts: "Mapping[str, SwiftAccount]",
        identities: Identities, tenants: TenantAccounts,
    ) -> None:
        """``accounts`` has the one of the store's user."""
        super().__init__(settings, options, accounts, identities)
        self._tenants = tenants

    def add(self, key: str, pieces: Iterable[bytes], size: int | None) -> Stored:
        """See the contract. The data go to the account of the project that the caller acts for."""
        require_key(key)
        insist(self._prove_or_create)
        caller = current_caller()
        url = insist(partial(self._tenants.url_for, caller))
        found = TenantObject(key, container_of(self._options.container, key), url)
        account = self._tenants.of(url, caller)
        try:
            insist(partial(self._begin, account, found))
            written = SwiftUpload(account, self._options, found.place).write(pieces, size)
        except BaseException as error:
            if not isinstance(error, BlobExists):
                self._give_up(account, found)
            if isinstance(error, SwiftFailed) and error.status == 403:
                raise WriteDenied(str(error)) from None
            raise
        return Stored(written, {}, found.key)

    def open(self, key: str, offset: int = 0, length: int | None = None) -> StreamBlob:
        """See the contract."""
        found = self._found(key)
        require_range(offset, length)
        blob = open_object(self._tenants.of(found.account), found.place, offset, length, self._options.resumes)
        if blob is None:
            raise self._absent(key)
        return blob

    def size(self, key: str) -> int:
        """See the contract."""
        found = self._found(key)
        account = self._tenants.of(found.account)
        headers = account.head(found.container, found.name)
        if headers is None:
            insist_on_absence(account, found.place)
            raise self._absent(key)
        return size_of(headers, found.name)

    def delete(self, key: str) -> None:
        """See the contract. The container of the image goes too."""
        found = self._found(key)
        # An installation that was taken over has no container of the store, and may delete before it writes.
        self._prove_or_create()
        account = self._tenants.of(found.account)
        headers = account.head(found.container, found.name, manifest=True)
        if headers is not None:
            remove_object(account, found.place, headers)
        try:
            remove_segments(account, found.container, f"{found.name}-")
            self._remove_container(account, found)
        except NoContainer:
            pass
        self._account.delete(self._options.container, found.key)
        if headers is None:
            raise self._absent(key)

    def set_access(self, key: str, access: DataAccess) -> None:
        """See the contract."""
        found = self._found(key)
        caller = current_caller()
        headers = self._access_headers(access)
        try:
            self._tenants.of(found.account).post_container(found.container, headers)
        except NoContainer:
            raise self._absent(key) from None
        except SwiftFailed as failed:
            if failed.status != 403 or not caller.token:
                raise
            # The user of the store may write to containers, and the caller owns the account.
            self._tenants.of(found.account, caller).post_container(found.container, headers)

    def url(self, key: str) -> str:
        """See the contract."""
        found = parse_key(key)
        return super().url(key) if found is None else found.url

    def key_of(self, url: str) -> str | None:
        """See the contract."""
        found = parse_url(url, self._options.container)
        if found is not None:
            return found.key
        key = super().key_of(url)
        return key if key is not None and is_key(key) else None

    def walk(self, after: str | None = None) -> Iterator[StoredObject]:
        """See the contract. Images whose upload did not end are left out."""
        self.identity()
        for note in self._account.pages(self._options.container, "", after or "", PAGE):
            found = _noted(note["name"])
            if found is not None:
                headers = self._tenants.of(found.account).head(found.container, found.name)
                if headers is not None:
                    yield StoredObject(found.key, size_of(headers, found.name), seconds_of(note["last_modified"]))

    def free(self) -> int | None:
        """Return None: each project has a quota of its own."""
        return None

    def presign(self, key: str, seconds: int) -> str | None:  # noqa: ARG002 - part of the protocol
        """Return None: keys of such addresses belong to the accounts of projects."""
        parse_key(key)
        return None

    def _begin(self, account: "SwiftAccount", found: TenantObject) -> None:
        """Note where the data will be, and make their container. Raises BlobExists."""
        if account.head(found.container, found.name) is not None:
            raise BlobExists(f"{found.container}: {found.name} is there")
        self._account.put(self._options.container, found.key, [], {})
        account.put_container(found.container, self._access_headers(DataAccess(public=False)))

    def _access_headers(self, access: DataAccess) -> dict[str, str]:
        admins = [f"{project}:*" for project in self._options.admin_projects]
        readers = [_EVERY_PROJECT] if access.public else [f"{project}:*" for project in access.projects]
        return {"X-Container-Read": ",".join([*readers, *admins]), "X-Container-Write": ",".join(admins)}

    def _give_up(self, account: "SwiftAccount", found: TenantObject) -> None:
        """Remove the container of an upload that failed. What stays goes with the key."""
        try:
            account.delete_container(found.container)
            self._account.delete(self._options.container, found.key)
        except StoreError as failed:
            LOG.warning("the container of %s stays until its deletion: %s", found.name, failed)

    def _remove_container(self, account: "SwiftAccount", found: TenantObject) -> None:
        try:
            account.delete_container(found.container)
        except SwiftFailed as failed:
            if failed.status != 403:
                raise
            # Whom a list lets write may delete objects, and no containers.
            LOG.warning("the empty container %s stays: %s", found.container, failed)

    def _found(self, key: str) -> TenantObject:
        """Return where the object of a key is. Raises BadLocation, and BlobNotFound for an id that has no note."""
        found = parse_key(key)
        if found is None:
            self.identity()
            notes = self._account.page(self._options.container, f"{key}/", "", 1)
            found = _noted(notes[0]["name"]) if notes else None
            if found is None:
                raise self._absent(key)
        return found

    def _absent(self, key: str) -> BlobNotFound:
        """Return the error for a missing object, after the proof that this is the right Swift."""
        self.identity()
        return BlobNotFound(f"{self._place.name}: there is no {key}")


def _noted(name: str) -> TenantObject | None:
    """Return what a note in the store's container names, None for an object of others."""
    try:
        return parse_key(name)
    except StoreError:
        return None
