"""Reading a volume, or a range of it. Readers of one process share the attachment of a volume."""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import suppress

from glance_common.stores.base import StreamBlob, piece_sizes
from glance_common.stores.contract import StoreError, StoreUnavailable
from glance_common.stores.drivers.cinder.attaching import Attacher, Attachment
from glance_common.stores.drivers.cinder.client import CinderApi
from glance_common.stores.drivers.cinder.transfers import Transfers
from glance_common.stores.drivers.cinder.volumes import Volume

READ = 1024 * 1024
"""Bytes of one read, which the reader gets as they are."""

AHEAD = 4
"""Reads that are under way before their data are wanted."""


class _Shared:
    """The attachment of a volume, and how many read through it."""

    def __init__(self) -> None:
        self.attachment: Future[Attachment] = Future()
        self.users = 1


class CinderReaders:
    """The volumes that this process reads now."""

    def __init__(self, attacher: Attacher) -> None:
        self._attacher = attacher
        self._lock = threading.Lock()
        self._shared: dict[str, _Shared] = {}

    def open(self, api: CinderApi, volume: Volume, offset: int, length: int | None) -> StreamBlob:
        """Return the read of a range, cut at the end of the image. Raises CinderFailed."""
        size = volume.bytes
        end = size if length is None else min(offset + length, size)
        if offset >= end:
            return StreamBlob(size, iter(()))
        shared = self._used(api, volume)
        transfers = Transfers(self._attacher.brick, f"{api.place}: {volume.id}", "read")
        return StreamBlob(
            size, _pieces(shared.attachment.result(), transfers, offset, end),
            lambda: self._leave(volume.id, shared, transfers),
        )

    def _used(self, api: CinderApi, volume: Volume) -> _Shared:
        with self._lock:
            shared = self._shared.get(volume.id)
            is_ours = shared is None
            if shared is None:
                shared = self._shared[volume.id] = _Shared()
            else:
                shared.users += 1
        if is_ours:
            self._attach(api, volume, shared)
            return shared
        try:
            shared.attachment.result(3 * self._attacher.change)
        except TimeoutError:
            self._leave(volume.id, shared, None)
            raise StoreUnavailable(f"{api.place}: {volume.id}: another reader still waits for the volume") from None
        except BaseException:
            self._leave(volume.id, shared, None)
            raise
        return shared

    def _attach(self, api: CinderApi, volume: Volume, shared: _Shared) -> None:
        try:
            attachment = self._attacher.attach(api, volume, "ro")
        except BaseException as error:
            with self._lock:
                # The next one tries anew.
                if self._shared.get(volume.id) is shared:
                    del self._shared[volume.id]
            is_told = isinstance(error, StoreError)
            shared.attachment.set_exception(error if is_told else StoreUnavailable(f"{api.place}: not attached"))
            raise
        shared.attachment.set_result(attachment)

    def _leave(self, volume: str, shared: _Shared, transfers: Transfers | None) -> None:
        """Note that one reader is gone; the last one detaches the volume."""
        if transfers is not None:
            # Nothing may be closed while a thread reads from it.
            with suppress(StoreError):
                transfers.drain()
        with self._lock:
            shared.users -= 1
            if shared.users:
                return
            if self._shared.get(volume) is shared:
                del self._shared[volume]
        if shared.attachment.done() and shared.attachment.exception() is None:
            shared.attachment.result().end()


def _pieces(attachment: Attachment, transfers: Transfers, at: int, end: int) -> Iterator[bytes]:
    disk = attachment.disk
    sizes = piece_sizes(READ)
    asked: deque[int] = deque()
    while at < end or asked:
        while at < end and len(transfers) < AHEAD:
            asked.append(min(next(sizes), end - at))
            transfers.begin(_read(disk.read, at, asked[-1]))
            at += asked[-1]
        data, wanted = transfers.oldest(), asked.popleft()
        assert isinstance(data, bytes)
        if len(data) != wanted:
            raise StoreUnavailable(f"the volume gave {len(data)} bytes instead of {wanted}")
        yield data


def _read(read: Callable[[int, int], bytes], at: int, size: int) -> Callable[[], bytes]:
    return lambda: read(at, size)
