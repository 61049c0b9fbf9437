"""A store around a store that counts the bytes on their way, while they are on their way."""

from collections.abc import Iterable, Iterator

from glance_common.observability.metrics.catalog import STORE_BYTES
from glance_common.stores.contract import Blob, Stored
from glance_common.stores.decorators.base import BlobWrapper, Wrapper


class MeasuredStore(Wrapper):
    """Counts what is written to the inner store and read from it."""

    def add(self, key: str, pieces: Iterable[bytes], size: int | None) -> Stored:
        """Add, and count what the store has asked for."""
        return self.inner.add(key, self._counting(pieces), size)

    def _counting(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        counter = STORE_BYTES.labels(self.id, "in")
        for piece in pieces:
            yield piece
            counter.inc(len(piece))

    def open(self, key: str, offset: int = 0, length: int | None = None) -> "MeasuredBlob":
        """Open; the pieces are counted as they are read."""
        return MeasuredBlob(self.inner.open(key, offset, length), self.id)


class MeasuredBlob(BlobWrapper):
    """Counts the pieces of ``inner``; code that sends its file instead counts that itself."""

    def __init__(self, inner: Blob, store: str) -> None:
        super().__init__(inner)
        self._counter = STORE_BYTES.labels(store, "out")

    def __iter__(self) -> Iterator[bytes]:
        """Yield the pieces."""
        for piece in self.inner:
            self._counter.inc(len(piece))
            yield piece
