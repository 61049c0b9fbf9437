"""The bodies of answers with image data: each is sent in its own way, and ends the transfer when it is closed."""

import logging
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Executor
from wsgiref.types import WSGIEnvironment

from glance_api.cache.reading import FollowedBlob
from glance_api.content.streams import DamagedData, verified
from glance_api.services.data import Download
from glance_api.services.other_copies import Rest, continued
from glance_common.body import BYTES_SENT, FileBody
from glance_common.observability.metrics.catalog import CACHE_BYTES, STORE_BYTES
from glance_common.stores.decorators.read_ahead import ReadAhead

LOG = logging.getLogger(__name__)

OnDamage = Callable[[DamagedData], None]

Permit = Callable[[], Callable[[], None] | None]
"""Returns what gives a permit for a thread back, None while there is none."""


class HandedOver:
    """The empty body of an answer whose data the proxy sends. Counts the bytes that the proxy was asked to send."""

    def __init__(self, opened: Download, end: Callable[[], None], environ: WSGIEnvironment) -> None:
        self._opened = opened
        self._end = end
        self._environ = environ

    def __iter__(self) -> Iterator[bytes]:
        return iter(())

    def close(self) -> None:
        """End our part of the transfer."""
        self._opened.blob.close()
        count = self._opened.part.length if self._opened.part else self._opened.image.size or 0
        self._environ[BYTES_SENT] = count
        self._end()
        _count(self._opened, count)


def _count(opened: Download, count: int) -> None:
    """Count bytes that went out without passing through the blob."""
    (CACHE_BYTES.labels("copy") if opened.is_cached else STORE_BYTES.labels(opened.store, "out")).inc(count)


class Followed:
    """A copy that is being made in the cache, on this node's disk: there is nothing to read ahead."""

    def __init__(self, opened: Download, end: Callable[[], None]) -> None:
        self._opened = opened
        self._end = end

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._opened.blob)

    def close(self) -> None:
        """Close the read and end the transfer."""
        self._opened.blob.close()
        self._end()


class _WithPermit(FileBody):
    """A file whose rest a thread gives when the file cannot; ``permit`` lets that thread be taken."""

    def __init__(self, permit: Permit) -> None:
        self._permit = permit
        self._give_back: Callable[[], None] | None = None

    def admit(self) -> bool:
        """Take a permit for a thread, if there is one."""
        self._give_back = self._permit()
        return self._give_back is not None

    def _release(self) -> None:
        give_back, self._give_back = self._give_back, None
        if give_back is not None:
            give_back()


class FollowedFile(_WithPermit):
    """A copy that is being made, sent by our server as it grows."""

    def __init__(self, blob: FollowedBlob, permit: Permit, end: Callable[[], None]) -> None:
        super().__init__(permit)
        self._blob = blob
        self._end = end

    @property
    def descriptor(self) -> int:
        """The file that grows."""
        return self._blob.descriptor

    def ready(self) -> tuple[int, int] | None:
        """Return what is there now, None when the copy has no more."""
        return self._blob.ready()

    def sent(self, count: int) -> None:
        """Count the bytes."""
        self._blob.sent(count)

    def failed(self, error: Exception) -> bool:
        """Take the rest from the store."""
        self._blob.failed(error)
        return True

    def on_growth(self, wake: Callable[[], None]) -> None:
        """Have ``wake`` called when there is more."""
        self._blob.on_growth(wake)

    def resume(self) -> bool:
        """Say whether the copy goes on; then no thread is needed any more. Raises what the store raises."""
        goes_on = self._blob.resume()
        if goes_on:
            self._release()
        return goes_on

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._blob)

    def close(self) -> None:
        """Close the read and end the transfer."""
        self._blob.close()
        self._release()
        self._end()


class _Others:
    """Other copies that give the rest; ``close`` ends the read of the one that gives it."""

    def __init__(self, rest: Rest) -> None:
        self._rest = rest
        self._pieces: Generator[bytes] | None = None

    def give(self, sent: int, error: Exception) -> Generator[bytes]:
        """Yield what comes behind the first ``sent`` bytes. Raises ``error`` when no other copy gives it."""
        self._pieces = self._rest(sent, error)
        return self._pieces

    def close(self) -> None:
        """End the read. The error that ended it may keep the pieces in memory for longer."""
        if self._pieces is not None:
            self._pieces.close()


