"""What drivers have in common; a driver may take it over, or fulfil the contract by itself."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from typing import Any, ClassVar, Self

from oslo_config import cfg

from glance_common.stores.contract import (
    Blob,
    Capabilities,
    DataAccess,
    StoredObject,
    WalkUnsupported,
    require_key,
)
from glance_common.stores.settings import Identities, StoreSettings, Traits

FIRST = 64 * 1024
"""Bytes of the first piece of a read."""


def piece_sizes(most: int) -> Iterator[int]:
    """Yield the bytes to read at a time: few at first, so that the first byte leaves soon, then up to ``most``."""
    size = min(FIRST, most)
    while True:
        yield size
        size = min(2 * size, most)


class BaseStore(ABC):
    """The answers of a store without special abilities. Adding, reading and deleting are the driver's own."""

    kind: ClassVar[str]
    traits: ClassVar[Traits] = Traits()
    capabilities: Capabilities

    def __init__(self, settings: StoreSettings, identities: Identities) -> None:
        self.id = settings.id
        self.description = settings.description
        self.weight = settings.weight
        self.identities = identities

    @classmethod
    def options(cls) -> Sequence[cfg.Opt]:
        """Return the options of one store of this kind: none."""
        return []

    @classmethod
    def build(cls, settings: StoreSettings, identities: Identities) -> Self:
        """Return the store. Raises StoreConfigError for bad options."""
        return cls(settings, identities)

    @classmethod
    def places(cls, settings: StoreSettings) -> Sequence[str]:  # noqa: ARG003 - part of the protocol
        """Return what the store alone must own: nothing that a host could have."""
        return []

    @classmethod
    def create_places(cls, settings: StoreSettings) -> Sequence[str]:  # noqa: ARG003 - part of the protocol
        """Create nothing and return nothing."""
        return []

    @abstractmethod
    def identity(self) -> str:
        """See the contract."""

    @abstractmethod
    def open(self, key: str, offset: int = 0, length: int | None = None) -> Blob:
        """See the contract."""

    def size(self, key: str) -> int:
        """Return the bytes of the object, which is opened for that."""
        with closing(self.open(key, 0, 0)) as blob:
            return blob.size

    def check(self) -> None:
        """Raise StoreUnavailable unless the store is proved to be the right one."""
        self.identity()

    def details(self) -> dict[str, Any]:
        """Return nothing."""
        return {}

    def walk(self, after: str | None = None) -> Iterator[StoredObject]:  # noqa: ARG002 - part of the protocol
        """Raise WalkUnsupported."""
        raise WalkUnsupported(f"store {self.id} cannot list its objects")

    def free(self) -> int | None:
        """Return None: not known."""
        return None

    def presign(self, key: str, seconds: int) -> str | None:  # noqa: ARG002 - part of the protocol
        """Return None: the store makes no such addresses."""
        require_key(key)
        return None

    def set_access(self, key: str, access: DataAccess) -> None:  # noqa: B027 - most stores keep no such lists
        """Do nothing: the store keeps no lists of who may read."""


class StreamBlob:
    """An opened read whose bytes come from ``pieces``; fulfils ``contract.Blob``."""

    def __init__(self, size: int, pieces: Iterator[bytes], close: Callable[[], object] = lambda: None) -> None:
        """``size``: bytes of the whole object; ``close`` releases what the read holds."""
        self.size = size
        self._pieces = pieces
        self._close = close

    def __iter__(self) -> Iterator[bytes]:
        """Yield the pieces."""
        return self._pieces

    def fileno(self) -> int | None:
        """Return None: the bytes are no local file."""
        return None

    def path(self) -> str | None:
        """Return None, as ``fileno``."""
        return None

    def close(self) -> None:
        """Release what the read holds, once."""
        close, self._close = self._close, _nothing
        with suppress(ValueError):  # a generator that another thread runs at this moment
            getattr(self._pieces, "close", _nothing)()
        close()


def _nothing() -> None:
    """Do nothing."""
