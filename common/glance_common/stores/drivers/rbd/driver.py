"""The rbd store (stores section 7).

An image of the service is an RBD image of the same name. Its protected snapshot ``snap`` comes last: without it the
image is unfinished and cannot be read. Nova and Cinder make their disks as clones of that snapshot.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC
from typing import Any, Self

from oslo_config import cfg

from glance_common.stores.base import BaseStore, StreamBlob
from glance_common.stores.calls import Steps
from glance_common.stores.ceph_modules import bindings
from glance_common.stores.contract import (
    BlobNotFound,
    Capabilities,
    InUse,
    Stored,
    StoredObject,
    StoreUnavailable,
    WriteDenied,
    is_key,
    require_key,
    require_range,
)
from glance_common.stores.drivers.rbd import deleting
from glance_common.stores.drivers.rbd import options as rbd_options
from glance_common.stores.drivers.rbd.address import SCHEME, SNAPSHOT
from glance_common.stores.drivers.rbd.cluster import PATIENCE, CephCluster, Pool
from glance_common.stores.drivers.rbd.errors import RbdFailed
from glance_common.stores.drivers.rbd.options import RbdOptions
from glance_common.stores.drivers.rbd.reading import open_image
from glance_common.stores.drivers.rbd.writing import RbdUpload
from glance_common.stores.place_mark import NAME, PlaceMark
from glance_common.stores.settings import Identities, StoreSettings, Traits

_LONGEST_MARK = 100


class RbdStore(BaseStore):
    """Images in a pool of a Ceph cluster; fulfils ``contract.Store`` and ``settings.Driver``."""

    kind = "rbd"
    traits = Traits(remote=True, one_peer=True, place_option="rbd_store_pool")
    capabilities = Capabilities(schemes=(SCHEME,), add=True, delete=True, ranges=True, walk=True, clones=True)

    def __init__(self, settings: StoreSettings, identities: Identities, options: RbdOptions) -> None:
        super().__init__(settings, identities)
        self._options = options
        self._place = options.place
        self._cluster = CephCluster(options)
        self._mark = PlaceMark(
            self.id, self._place.name, identities, read=self._read_mark, write=self._write_mark
        )

    @classmethod
    def options(cls) -> Sequence[cfg.Opt]:
        """Return the options of one rbd store."""
        return rbd_options.OPTIONS

    @classmethod
    def build(cls, settings: StoreSettings, identities: Identities) -> Self:
        """Return the store; nothing is connected yet. Raises StoreConfigError, also without Ceph's modules."""
        return cls(settings, identities, rbd_options.parse(settings))

    @classmethod
    def places(cls, settings: StoreSettings) -> Sequence[str]:
        """Return cluster and pool. Raises StoreConfigError."""
        return [rbd_options.parse_place(settings).name]

    def add(self, key: str, pieces: Iterable[bytes], size: int | None) -> Stored:
        """See the contract."""
        require_key(key)
        self._mark.prove()
        try:
            with self._cluster.pool() as pool:
                return Stored(RbdUpload(pool, self._options, key).write(pieces, size), {})
        except RbdFailed as failed:
            if failed.denied:
                raise WriteDenied(str(failed)) from None
            raise

    def open(self, key: str, offset: int = 0, length: int | None = None) -> StreamBlob:
        """See the contract. While it is open, the image cannot be deleted."""
        require_key(key)
        require_range(offset, length)
        pool = self._cluster.open_pool()
        try:
            image = open_image(pool, key, PATIENCE * self._options.operation_seconds)
            if image is None:
                raise self._missing(key)
        except BaseException:
            pool.close()
            raise
        return image.blob(offset, length)

    def delete(self, key: str) -> None:
        """See the contract. Raises InUse while clones, readers or writers keep data of the key."""
        require_key(key)
        self._mark.prove()
        progress = Steps()
        with self._cluster.pool() as pool:
            was_finished = pool.ask(
                "remove an image", lambda: deleting.remove(pool.io, key, progress), progress=progress,
                expected=(InUse, StoreUnavailable),
            )
        if not was_finished:
            # A pool that was deleted meanwhile has no images either.
            raise self._missing(key)

    def url(self, key: str) -> str:
        """See the contract."""
        require_key(key)
        return self._place.url(key)

    def key_of(self, url: str) -> str | None:
        """See the contract. The short form ``rbd://<image>`` names an image of this cluster and pool."""
        return self._place.key_of(url)

    def details(self) -> dict[str, Any]:
        """Return cluster, pool, bytes of an object, and whether zeros are left out."""
        return {
            "fsid": self._place.fsid,
            "pool": self._place.pool,
            "chunk_size": 1 << self._options.order,
            "thin_provisioning": self._options.thin,
        }

    def walk(self, after: str | None = None) -> Iterator[StoredObject]:
        """See the contract."""
        with self._cluster.pool() as pool:
            names = pool.ask("list the images", lambda: bindings().rbd.RBD().list(pool.io))
            # After the list: that of a pool without a directory of images is empty.
            self._mark.prove()
            for key in sorted(name for name in names if is_key(name) and name > (after or "")):
                found = _looked_at(pool, key)
                if found is not None:
                    yield found
        self._mark.prove()

    def free(self) -> int | None:
        """Return the bytes that the pool still takes; None when the cluster does not tell."""
        return self._cluster.free()

    def identity(self) -> str:
        """See the contract."""
        return self._mark.prove()

    def close(self) -> None:
        """End the connection; the store is not used any more."""
        self._cluster.close()

    def _missing(self, key: str) -> BlobNotFound:
        """Return the error for a missing image, after the proof that this is the right pool."""
        self._mark.prove()
        return BlobNotFound(f"{self._place.name}: there is no {key}")

    def _read_mark(self) -> str | None:
        missing = bindings().rados.ObjectNotFound
        with self._cluster.pool() as pool:
            try:
                text: bytes = pool.ask(
                    "read the mark", lambda: pool.io.read(NAME, _LONGEST_MARK), expected=(missing,)
                )
            except missing:
                return None
        return text.decode(errors="replace")

    def _write_mark(self, identity: str, *, replace: bool) -> None:
        rados = bindings().rados

        def act(pool: Pool) -> None:
            deleting.prepare_trash(pool.io)
            with rados.WriteOpCtx() as operation:
                if not replace:
                    operation.new(rados.LIBRADOS_CREATE_EXCLUSIVE)
                operation.write_full(identity.encode())
                pool.io.operate_write_op(operation, NAME)

        with self._cluster.pool() as pool:
            try:
                pool.ask("write the mark", lambda: act(pool), expected=(rados.ObjectExists,))
            except rados.ObjectExists:
                return


def _looked_at(pool: Pool, key: str) -> StoredObject | None:
    """Return a finished image, as its snapshot has it; None for an unfinished one, and for one that is gone."""
    rbd = bindings().rbd

    def act() -> StoredObject | None:
        with rbd.Image(pool.io, key, read_only=True) as image:
            for snapshot in image.list_snaps():
                if snapshot["name"] == SNAPSHOT:
                    made = image.get_snap_timestamp(snapshot["id"]).replace(tzinfo=UTC).timestamp()
                    return StoredObject(key, snapshot["size"], made)
        return None

    try:
        return pool.ask("look at an image", act, expected=(rbd.ImageNotFound,))
    except rbd.ImageNotFound:
        return None
