"""The vmware store (stores section 9).

An image is a file named after its key in the image directory of one of the datastores. It is written under another
name and gets its own when all bytes are there: a server keeps what came before a connection broke.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Self, TypeVar
from uuid import uuid4

from oslo_config import cfg

from glance_common.fetch.deadlines import pause, within
from glance_common.stores.base import BaseStore, StreamBlob
from glance_common.stores.contract import (
    BlobExists,
    BlobNotFound,
    Capabilities,
    InUse,
    Stored,
    StoredObject,
    StoreError,
    StoreFull,
    StoreUnavailable,
    WriteDenied,
    is_key,
    require_key,
    require_range,
)
from glance_common.stores.drivers.vmware import options as vmware_options
from glance_common.stores.drivers.vmware.errors import BROKEN, DENIED, MISSING, SERVER, TAKEN, VmwareFailed, failed
from glance_common.stores.drivers.vmware.folder import Folder
from glance_common.stores.drivers.vmware.options import VmwareOptions
from glance_common.stores.drivers.vmware.place import SCHEME, Datastore, DatastoreFile
from glance_common.stores.drivers.vmware.reading import open_file
from glance_common.stores.drivers.vmware.transport import HttpsClient
from glance_common.stores.drivers.vmware.vcenter import VCenter
from glance_common.stores.drivers.vmware.whereabouts import Whereabouts
from glance_common.stores.drivers.vmware.window import WINDOW, Replayable
from glance_common.stores.place_mark import NAME, PlaceMark
from glance_common.stores.settings import Identities, StoreConfigError, StoreSettings, Traits

T = TypeVar("T")
LOG = logging.getLogger(__name__)

INCOMING = "incoming"
"""Begin of the names of unfinished files: ``incoming~<key>~<attempt>``."""

_FIRST_LETTERS = "0123456789ABCDEFabcdef"
"""Of keys, in their order: each is one search, so that the list of a large directory comes in parts."""

_PAUSES = (0.0, 0.2, 1.0)
"""Seconds before each try to remove a file that a server may still have open, or may not have made yet."""


class VmwareStore(BaseStore):
    """Images in datastores of one server; fulfils ``contract.Store`` and ``settings.Driver``."""

    kind = "vmware"
    traits = Traits(remote=True, one_peer=True, place_option="vmware_datastores")
    capabilities = Capabilities(schemes=(SCHEME,), add=True, delete=True, ranges=True, walk=True)

    def __init__(self, settings: StoreSettings, options: VmwareOptions, identities: Identities) -> None:
        super().__init__(settings, identities)
        self._options = options
        self._place = options.place
        self._transport = HttpsClient(options)
        self._vcenter = VCenter(options, self._transport)
        self._folder = Folder(options, self._transport, self._vcenter)
        self._whereabouts = Whereabouts(self._place.datastores)
        self._marks = {
            datastore: PlaceMark(
                self.id, self._place.name(datastore), identities,
                read=partial(self._read_mark, datastore), write=partial(self._write_mark, datastore),
            )
            for datastore in self._place.datastores
        }

    @classmethod
    def options(cls) -> Sequence[cfg.Opt]:
        """Return the options of one vmware store."""
        return vmware_options.OPTIONS

    @classmethod
    def build(cls, settings: StoreSettings, identities: Identities) -> Self:
        """Return the store; nothing is connected yet. Raises StoreConfigError, also when pyvmomi is not installed."""
        options = vmware_options.parse(settings)
        try:
            import pyVmomi  # noqa: F401 - used at the first call
        except ImportError:
            raise StoreConfigError(
                settings.group, "vmware_server_host", options.place.host,
                "needs the package pyvmomi: pip install 'glance-services[vmware]'",
            ) from None
        if options.verify is False and options.thumbprint is None:
            LOG.warning("store %s does not check the certificate of %s", settings.id, options.place.host)
        return cls(settings, options, identities)

    @classmethod
    def places(cls, settings: StoreSettings) -> Sequence[str]:
        """Return the directory in each datastore. Raises StoreConfigError."""
        place = vmware_options.parse_place(settings)
        return [place.name(datastore) for datastore in place.datastores]

    def add(self, key: str, pieces: Iterable[bytes], size: int | None) -> Stored:
        """See the contract."""
        require_key(key)
        free = self._free()
        datastore = self._chosen(free, size)
        self._marks[datastore].prove()
        for other in free:
            if self._folder.size(self._place.file(other, key)) is not None:
                raise BlobExists(f"{self._place.name(other)}: {key} is there")
        data = Replayable(pieces, size)
        attempt = self._place.file(datastore, f"{INCOMING}~{key}~{uuid4().hex}")
        try:
            self._write(attempt, data, size)
            self._publish(attempt, self._place.file(datastore, key), data.written)
        except BaseException:
            self._withdraw(attempt)
            raise
        self._whereabouts.learn(key, datastore)
        return Stored(data.written, {})

    def _free(self) -> dict[Datastore, int]:
        """Return the free bytes of the datastores that can be used now. Raises StoreUnavailable when none can."""
        usable: dict[Datastore, int] = {}
        problem = StoreUnavailable(f"{self.id}: no datastore can be reached, or all are in maintenance")
        for datastore in self._place.datastores:
            try:
                free = self._vcenter.free(datastore)
            except VmwareFailed as error:
                if error.code in SERVER:
                    raise
                LOG.warning("store %s goes without a datastore: %s", self.id, error)
                problem = error
                continue
            if free is not None:
                usable[datastore] = free
        if not usable:
            raise problem
        return usable

    def _chosen(self, free: dict[Datastore, int], size: int | None) -> Datastore:
        fitting = [datastore for datastore, room in free.items() if room >= max(size or 0, 1)]
        if not fitting:
            raise StoreFull(f"{self.id}: no datastore has room for {size or 1} bytes")
        return max(fitting, key=lambda datastore: (datastore.weight, free[datastore]))

    def _write(self, attempt: DatastoreFile, data: Replayable, size: int | None) -> None:
        try:
            self._folder.put(attempt, data)
        except VmwareFailed as error:
            if error.code in DENIED:
                raise WriteDenied(str(error)) from None
            if error.code in SERVER - {BROKEN}:
                raise
            # Servers just end the connection when a disk is full, or answer 500.
            free = None
            with suppress(StoreError):
                free = self._vcenter.free(attempt.datastore)
            if free is not None and free < max(WINDOW, (size or 0) - data.written):
                raise StoreFull(f"{self._place.name(attempt.datastore)}: no room is left") from None
            raise

    def _publish(self, attempt: DatastoreFile, file: DatastoreFile, written: int) -> None:
        """Prove that all bytes are there and give the file its name."""
        there = self._folder.size(attempt)
        if there is not None and there != written:
            raise StoreUnavailable(f"{self.id}: {there} of {written} bytes of {attempt.name} are there")
        try:
            self._vcenter.move(attempt, file)
        except VmwareFailed as error:
            if error.code in TAKEN:
                raise BlobExists(f"{self.id}: {file.name} is there") from None
            if error.code in MISSING:
                raise StoreUnavailable(f"{self.id}: {file.name} was deleted while it was written") from None
            if error.code in DENIED:
                raise WriteDenied(str(error)) from None
            if not self._is_moved(attempt, file, written):
                raise

    def _is_moved(self, attempt: DatastoreFile, file: DatastoreFile, written: int) -> bool:
        """Say whether the file has its name although the answer was lost."""
        with suppress(StoreError):
            return self._folder.size(attempt) is None and self._folder.size(file) == written
        return False

    def _withdraw(self, attempt: DatastoreFile) -> None:
        """Remove an unfinished file. What cannot be removed now goes with the key."""
        try:
            with within(self._options.call_timeout):
                for seconds in _PAUSES:
                    pause(seconds)
                    with suppress(InUse):
                        if self._vcenter.delete(attempt):
                            return
        except StoreError as error:
            LOG.warning("unfinished data stay until the deletion of their key: %s: %s", attempt.name, error)

    def open(self, key: str, offset: int = 0, length: int | None = None) -> StreamBlob:
        """See the contract."""
        require_key(key)
        require_range(offset, length)
        return self._found(key, lambda file: open_file(self._folder, file, offset, length))

    def size(self, key: str) -> int:
        """See the contract."""
        require_key(key)
        return self._found(key, self._folder.size)

    def _found(self, key: str, act: Callable[[DatastoreFile], T | None]) -> T:
        """Return what ``act`` returns of the first file that is there: a key does not tell its datastore."""
        problem: VmwareFailed | None = None
        for datastore in self._whereabouts.order(key):
            try:
                found = act(self._place.file(datastore, key))
            except VmwareFailed as error:
                if error.code in SERVER:
                    raise
                problem = problem or error
                continue
            if found is not None:
                self._whereabouts.learn(key, datastore)
                return found
        if problem is not None:
            raise problem
        self._prove()
        raise BlobNotFound(f"{self.id}: there is no {key}")

    def delete(self, key: str) -> None:
        """See the contract. Unfinished files go first: then no upload of the key can end any more."""
        require_key(key)
        self._prove()
        is_found = False
        unfinished = f"{INCOMING}~{key}~"
        for datastore in self._place.datastores:
            directory = DatastoreFile(datastore, self._place.directory)
            for each in self._vcenter.search(directory, f"{unfinished}*"):
                if each.name.startswith(unfinished):  # servers may not tell upper from lower case
                    self._vcenter.delete(self._place.file(datastore, each.name))
            is_found |= self._vcenter.delete(self._place.file(datastore, key))
        self._whereabouts.forget(key)
        if not is_found:
            raise BlobNotFound(f"{self.id}: there is no {key}")

    def url(self, key: str) -> str:
        """Return the URL with the datastore that has the key; with the first one when that cannot be told."""
        require_key(key)
        datastores = self._place.datastores
        if len(datastores) > 1 and not self._whereabouts.knows(key):
            with suppress(StoreError):
                self.size(key)
        return self._place.url(next(iter(self._whereabouts.order(key))), key)

    def key_of(self, url: str) -> str | None:
        """See the contract. URLs of the original are those of this store."""
        found = self._place.parse(url)
        return None if found is None else found[1]

    def details(self) -> dict[str, Any]:
        """Return server, directory and datastores."""
        return {
            "vmware_server_host": self._place.host,
            "vmware_store_image_dir": f"/{self._place.directory}",
            "vmware_datastores": [f"{each.datacenter}:{each.name}:{each.weight}" for each in self._place.datastores],
        }

    def walk(self, after: str | None = None) -> Iterator[StoredObject]:
        """See the contract."""
        self._prove()
        begin = after or ""
        for letter in _FIRST_LETTERS:
            if letter < begin[:1]:
                continue
            found = [
                StoredObject(each.name, each.size, each.modified)
                for datastore in self._place.datastores
                for each in self._vcenter.search(DatastoreFile(datastore, self._place.directory), f"{letter}*")
                # Servers may not tell upper from lower case.
                if each.name.startswith(letter) and is_key(each.name) and each.name > begin
            ]
            yield from sorted(found, key=lambda each: each.key)

    def free(self) -> int | None:
        """Return the free bytes of the datastore that has most: an image lies in one of them."""
        return max(self._free().values())

    def identity(self) -> str:
        """See the contract: the uuids of all datastores."""
        return self._prove()

    def close(self) -> None:
        """End the session and close the connections; the store is not used any more."""
        self._vcenter.close()
        self._transport.close()

    def _prove(self) -> str:
        return ",".join(mark.prove() for mark in self._marks.values())

    def _read_mark(self, datastore: Datastore) -> str | None:
        file = self._place.file(datastore, NAME)
        answer = self._folder.ask("GET", file, {})
        text = answer.document()
        if answer.status == 404:
            return None
        if answer.status != 200:
            raise failed(str(answer.status), f"{self._place.name(datastore)}, GET {NAME}")
        return text.decode(errors="replace")

    def _write_mark(self, datastore: Datastore, identity: str, *, replace: bool) -> None:
        self._vcenter.make_directory(DatastoreFile(datastore, self._place.directory))
        attempt = self._place.file(datastore, f"{INCOMING}~mark~{uuid4().hex}")
        try:
            self._folder.put(attempt, Replayable([identity.encode()], None))
            self._vcenter.move(attempt, self._place.file(datastore, NAME), replace=replace)
        except VmwareFailed as error:
            self._withdraw(attempt)
            if error.code not in TAKEN:
                raise
