"""Writing an image: several pieces at a time, then the snapshot that makes it whole (stores section 7, S-62)."""

import logging
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import repeat
from typing import Any

from glance_common.stores.ceph_modules import bindings
from glance_common.stores.contract import BlobExists, StoreError, StoreUnavailable
from glance_common.stores.drivers.rbd.address import SNAPSHOT
from glance_common.stores.drivers.rbd.cluster import PATIENCE, Pool
from glance_common.stores.drivers.rbd.deleting import discard
from glance_common.stores.drivers.rbd.errors import RbdFailed
from glance_common.stores.drivers.rbd.options import MIB, RbdOptions
from glance_common.stores.drivers.rbd.transfer import Transfer
from glance_common.stores.parts import Part, in_parts

LOG = logging.getLogger(__name__)

PIECE = 2 * MIB
AT_ONCE = 3
"""Pieces that are being written while the next one comes in."""

MOST_GROWTH = 8 * 1024 * MIB
"""An image of unknown size grows to twice its size, and by no more than this."""

BLOCK = 256 * 1024
"""Zeros are left out block by block."""

_ZEROS = bytes(BLOCK)
_LAYERING = 1
"""The feature that clones need. Others, such as a lock of the writer, need a dead writer's time-out to pass."""


class RbdUpload:
    """One ``add``. The image is unfinished, and so not readable, until it has its snapshot."""

    def __init__(self, pool: Pool, options: RbdOptions, key: str) -> None:
        self._pool = pool
        self._options = options
        self._key = key
        self._seconds = PATIENCE * options.operation_seconds
        self._under_way: deque[tuple[Transfer, Part]] = deque()
        self._bytes = 0
        self._room = 0
        self._image: Any = None
        self._id = ""

    def write(self, pieces: Iterable[bytes], size: int | None) -> int:
        """Write the pieces and return their bytes; ``size`` is what was announced. Raises BlobExists."""
        self._create(size or 0)
        try:
            written = self._fill(pieces)
            self._finish(written)
        except BaseException as error:
            self._withdraw(is_silent=isinstance(error, RbdFailed) and error.silent)
            raise
        return written

    def _create(self, size: int) -> None:
        """Create the image and open it. One that comes into being too late is removed again."""
        rbd, io, key = bindings().rbd, self._pool.io, self._key

        def act() -> tuple[Any, str]:
            rbd.RBD().create(io, key, size, self._options.order, old_format=False, features=_LAYERING)
            try:
                image = rbd.Image(io, key)
                return image, image.id()
            except BaseException:
                rbd.RBD().remove(io, key)
                raise

        def remove(made: tuple[Any, str]) -> None:
            made[0].close()
            rbd.RBD().remove(io, key)

        try:
            self._image, self._id = self._pool.ask("create an image", act, expected=(rbd.ImageExists,), late=remove)
        except rbd.ImageExists:
            raise BlobExists(f"{self._pool.place}: {key} is there, or is being written") from None
        self._room = size

    def _fill(self, pieces: Iterable[bytes]) -> int:
        at = 0
        for piece in in_parts(pieces, repeat(PIECE)):
            self._make_room(at + len(piece))
            for begin, end in self._extents(piece):
                self._send(piece if end - begin == len(piece) else piece[begin:end], at + begin)
            at += len(piece)
        while self._under_way:
            self._await_oldest()
        return at

    def _extents(self, piece: Part) -> Iterator[tuple[int, int]]:
        """Yield where data begin and end in a piece."""
        if not self._options.thin:
            yield 0, len(piece)
            return
        begin: int | None = None
        view = memoryview(piece)
        for at in range(0, len(piece), BLOCK):
            if _ZEROS.startswith(view[at : at + BLOCK]):
                if begin is not None:
                    yield begin, at
                begin = None
            elif begin is None:
                begin = at
        if begin is not None:
            yield begin, len(piece)

    def _make_room(self, end: int) -> None:
        if end > self._room:
            self._resize(max(end, min(2 * self._room, self._room + MOST_GROWTH)))

    def _resize(self, size: int) -> None:
        self._pool.ask("resize an image", lambda: self._image.resize(size))
        self._room = size

    def _send(self, data: Part, at: int) -> None:
        while self._under_way and self._bytes + len(data) > AT_ONCE * PIECE:
            self._await_oldest()
        transfer = Transfer(self._pool, "write", self._seconds)
        # The data must stay as they are until the write has ended.
        self._under_way.append((transfer, data))
        self._bytes += len(data)
        try:
            self._image.aio_write(data, at, transfer)
        except bindings().errors as error:
            raise self._pool.failed(error, "write") from error

    def _await_oldest(self) -> None:
        transfer, data = self._under_way.popleft()
        self._bytes -= len(data)
        transfer.result()

    def _finish(self, written: int) -> None:
        """Make the image as long as its data, and whole. Raises StoreUnavailable when it was deleted meanwhile."""
        if written != self._room:
            self._resize(written)
        rbd, io = bindings().rbd, self._pool.io

        def act() -> str:
            self._image.create_snap(SNAPSHOT)
            self._image.protect_snap(SNAPSHOT)
            self._image.close()
            # Only now: a delete takes the name away first, and looks at the snapshot after that.
            with rbd.Image(io, self._key, snapshot=SNAPSHOT, read_only=True) as found:
                return str(found.id())

        try:
            found = self._pool.ask("make a snapshot", act, expected=(rbd.ImageNotFound,))
        except rbd.ImageNotFound:
            found = ""
        if found != self._id:
            raise StoreUnavailable(f"{self._pool.place}: {self._key} was deleted while it was written")

    def _withdraw(self, *, is_silent: bool) -> None:
        """Remove what was written. What cannot be removed now goes with the key."""
        io, image, key, own = self._pool.io, self._image, self._key, self._id
        expected: tuple[type[Exception], ...] = (StoreUnavailable, *bindings().errors)

        def act() -> None:
            try:
                # Waits for the writes that are under way.
                image.close()
                discard(io, key, own)
            except expected as error:
                LOG.warning("an unfinished image %s stays until its deletion: %s", key, type(error).__name__)

        if is_silent:
            # The caller has waited long enough.
            self._pool.begin(act)
            return
        try:
            self._pool.ask("remove an unfinished image", act)
        except StoreError as failed:
            LOG.warning("an unfinished image %s stays until its deletion: %s", key, failed)
