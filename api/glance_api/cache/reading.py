"""Reads from the cache: of a whole copy, and of one that is being made."""

import fcntl
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import suppress

from glance_api.cache.fill import pieces_of
from glance_api.cache.growing import FillEnd, GrowingFile
from glance_api.cache.wanted import WantedData
from glance_api.content.streams import DamagedData, verified
from glance_common.body import MIB
from glance_common.observability.metrics.catalog import CACHE_BYTES, CACHE_READS
from glance_common.stores.contract import Blob, StoreUnavailable
from glance_common.stores.drivers.file.blob import FileBlob

LOG = logging.getLogger(__name__)

Rejoin = Callable[[GrowingFile], GrowingFile | None]
"""Returns the file of a fill that goes on with the same bytes, None when there is none."""


class CopyBlob(FileBlob):
    """A range of a whole copy; a shared lock keeps the copy from making room while it is read."""

    def __init__(self, descriptor: int, path: str, offset: int, length: int | None) -> None:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        super().__init__(descriptor, path, offset, length, MIB)


class FollowedBlob:
    """A range of a copy that is being made; fulfils ``contract.Blob``.

    Of the whole image the last byte is given only when all are verified (I8). When no byte comes for ``patience``
    seconds, or the cache fails, the rest comes from the store, and the whole is verified here.
    """

    def __init__(
        self, wanted: WantedData, growing: GrowingFile, part: tuple[int, int], patience: float, rejoin: Rejoin
    ) -> None:
        """Take over a use of ``growing``; ``part`` is offset and length."""
        growing.begin_reading()
        self.size = wanted.size
        self._wanted = wanted
        self._growing = growing
        self._is_open = self._is_followed = True
        self._at, self._until = part[0], part[0] + part[1]
        self._is_whole = part == (0, wanted.size)
        self._patience = patience
        self._rejoin = rejoin
        self._rest: Blob | None = None

    def fileno(self) -> int | None:
        """Return None: the file is not there as a whole."""
        return None

    def path(self) -> str | None:
        """Return None, as ``fileno``."""
        return None

    def __iter__(self) -> Iterator[bytes]:
        """Yield the pieces. Raises StoreUnavailable, DamagedData, and what the store raises."""
        counter = CACHE_BYTES.labels("growing")
        while self._at < self._until:
            piece = self._next()
            if not piece:
                yield from self._from_store()
                return
            self._at += len(piece)
            counter.inc(len(piece))
            yield piece

    @property
    def descriptor(self) -> int:
        """The file that grows."""
        return self._growing.descriptor

    def ready(self) -> tuple[int, int] | None:
        """Return the offset and the number of bytes that the file can give now.

        The number is 0 while more has to come. None: the file gives no more, ``resume`` says what then.
        """
        if not self._is_followed:
            return None
        # The end is looked at first: what is there at an end is all that comes.
        end = self._growing.end
        count = max(self._limit() - self._at, 0)
        if count or self._at == self._until:
            return self._at, count
        return None if end is not None or self._growing.is_stalled(self._patience) else (self._at, 0)

    def sent(self, count: int) -> None:
        """Note that so many of the bytes that were ready went out by the descriptor."""
        self._at += count
        CACHE_BYTES.labels("growing").inc(count)

    def failed(self, error: Exception) -> None:
        """Note that the file cannot be read: the rest comes from the store."""
        LOG.warning("image %s cannot be read from the cache: %s", self._wanted.image_id, error)
        self._is_followed = False

    def on_growth(self, wake: Callable[[], None]) -> None:
        """Have ``wake`` called when ``ready`` may say more."""
        self._growing.listen(wake)

    def resume(self) -> bool:
        """Say whether the file goes on, taking over what a dead process left; False when the store has the rest.

        Raises StoreUnavailable when the fill failed.
        """
        while self._is_followed and self.ready() is None:
            if self._growing.end is None:
                self._stop_following()
            else:
                self._go_on()
        return self._is_followed

    def wait_first(self) -> bool:
        """Return whether a byte can be given now, waiting for it; False when the store must be read from the start.

        Raises StoreUnavailable when the fill failed.
        """
        while self._is_followed and self._at >= self._limit():
            self._go_on()
        return self._is_followed

    def _next(self) -> bytes:
        """Return the next bytes, none when the store has to give them. Raises StoreUnavailable."""
        while self._is_followed:
            limit = self._limit()
            if self._at < limit:
                return self._read(min(limit - self._at, MIB))
            self._go_on()
        return b""

    def _limit(self) -> int:
        """Return up to where bytes may be given now."""
        if self._growing.end is FillEnd.VERIFIED:
            return self._until
        withheld = self._wanted.size - 1 if self._is_whole else self._until
        return min(self._growing.size, withheld, self._until)

    def _go_on(self) -> None:
        """Wait until something changes, or stop following. Raises StoreUnavailable when the fill failed."""
        end = self._growing.end
        if end is FillEnd.FAILED:
            raise StoreUnavailable(f"image {self._wanted.image_id}: its store gave data that are not whole or right")
        if end is FillEnd.DEAD:
            found = self._rejoin(self._growing)
            if found is None:
                self._is_followed = False
            else:
                found.begin_reading()
                self._growing.end_reading()
                self._growing = found
        elif end is not None:
            self._is_followed = False
        elif not self._growing.wait(self._beyond(), self._patience):
            self._stop_following()

    def _stop_following(self) -> None:
        self._is_followed = False
        if self._growing.is_news():
            LOG.warning(
                "image %s: its copy in the cache did not grow for %.1f s; its readers go on at the store",
                self._wanted.image_id, self._patience,
            )

    def _beyond(self) -> int:
        """Return the number of bytes that do not suffice: of a whole image the last one waits for the end."""
        is_at_last = self._is_whole and self._at == self._wanted.size - 1
        return self._wanted.size if is_at_last else self._at

    def _read(self, count: int) -> bytes:
        try:
            return os.pread(self._growing.descriptor, count, self._at)
        except OSError as error:
            LOG.warning("image %s cannot be read from the cache: %s", self._wanted.image_id, error.strerror)
            return b""

    def _from_store(self) -> Iterator[bytes]:
        """Yield what is missing. The whole image is verified as it is without the cache."""
        CACHE_READS.labels("left").inc()
        at, wanted = self._at, self._wanted
        self._rest = wanted.open(at, self._until - at)
        if not self._is_whole:
            yield from self._rest
            return
        given = pieces_of(self._growing.descriptor, at)
        try:
            yield from verified(self._rest, wanted.size, wanted.algorithm, wanted.digest, given)
        except OSError as error:
            raise StoreUnavailable(f"image {wanted.image_id}: {error.strerror or error}") from error
        except DamagedData as damage:
            LOG.error("image %s cannot be sent as a whole: %s", wanted.image_id, damage)
            raise

    def close(self) -> None:
        """Release what the read holds; calling it again does nothing."""
        if self._is_open:
            self._is_open = self._is_followed = False
            self._growing.end_reading()
        if self._rest is not None:
            self._rest.close()
