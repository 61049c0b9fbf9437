"""Reading an image, or a range of it, from its snapshot."""

from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from glance_common.stores.base import StreamBlob, piece_sizes
from glance_common.stores.ceph_modules import bindings
from glance_common.stores.contract import StoreError, StoreUnavailable
from glance_common.stores.drivers.rbd.address import SNAPSHOT
from glance_common.stores.drivers.rbd.cluster import Pool
from glance_common.stores.drivers.rbd.transfer import Transfer

READ = 1024 * 1024
"""Bytes of one read, which the reader gets as they are."""

AHEAD = 4
"""Reads that are under way before their data are wanted."""


def open_image(pool: Pool, key: str, seconds: float) -> "OpenImage | None":
    """Open an image at its snapshot; None when there is no such image, or no snapshot: then it is unfinished."""
    rbd = bindings().rbd

    def act() -> tuple[Any, int]:
        # Opened as if for writing, which a snapshot never is: so the cluster knows of the reader and removes nothing.
        # Under a reader that it does not know of, data turn into zeros.
        image = rbd.Image(pool.io, key, snapshot=SNAPSHOT)
        try:
            return image, image.size()
        except BaseException:
            image.close()
            raise

    try:
        image, size = pool.ask("open an image", act, expected=(rbd.ImageNotFound,), late=lambda found: found[0].close())
    except rbd.ImageNotFound:
        return None
    return OpenImage(pool, image, size, seconds)


class OpenImage:
    """An image that is read. It holds the pool open."""

    def __init__(self, pool: Pool, image: Any, size: int, seconds: float) -> None:
        self.size = size
        self._pool = pool
        self._image = image
        self._seconds = seconds
        self._under_way: deque[tuple[Transfer, int]] = deque()

    def blob(self, offset: int, length: int | None) -> StreamBlob:
        """Return the read of a range, cut at the end of the image."""
        end = self.size if length is None else min(offset + length, self.size)
        return StreamBlob(self.size, self._pieces(offset, end), self.close)

    def _pieces(self, at: int, end: int) -> Iterator[bytes]:
        sizes = piece_sizes(READ)
        while at < end or self._under_way:
            while at < end and len(self._under_way) < AHEAD:
                wanted = min(next(sizes), end - at)
                self._under_way.append((self._begin(at, wanted), wanted))
                at += wanted
            transfer, wanted = self._under_way.popleft()
            data = transfer.result() or b""
            self._pool.require()
            if len(data) != wanted:
                raise StoreUnavailable(f"{self._pool.place}: the cluster sent {len(data)} bytes instead of {wanted}")
            yield data

    def _begin(self, at: int, wanted: int) -> Transfer:
        transfer = Transfer(self._pool, "read", self._seconds)
        try:
            self._image.aio_read(at, wanted, transfer)
        except bindings().errors as error:
            raise self._pool.failed(error, "read") from error
        return transfer

    def close(self) -> None:
        """Close image and pool."""
        with suppress(StoreError):
            self._pool.ask("close an image", self._image.close)
        self._pool.close()
