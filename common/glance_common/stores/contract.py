"""What a store is: the contract that every driver keeps and every caller may rely on.

A store keeps whole objects ("blobs") under keys. Hashing, counting, size caps and quotas are the caller's: it wraps the
pieces it hands to ``add``. One conformance suite (``tests/conformance``) runs against every driver.

Messages of the errors are for logs and operators: they may name paths and hosts, and they never hold credentials.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

RESERVED = "os_glance_"
"""How the ids of the stores begin that the service has for itself; operators cannot use them."""


class StoreError(Exception):
    """Base of the family; ``permanent`` says whether asking again later is useless."""

    permanent: ClassVar[bool] = True


class BlobExists(StoreError):
    """The key is taken; the data under it are untouched (S-70)."""


class BlobNotFound(StoreError):
    """There is nothing under the key, and the driver proved that it looked at the right store."""


class BadLocation(StoreError):
    """The key or URL is not one of this store, or leads where nothing can or may be fetched."""


class LocationRefused(BadLocation):
    """The rules forbid to fetch the URL. The text names the rule and may be told to users."""


class UnknownStore(StoreError):
    """No store with this id, or none for this URL, is configured."""


class AddDisabled(StoreError):
    """The store takes no data."""


class DeleteUnsupported(StoreError):
    """The store's data are not ours to delete."""


class RangeUnsupported(StoreError):
    """This object can only be read from its start."""


class StoreForbidden(StoreError):
    """The store refuses the operation on this object for a reason that time does not cure."""


class StoreFull(StoreError):
    """There is no room for the data (disk, quota or largest file size)."""


class WalkUnsupported(StoreError):
    """The store cannot list its objects."""


class InUse(StoreError):
    """The object is in use now, for example cloned or attached, and cannot be deleted yet."""

    permanent = False


class StoreUnavailable(StoreError):
    """The store cannot be asked now, or it cannot be proved that this is the right one; try again later."""

    permanent = False


class StoreResting(StoreUnavailable):
    """The store was not asked: it did not answer a moment ago, or as many calls wait for it as may."""


class WriteDenied(StoreUnavailable):
    """The store can be read, but this process may not write to it until an operator changes that."""


class Blob(Protocol):
    """An opened read of one object, or of a range of it.

    Its pieces may be fetched by other threads than the one that opened it, one at a time (``read_ahead``), and it is
    closed when no fetch is under way.
    """

    size: int
    """Bytes of the whole object, whatever the range; 0 when a server does not tell."""

    def __iter__(self) -> Iterator[bytes]:
        """Yield the pieces of the range, then end. Raises StoreError when fewer bytes come than were promised."""

    def fileno(self) -> int | None:
        """Return a local file positioned at the start of the range, for sendfile; None when there is no such file."""

    def path(self) -> str | None:
        """Return the absolute path of the local file that is the whole object, for a proxy that sends it in our place.

        None when there is no such file.
        """

    def close(self) -> None:
        """Release what the read holds; calling it again does nothing."""


@dataclass(frozen=True, slots=True)
class Stored:
    """What ``add`` did: bytes written, and metadata of the place for the location (JSON-like).

    ``key`` is where the data are when the store did not take the key that it was given: a volume has an id of its own.
    """

    size: int
    metadata: dict[str, Any]
    key: str | None = None


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object that ``walk`` found: its bytes, and the time of its last change in seconds of the epoch."""

    key: str
    size: int
    modified: float


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a store can do: URL schemes it owns, and whether it adds, deletes, reads from an offset, lists its objects,
    makes addresses for reading that need no further credentials, and keeps lists of who may read at the store.

    ``clones``: other services make disks as clones of its objects, which works for raw data alone.
    """

    schemes: tuple[str, ...]
    add: bool
    delete: bool
    ranges: bool
    walk: bool = False
    presign: bool = False
    clones: bool = False
    access_lists: bool = False


@dataclass(frozen=True, slots=True)
class DataAccess:
    """Who may read the data of an image at their store: every project, or these."""

    public: bool
    projects: tuple[str, ...] = ()


