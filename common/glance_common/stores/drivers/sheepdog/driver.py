"""The sheepdog store (stores section 10). An image is a VDI of its key, as Cinder's sheepdog driver clones it."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any

from oslo_config import cfg

from glance_common.stores.base import BaseStore, StreamBlob
from glance_common.stores.contract import (
    BlobExists,
    BlobNotFound,
    Capabilities,
    Stored,
    StoredObject,
    StoreUnavailable,
    is_key,
    require_key,
    require_range,
)
from glance_common.stores.drivers.sheepdog.cluster import ListedVdi
from glance_common.stores.drivers.sheepdog.options import OPTIONS, configured_place, open_cluster
from glance_common.stores.drivers.sheepdog.program import VdiExists, VdiMissing
from glance_common.stores.drivers.sheepdog.writing import remove_vdi, write_vdi
from glance_common.stores.place_mark import NAME, PlaceMark
from glance_common.stores.settings import Identities, StoreSettings, Traits

SECTION = 64 * 1024 * 1024
"""Bytes that one run of ``dog`` reads; shorter runs cost a third of the speed, since each reads the VDI's table.

They follow each other: a section that is read ahead would have to be in memory.
"""

_MIB = 1024 * 1024
_IDENTITY = 36
"""Characters of a uuid."""


class SheepdogStore(BaseStore):
    """Images in one Sheepdog cluster; fulfils ``contract.Store`` and ``settings.Driver``."""

    kind = "sheepdog"
    traits = Traits(remote=True, one_peer=True, place_option="sheepdog_store_address")
    capabilities = Capabilities(schemes=("sheepdog",), add=True, delete=True, ranges=True, walk=True)

    def __init__(self, settings: StoreSettings, identities: Identities) -> None:
        """Raises StoreConfigError for bad options."""
        super().__init__(settings, identities)
        self._cluster, self._place = open_cluster(settings)
        self._part = settings.value("sheepdog_store_chunk_size") * _MIB
        self._timeout: float = settings.value("sheepdog_store_timeout")
        self._mark = PlaceMark(self.id, str(self._place), identities, read=self._read_mark, write=self._write_mark)

    @classmethod
    def options(cls) -> Sequence[cfg.Opt]:
        """Return the options of one sheepdog store."""
        return OPTIONS

    @classmethod
    def places(cls, settings: StoreSettings) -> Sequence[str]:
        """Return the cluster as it is addressed. Raises StoreConfigError."""
        return [str(configured_place(settings))]

    def add(self, key: str, pieces: Iterable[bytes], size: int | None) -> Stored:  # noqa: ARG002 - part of the protocol
        """See the contract. The VDI grows with the data, since it could not shrink to fewer than announced."""
        require_key(key)
        self._mark.prove()
        if self._cluster.exists(key):
            raise BlobExists(f"{self.id}: {key} is there")
        try:
            return Stored(write_vdi(self._cluster, key, pieces, part=self._part, timeout=self._timeout), {})
        except VdiExists:
            raise BlobExists(f"{self.id}: {key} is there") from None

    def open(self, key: str, offset: int = 0, length: int | None = None) -> StreamBlob:
        """See the contract."""
        require_range(offset, length)
        size = self.size(key)
        end = size if length is None else min(offset + length, size)
        return StreamBlob(size, self._pieces(key, offset, end))

    def _pieces(self, key: str, offset: int, end: int) -> Iterator[bytes]:
        for start in range(offset, end, SECTION):
            yield from self._cluster.read(key, start, min(SECTION, end - start))

    def size(self, key: str) -> int:
        """See the contract."""
        require_key(key)
        found = self._complete(key)
        if found is None:
            self._mark.prove()
            raise BlobNotFound(f"{self.id}: there is no {key}")
        return found.size

    def _complete(self, name: str) -> ListedVdi | None:
        """Return the VDI of the name. Its snapshots, which others may have made, have the name as well."""
        return next((vdi for vdi in self._cluster.vdis(name) if vdi.name == name and vdi.tag is None), None)

    def delete(self, key: str) -> None:
        """See the contract. Clones and snapshots that others made of the image keep their data."""
        require_key(key)
        self._mark.prove()
        if not remove_vdi(self._cluster, key):
            raise BlobNotFound(f"{self.id}: there is no {key}")

    def url(self, key: str) -> str:
        """See the contract."""
        require_key(key)
        return self._place.url(key)

    def key_of(self, url: str) -> str | None:
        """See the contract."""
        return self._place.key_of(url)

    def details(self) -> dict[str, Any]:
        """Return how the cluster is reached."""
        return {"address": self._place.address, "port": self._place.port}

    def walk(self, after: str | None = None) -> Iterator[StoredObject]:
        """See the contract. The cluster has no list from a name on, so all of it is read."""
        self._mark.prove()
        found = {vdi.name: vdi for vdi in self._cluster.vdis() if vdi.tag is None and is_key(vdi.name)}
        for key in sorted(found):
            if key > (after or ""):
                yield StoredObject(key, found[key].size, found[key].created)

    def free(self) -> int | None:
        """Return the bytes of data that still fit, with as many copies as the mark of the store has."""
        self._mark.prove()
        mark = self._complete(NAME)
        if mark is None:
            raise StoreUnavailable(f"{self._place} lost its VDI {NAME}")
        kept, data = mark.spread
        return self._cluster.free() * data // kept

    def identity(self) -> str:
        """See the contract."""
        return self._mark.prove()

    def _read_mark(self) -> str | None:
        try:
            return b"".join(self._cluster.read(NAME, 0, _IDENTITY)).decode("ascii", "replace")
        except VdiMissing:
            return None

    def _write_mark(self, identity: str, *, replace: bool) -> None:
        text = identity.encode()
        if replace:
            self._cluster.overwrite(NAME, 0, text)
            return
        with suppress(VdiExists):
            write_vdi(self._cluster, NAME, [text], part=self._part, timeout=self._timeout)
