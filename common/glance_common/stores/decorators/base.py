"""Stores around a store: what every driver needs in the same way is done once, here."""

import logging
import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

from glance_common.fetch import deadlines
from glance_common.retry import retried
from glance_common.stores.contract import (
    Blob,
    Capabilities,
    DataAccess,
    Delete,
    Store,
    Stored,
    StoredObject,
    StoreError,
    StoreResting,
    StoreUnavailable,
    WriteDenied,
    deletes_of,
)

log = logging.getLogger(__name__)

_USER = re.compile(r"//[^/?#]*@")

T = TypeVar("T")


class Wrapper:
    """A store that does what the inner one does; wrappers override what they add to."""

    id: str
    kind: str
    capabilities: Capabilities
    description: str | None
    weight: int

    def __init__(self, inner: Store) -> None:
        self.inner = inner
        self.id = inner.id
        self.kind = inner.kind
        self.capabilities = inner.capabilities
        self.description = inner.description
        self.weight = inner.weight

    def add(self, key: str, pieces: Iterable[bytes], size: int | None) -> Stored:
        """See the contract."""
        return self.inner.add(key, pieces, size)

    def open(self, key: str, offset: int = 0, length: int | None = None) -> Blob:
        """See the contract."""
        return self.inner.open(key, offset, length)

    def size(self, key: str) -> int:
        """See the contract."""
        return self.inner.size(key)

    def delete(self, key: str) -> None:
        """See the contract."""
        self.delete_by(self.inner.delete, key)

    @contextmanager
    def deletes(self) -> Iterator[Delete]:
        """See the contract of ``DeletesTogether``."""
        with deletes_of(self.inner) as delete:
            yield partial(self.delete_by, delete)

    def delete_by(self, delete: Delete, key: str) -> None:
        """Delete by what the inner store offers for it; wrappers override this for both ways of deleting."""
        delete(key)

    def url(self, key: str) -> str:
        """See the contract."""
        return self.inner.url(key)

    def key_of(self, url: str) -> str | None:
        """See the contract."""
        return self.inner.key_of(url)

    def details(self) -> dict[str, Any]:
        """See the contract."""
        return self.inner.details()

    def check(self) -> None:
        """See the contract."""
        self.inner.check()

    def walk(self, after: str | None = None) -> Iterator[StoredObject]:
        """See the contract."""
        return self.inner.walk(after)

    def free(self) -> int | None:
        """See the contract."""
        return self.inner.free()

    def identity(self) -> str:
        """See the contract."""
        return self.inner.identity()

    def presign(self, key: str, seconds: int) -> str | None:
        """See the contract."""
        return self.inner.presign(key, seconds)

    def set_access(self, key: str, access: DataAccess) -> None:
        """See the contract."""
        self.inner.set_access(key, access)


class BlobWrapper:
    """A read that does what the inner one does; wrappers say how its pieces come."""

    def __init__(self, inner: Blob) -> None:
        self.size = inner.size
        self.inner = inner

    def fileno(self) -> int | None:
        """See the contract."""
        return self.inner.fileno()

    def path(self) -> str | None:
        """See the contract."""
        return self.inner.path()

    def close(self) -> None:
        """See the contract."""
        self.inner.close()


LAST_TRY = 3.0
"""Seconds after which a remote store is not asked again: what failed after a timeout would fail so three times."""


class Retrying(Wrapper):
    """Asks a remote store again after StoreUnavailable; never for ``add``, whose pieces are gone by then.

    Nor when the store was not even asked, or when its answer was awaited for long: the caller has a thread that other
    stores need, and no more time than the store's own limit.
    """

    def __init__(
        self, inner: Store, pauses: Iterable[float] = (0.2, 1.0), sleep: Callable[[float], None] = deadlines.pause,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``pauses`` are the seconds before each further try; work that is not wanted any more ends in them."""
        super().__init__(inner)
        self._pauses = tuple(pauses)
        self._sleep = sleep
        self._clock = clock

    def open(self, key: str, offset: int = 0, length: int | None = None) -> Blob:
        """Open, again if need be; a failure in the middle of the pieces is the reader's."""
        return self._insist(lambda: self.inner.open(key, offset, length))

    def size(self, key: str) -> int:
        """Ask for the size, again if need be."""
        return self._insist(lambda: self.inner.size(key))

    def delete_by(self, delete: Delete, key: str) -> None:
        """Delete, again if need be; BlobNotFound after a lost answer means that the first try did it."""
        self._insist(lambda: delete(key))

    def _insist(self, act: Callable[[], T]) -> T:
        last = self._clock() + LAST_TRY
        return retried(
            act, self._pauses, lambda error: _may_come_back(error) and self._clock() < last, self._sleep
        )


def _may_come_back(error: Exception) -> bool:
    return isinstance(error, StoreUnavailable) and not isinstance(error, StoreResting | WriteDenied)


class Logged(Wrapper):
    """Writes one line for each operation: store, key, bytes, milliseconds and error, never credentials (S-06, S-75)."""

    def add(self, key: str, pieces: Iterable[bytes], size: int | None) -> Stored:
        """Add; logged with the bytes written."""
        with self._logged("add", key, logging.INFO) as facts:
            stored = self.inner.add(key, pieces, size)
            facts["bytes"] = stored.size
        return stored

    def open(self, key: str, offset: int = 0, length: int | None = None) -> Blob:
        """Open; the milliseconds are those until the first byte could be read."""
        with self._logged("open", key, logging.DEBUG):
            return self.inner.open(key, offset, length)

    def size(self, key: str) -> int:
        """Ask for the size; logged on level DEBUG."""
        with self._logged("size", key, logging.DEBUG):
            return self.inner.size(key)

    def delete_by(self, delete: Delete, key: str) -> None:
        """Delete; logged on level INFO."""
        with self._logged("delete", key, logging.INFO):
            delete(key)

    def set_access(self, key: str, access: DataAccess) -> None:
        """Change who may read; logged on level INFO."""
        with self._logged("set_access", key, logging.INFO):
            self.inner.set_access(key, access)

    @contextmanager
    def _logged(self, operation: str, key: str, level: int) -> Iterator[dict[str, Any]]:
        facts: dict[str, Any] = {"store": self.id, "key": shown(key)}
        start = time.monotonic()
        try:
            yield facts
        except BaseException as error:
            facts["error"] = _described(error)
            level = max(level, logging.INFO if getattr(error, "permanent", True) else logging.WARNING)
            raise
        finally:
            facts["ms"] = round((time.monotonic() - start) * 1000, 1)
            log.log(level, "store %s", operation, extra=facts)


def shown(key: str) -> str:
    """Return the key for a log: a URL without credentials and without its query, which may be a signature.

    Works on text that is no valid URL too: such keys are refused later, and that is logged.
    """
    return _USER.sub("//***@", key).partition("?")[0] if "://" in key else key


def _described(error: BaseException) -> str:
    """Return only the type of other errors, for example of the source of an upload: their text may hold secrets."""
    name = type(error).__name__
    return f"{name}: {error}" if isinstance(error, StoreError) else name