class Store(Protocol):
    """A place for blobs. Every method may be called from many threads and processes at once.

    Every method that takes a key raises BadLocation for a key that this store could never have.
    """

    id: str
    kind: str
    capabilities: Capabilities
    description: str | None
    weight: int

    def add(self, key: str, pieces: Iterable[bytes], size: int | None) -> Stored:
        """Write the pieces; on return they survive a power cut, on any exception nothing of them is left.

        ``size`` is the announced number of bytes or None; it only helps to choose a place, it is not checked.
        An exception of ``pieces`` comes out unchanged. Raises BlobExists, StoreFull, WriteDenied, AddDisabled,
        StoreUnavailable.
        """

    def open(self, key: str, offset: int = 0, length: int | None = None) -> Blob:
        """Open ``length`` bytes from ``offset`` (to the end when None); a range past the end is cut, maybe to nothing.

        Raises BlobNotFound now and not at the first piece, StoreUnavailable, RangeUnsupported, Forbidden.
        """

    def size(self, key: str) -> int:
        """Return the bytes of the object. Raises as ``open``."""

    def delete(self, key: str) -> None:
        """Remove the object and every trace of unfinished writes of the key.

        Where ``add`` chooses keys of its own, ``key`` may also be the one that an unfinished ``add`` was given.

        Raises BlobNotFound only when it is proved in this call that this is the right store, otherwise
        StoreUnavailable; DeleteUnsupported, InUse, Forbidden.
        """

    def url(self, key: str) -> str:
        """Return the location URL for privileged users, as it was registered; it never holds credentials (S-02)."""

    def key_of(self, url: str) -> str | None:
        """Return the key that ``url`` names, or None when the URL is not of this store."""

    def details(self) -> dict[str, Any]:
        """Return what administrators may know of how the store is set up; it never holds credentials (S-51)."""

    def check(self) -> None:
        """Raise StoreUnavailable with the reason when the store could not be used now."""

    def walk(self, after: str | None = None) -> Iterator[StoredObject]:
        """Yield the finished objects with the keys of writable stores, in the order of the keys, behind ``after``.

        Objects of others in the same place are left out. What is added or removed meanwhile may be missing or there.
        Raises WalkUnsupported, StoreUnavailable.
        """

    def free(self) -> int | None:
        """Return the bytes that can still be written, None when the store does not tell. Raises StoreUnavailable."""

    def identity(self) -> str:
        """Return what the registry knows this place by, after the proof that it is the right one.

        Empty for a store that is no one place. Raises StoreUnavailable without the proof.
        """

    def presign(self, key: str, seconds: int) -> str | None:
        """Return a URL that lets its holder read the object for ``seconds``; None where the store offers none.

        It is a credential: never logged, never stored. The object is not looked for. Raises StoreUnavailable.
        """

    def set_access(self, key: str, access: DataAccess) -> None:
        """Let these read the object at the store itself, and no others; nothing happens where the store has no lists.

        Raises StoreUnavailable, BlobNotFound.
        """


Delete = Callable[[str], None]
"""Deletes the object under a key as ``Store.delete``."""


class DeletesTogether(Protocol):
    """What a store may offer beside ``delete``, when many deletes together are cheaper than each by itself.

    Purges prefer it. A driver that inherits it and changes ``delete`` has to change both.
    """

    def deletes(self) -> AbstractContextManager[Delete]:
        """Give a function that deletes; what it deleted is durable only when the block has ended well.

        The end of the block raises StoreUnavailable, StoreForbidden when it is not.
        """


def deletes_of(store: Any) -> AbstractContextManager[Delete]:
    """Return ``deletes`` of a store that offers it, and else its ``delete`` for a block that does no more."""
    offered: Callable[[], AbstractContextManager[Delete]] | None = getattr(store, "deletes", None)
    return nullcontext(store.delete) if offered is None else offered()


_KEY = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}(\.[1-9][0-9]{0,8})?", re.IGNORECASE)


def is_key(text: str) -> bool:
    """Say whether ``text`` is an image id, or ``<image id>.<n>`` of a later attempt: the keys of writable stores."""
    return _KEY.fullmatch(text) is not None


def require_key(key: str) -> None:
    """Raise BadLocation unless ``key`` is one. Such keys hold no separator, so a path can never escape (S-70)."""
    if not is_key(key):
        raise BadLocation(f"{key[:80]!r} is not an image id, optionally followed by a dot and a number")


def require_range(offset: int, length: int | None) -> None:
    """Raise ValueError for a negative range: a mistake of the calling code, never of a user."""
    if offset < 0 or (length is not None and length < 0):
        raise ValueError(f"range of {length} bytes from {offset}: neither may be negative")
