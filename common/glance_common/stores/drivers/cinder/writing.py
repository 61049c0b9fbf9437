"""Writing an image into a new volume (stores section 8, S-20, S-62)."""

import logging
from collections.abc import Callable, Iterable
from itertools import repeat

from glance_common.stores.caller import current_caller
from glance_common.stores.contract import BlobExists, StoreError, StoreFull, StoreUnavailable, WriteDenied
from glance_common.stores.drivers.cinder.attaching import Attacher, Attachment
from glance_common.stores.drivers.cinder.client import CinderApi
from glance_common.stores.drivers.cinder.deleting import delete_and_wait
from glance_common.stores.drivers.cinder.errors import CinderFailed
from glance_common.stores.drivers.cinder.leases import HeldLease
from glance_common.stores.drivers.cinder.options import CinderOptions
from glance_common.stores.drivers.cinder.transfers import Transfers
from glance_common.stores.drivers.cinder.volumes import DELETED, GIB, IMAGE, NAME, OWNER, SIZE, STORE, UPLOAD, Volume
from glance_common.stores.parts import Part, in_parts

LOG = logging.getLogger(__name__)

PIECE = 4 * 1024 * 1024
AT_ONCE = 2
"""Pieces that are being written while the next one comes in."""

_DOUBLED = 16
"""GiB up to which a volume of unknown size is doubled; a larger one grows by a quarter. It cannot be cut."""


class CinderUpload:
    """One ``add``. The volume is unfinished until its last metadata are set."""

    def __init__(self, api: CinderApi, attacher: Attacher, options: CinderOptions, key: str, identity: str) -> None:
        self._api = api
        self._attacher = attacher
        self._options = options
        self._key = key
        self._identity = identity
        self._volume: Volume | None = None
        self._gib = 0
        self._held: HeldLease | None = None
        self._attachment: Attachment | None = None
        self._transfers = Transfers(attacher.brick, api.place, "write")

    def write(self, pieces: Iterable[bytes], size: int | None) -> tuple[int, str]:
        """Write the pieces; return their bytes and the id of the volume. ``size`` is what was announced.

        Raises BlobExists.
        """
        try:
            volume = self._create(size or 0)
            written = self._fill(volume, pieces)
            self._finish(volume, written)
        except BaseException as error:
            self._withdraw(is_silent=isinstance(error, CinderFailed) and error.silent)
            raise
        return written, volume.id

    def _create(self, size: int) -> Volume:
        api, leases = self._api, self._attacher.leases
        self._gib = max(1, -(-size // GIB))
        volume = self._volume = api.create(
            NAME + self._key, self._gib, self._options.type, {**self._metadata(), UPLOAD: leases.text()}
        )
        self._held = leases.hold(api, volume.id, UPLOAD)
        if volume.encrypted:
            raise WriteDenied(f"{api.place}: the volume type encrypts volumes, which images cannot be in")
        self._check(api.named(volume.name))
        api.wait(volume.id, "create a volume", _is_available, self._options.change)
        return volume

    def _metadata(self) -> dict[str, str]:
        return {
            IMAGE: self._key.partition(".")[0], OWNER: current_caller().project or "", STORE: self._identity,
        }

    def _check(self, named: list[Volume]) -> Volume:
        """Return the own volume. Raises BlobExists when an older one has its name, StoreUnavailable when it is gone."""
        assert self._volume is not None
        ours = [volume for volume in named if volume.is_image]
        own = next((volume for volume in ours if volume.id == self._volume.id), None)
        if own is None or DELETED in own.metadata:
            raise StoreUnavailable(f"{self._api.place}: {self._key} was deleted while it was written")
        if ours[0].id != own.id:
            raise BlobExists(f"{self._api.place}: {self._key} is there, or is being written")
        return own

    def _fill(self, volume: Volume, pieces: Iterable[bytes]) -> int:
        at = 0
        for piece in in_parts(pieces, repeat(PIECE)):
            self._make_room(volume, at + len(piece))
            if self._attachment is None:
                self._attachment = self._attacher.attach(self._api, volume, "rw")
            while len(self._transfers) >= AT_ONCE:
                self._transfers.oldest()
            self._transfers.begin(_write(self._attachment, at, piece))
            at += len(piece)
        self._sync()
        return at

    def _sync(self) -> None:
        """Wait until all is written and on disk."""
        self._transfers.drain()
        if self._attachment is not None:
            self._transfers.begin(self._attachment.disk.sync)
            self._transfers.drain()

    def _make_room(self, volume: Volume, end: int) -> None:
        if end <= self._gib * GIB:
            return
        wanted = max(-(-end // GIB), self._gib * 2 if self._gib < _DOUBLED else self._gib + self._gib // 4)
        self._sync()
        if self._attachment is not None and not self._options.extends_attached:
            self._detach()
        try:
            self._extend(volume, wanted)
        except CinderFailed as failed:
            if failed.state == "error_extending":
                raise StoreFull(f"{self._api.place}: no room to extend the volume to {wanted} GiB") from None
            raise
        self._gib = wanted

    def _extend(self, volume: Volume, gib: int) -> None:
        seconds = self._options.change
        if self._attachment is None:
            self._api.wait(volume.id, "detach a volume", _is_available, seconds)
        self._api.extend(volume.id, gib)
        self._api.wait(
            volume.id, "extend a volume",
            lambda seen: seen is not None and seen.gib >= gib and seen.status in ("available", "in-use"), seconds,
        )
        if self._attachment is not None:
            self._attachment.extend()

    def _finish(self, volume: Volume, written: int) -> None:
        """Make the volume whole. Raises StoreUnavailable when it was deleted meanwhile."""
        self._detach()
        if not _is_available(self._check(self._api.named(volume.name))):
            self._api.wait(volume.id, "detach a volume", _is_available, self._options.change)
        self._api.make_readonly(volume.id)
        self._let_lease_go()
        self._api.replace_metadata(volume.id, {**self._metadata(), SIZE: str(written)})

    def _detach(self) -> None:
        attachment, self._attachment = self._attachment, None
        if attachment is not None:
            attachment.end()

    def _let_lease_go(self) -> None:
        held, self._held = self._held, None
        if held is not None:
            self._attacher.leases.release(held)

    def _withdraw(self, *, is_silent: bool) -> None:
        """Remove what was written. What cannot be removed now goes with the key."""
        volume = self._volume
        if volume is None:
            return
        try:
            try:
                self._transfers.drain()
            finally:
                self._detach()
                self._let_lease_go()
            if is_silent:
                # The caller has waited long enough.
                self._api.delete(volume.id)
            else:
                delete_and_wait(self._api, volume.id, self._options.change)
        except StoreError as failed:
            LOG.warning("an unfinished volume %s stays until its deletion: %s", volume.id, failed)


def _is_available(volume: Volume | None) -> bool:
    return volume is not None and volume.status == "available"


def _write(attachment: Attachment, at: int, data: Part) -> Callable[[], None]:
    return lambda: attachment.disk.write(at, data)
