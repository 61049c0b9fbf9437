"""The cinder store (stores section 8).

An image is a volume, whose id is the key: ``add`` does not choose it. Its name holds the key that ``add`` was given, so
that what a dead ``add`` left is found. A small volume with the mark of the store proves that this is the right project.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

from oslo_config import cfg

from glance_common.stores.base import BaseStore, StreamBlob
from glance_common.stores.contract import (
    BlobNotFound,
    Capabilities,
    LocationRefused,
    Stored,
    StoredObject,
    StoreError,
    StoreForbidden,
    StoreUnavailable,
    WriteDenied,
    require_key,
    require_range,
)
from glance_common.stores.drivers.cinder import options as cinder_options
from glance_common.stores.drivers.cinder.errors import CinderFailed
from glance_common.stores.drivers.cinder.options import CinderOptions
from glance_common.stores.drivers.cinder.place import SCHEME
from glance_common.stores.drivers.cinder.volumes import GIB, NAME, STORE, Volume
from glance_common.stores.place_mark import NAME as MARK
from glance_common.stores.place_mark import PlaceMark
from glance_common.stores.settings import Identities, StoreConfigError, StoreSettings, Traits

if TYPE_CHECKING:
    from glance_common.stores.drivers.cinder.client import CinderApi
    from glance_common.stores.drivers.cinder.machinery import Machinery


class CinderStore(BaseStore):
    """Volumes of one type; fulfils ``contract.Store`` and ``settings.Driver``."""

    kind = "cinder"
    traits = Traits(remote=True, one_peer=True, place_option="cinder_volume_type")
    capabilities = Capabilities(schemes=(SCHEME,), add=True, delete=True, ranges=True, walk=True)

    def __init__(
        self, settings: StoreSettings, identities: Identities, options: CinderOptions, machinery: "Machinery"
    ) -> None:
        super().__init__(settings, identities)
        self._options = options
        self._place = options.place
        self._machinery = machinery
        self._mark = PlaceMark(
            self.id, self._place.name, identities, read=self._read_mark, write=self._write_mark
        )

    @classmethod
    def options(cls) -> Sequence[cfg.Opt]:
        """Return the options of one cinder store."""
        return cinder_options.OPTIONS

    @classmethod
    def host_options(cls) -> Mapping[str, Sequence[cfg.Opt]]:
        """Return the options of os-brick and of the locks of this host."""
        return cinder_options.SHARED_OPTIONS

    @classmethod
    def build(cls, settings: StoreSettings, identities: Identities) -> Self:
        """Return the store; no server is asked. Raises StoreConfigError, also without the libraries."""
        parsed = cinder_options.parse(settings)
        try:
            from glance_common.stores.drivers.cinder.brick import load
            from glance_common.stores.drivers.cinder.machinery import Machinery

            load()
        except ImportError as error:
            raise StoreConfigError(
                settings.group, "cinder_volume_type", settings.value("cinder_volume_type"),
                f"needs {error.name}: pip install glance-services[cinder]",
            ) from None
        return cls(settings, identities, parsed, Machinery(parsed))

    @classmethod
    def places(cls, settings: StoreSettings) -> Sequence[str]:
        """Return project and type. Raises StoreConfigError."""
        return [cinder_options.parse_place(settings).name]

    def add(self, key: str, pieces: Iterable[bytes], size: int | None) -> Stored:
        """See the contract. The data are under the id of the volume."""
        require_key(key)
        identity = self._proved()
        try:
            written, volume = self._machinery.upload(key, identity).write(pieces, size)
        except CinderFailed as failed:
            if failed.status == 403:
                raise WriteDenied(str(failed)) from None
            raise
        return Stored(written, {}, volume)

    def open(self, key: str, offset: int = 0, length: int | None = None) -> StreamBlob:
        """See the contract. While it is open, the image cannot be deleted."""
        require_key(key)
        require_range(offset, length)
        api = self._machinery.api()
        return self._machinery.readers.open(api, self._image(api, key), offset, length)

    def size(self, key: str) -> int:
        """See the contract. Nothing is attached."""
        require_key(key)
        return self._image(self._machinery.api(), key).bytes

    def delete(self, key: str) -> None:
        """See the contract. Raises InUse while a living process has a volume of the key attached."""
        require_key(key)
        self._proved()
        api = self._machinery.api()
        found = api.find(key)
        if found is not None and not found.is_image:
            raise StoreForbidden(f"{self._place.name}: {key} is a volume of others, and no image")
        wanted = [] if found is None else [found]
        wanted += [volume for volume in api.named(NAME + key, everywhere=True) if volume.is_image]
        for volume in wanted:
            self._machinery.remove(api, volume)
        if not any(volume.is_finished for volume in wanted):
            raise self._missing(key)

    def url(self, key: str) -> str:
        """See the contract."""
        require_key(key)
        return self._place.url(key)

    def key_of(self, url: str) -> str | None:
        """See the contract. ``cinder://<volume>`` of older records names a volume too."""
        return self._place.key_of(url)

    def details(self) -> dict[str, Any]:
        """Return the type of the volumes, and whether they are reached by several paths."""
        return {"volume_type": self._options.type, "use_multipath": self._options.brick.multipath}

    def walk(self, after: str | None = None) -> Iterator[StoredObject]:
        """See the contract."""
        identity = self._proved()
        for volume in self._machinery.api().each():
            if volume.id > (after or "") and volume.is_finished and self._owns(volume, identity):
                yield StoredObject(volume.id, volume.bytes, volume.changed)
        self._proved()

    def free(self) -> int | None:
        """Return what the quota of the project still allows, None without one."""
        left = self._machinery.api().gib_left()
        return None if left is None else left * GIB

    def identity(self) -> str:
        """See the contract. Empty where each caller uses its own project."""
        return self._proved()

    def check(self) -> None:
        """Raise StoreUnavailable unless the store is proved to be the right one."""
        if self._options.login is not None:
            self.identity()

    def close(self) -> None:
        """End the connections; the store is not used any more."""
        self._machinery.close()

    def _proved(self) -> str:
        return "" if self._options.login is None else self._mark.prove()

    def _image(self, api: "CinderApi", key: str) -> Volume:
        """Return the volume of a finished image. Raises BlobNotFound, LocationRefused."""
        volume = api.find(key)
        if volume is not None and not volume.is_image:
            raise LocationRefused("the volume is not an image: it has no metadata glance_image_id")
        if volume is None or not volume.is_finished:
            raise self._missing(key)
        return volume

    def _missing(self, key: str) -> StoreError:
        """Return the error for a missing image, after the proof that this is the right project."""
        if self._options.login is None:
            return StoreUnavailable(f"{self._place.name}: the project of this caller has no volume {key}")
        self._mark.prove()
        return BlobNotFound(f"{self._place.name}: there is no {key}")

    def _owns(self, volume: Volume, identity: str) -> bool:
        """Say whether a volume is of this store. Those of the original have no mark; their type must do."""
        mark = volume.metadata.get(STORE)
        return mark == identity if mark else self._options.type in (None, volume.type)

    @property
    def _mark_name(self) -> str:
        return f"{MARK}.{self._place.type}" if self._place.type else MARK

    def _read_mark(self) -> str | None:
        marks = self._marks(self._machinery.api())
        return marks[0].metadata[STORE] if marks else None

    def _write_mark(self, identity: str, *, replace: bool) -> None:
        api = self._machinery.api()
        marks = self._marks(api)
        if replace and marks:
            api.set_metadata(marks[0].id, {STORE: identity})
            return
        made = api.create(self._mark_name, 1, self._options.type, {STORE: identity})
        if made.encrypted:
            api.delete(made.id)
            raise WriteDenied(f"{self._place.name}: the volume type encrypts volumes, which images cannot be in")
        if self._marks(api)[0].id != made.id:
            # Another process was the first.
            api.delete(made.id)

    def _marks(self, api: "CinderApi") -> list[Volume]:
        """Return the volumes with the mark, the oldest first; several only while processes begin at one moment."""
        found = api.named(self._mark_name)
        return [volume for volume in found if volume.metadata.get(STORE) and volume.status != "deleting"]