class CopyFile(_WithPermit):
    """A whole copy in the cache, sent by our server beside many others."""

    def __init__(
        self, opened: Download, descriptor: int, rest: Rest, permit: Permit, end: Callable[[], None]
    ) -> None:
        super().__init__(permit)
        self._opened = opened
        self._descriptor = descriptor
        self._others = _Others(rest)
        self._end = end
        self._start = self._at = opened.part.start if opened.part else 0
        self._until = self._at + opened.part.length if opened.part else opened.image.size or 0
        self._error: Exception | None = None

    @property
    def descriptor(self) -> int:
        """The file."""
        return self._descriptor

    def ready(self) -> tuple[int, int] | None:
        """Return the rest, None when the file cannot be read."""
        return (self._at, self._until - self._at) if self._error is None else None

    def sent(self, count: int) -> None:
        """Go on behind these bytes."""
        self._at += count

    def failed(self, error: Exception) -> bool:
        """Take the rest from a store."""
        self._error = error
        return True

    def __iter__(self) -> Iterator[bytes]:
        if self._error is None:
            return iter(self._opened.blob)
        return self._others.give(self._at - self._start, self._error)

    def close(self) -> None:
        """Close the file and end the transfer."""
        self._others.close()
        self._opened.blob.close()
        self._release()
        self._end()
        _count(self._opened, self._at - self._start)


class LocalFile:
    """A blob in a local file, as the server's file wrapper wants it; a ``ContinuedFile``."""

    def __init__(
        self, opened: Download, descriptor: int, rest: Rest, end: Callable[[], None], environ: WSGIEnvironment
    ) -> None:
        self._opened = opened
        self._descriptor = descriptor
        self._others = _Others(rest)
        self._end = end
        self._environ = environ
        self._pieces = continued(opened.blob, self._others.give)
        self._passed: int | None = None
        """Bytes that the server sent by the descriptor before it went on without; None = all."""

    def fileno(self) -> int:
        """Return the descriptor, positioned at the first byte to send."""
        return self._descriptor

    def rest(self, sent: int, error: Exception) -> Iterator[bytes]:
        """Yield the rest from another copy."""
        self._passed = sent
        return self._others.give(sent, error)

    def read(self, _size: int) -> bytes:
        """Return the next piece, for servers that do not send by descriptor; empty at the end."""
        self._passed = 0
        return next(self._pieces, b"")

    def close(self) -> None:
        """Close the file and end the transfer."""
        self._others.close()
        self._opened.blob.close()
        self._end()
        # The kernel sent the file past us; only the server knows how much of it.
        _count(self._opened, self._environ.get(BYTES_SENT, 0) if self._passed is None else self._passed)


class Pieces:
    """A blob that comes piece by piece from a remote store. The whole of an image is verified on the way (I8).

    ``on_damage`` is told of a copy that is found damaged; without it nothing is verified.
    """

    def __init__(
        self, opened: Download, rest: Rest, end: Callable[[], None], readers: Executor, on_damage: OnDamage | None
    ) -> None:
        self._opened = opened
        self._others = _Others(rest)
        self._on_damage = on_damage
        self._end = end
        self._ahead = ReadAhead(opened.blob, readers)
        self._is_mixed = False

    def __iter__(self) -> Iterator[bytes]:
        image, proof = self._opened.image, self._opened.proof()
        pieces = continued(self._ahead, self._from_another)
        if self._on_damage is None or image.size is None or proof is None:
            yield from pieces
            return
        try:
            yield from verified(pieces, image.size, *proof)
        except DamagedData as damage:
            LOG.error("the copy of image %s in store %s is damaged: %s", image.id, self._opened.store, damage)
            if not self._is_mixed:
                self._on_damage(damage)
            raise

    def _from_another(self, sent: int, error: Exception) -> Generator[bytes]:
        # From then on a wrong digest does not tell which of the copies is damaged.
        self._is_mixed = True
        return self._others.give(sent, error)

    def close(self) -> None:
        """Close the read and end the transfer."""
        self._ahead.close()
        self._others.close()
        self._opened.blob.close()
        self._end()
