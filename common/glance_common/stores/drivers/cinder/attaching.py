"""Attaching a volume to this host and detaching it, whatever happens in between (S-20)."""

import logging
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from glance_common.fetch import deadlines
from glance_common.stores.contract import StoreError
from glance_common.stores.drivers.cinder.brick import Brick, Connected
from glance_common.stores.drivers.cinder.client import CinderApi
from glance_common.stores.drivers.cinder.disks import Disk
from glance_common.stores.drivers.cinder.errors import CinderFailed
from glance_common.stores.drivers.cinder.host_locks import host_lock
from glance_common.stores.drivers.cinder.leases import HeldLease, Leases
from glance_common.stores.drivers.cinder.volumes import ATTACHED, STUCK, Volume, VolumeLease

LOG = logging.getLogger(__name__)

_FIRST_PAUSE = 0.25


@dataclass(frozen=True, slots=True)
class Attacher:
    """Attaches the volumes of one store. Calls raise CinderFailed."""

    brick: Brick
    leases: Leases
    retries: int
    change: float
    """Seconds that a change of state may take."""

    def attach(self, api: CinderApi, volume: Volume, mode: str) -> "Attachment":
        """Attach a volume for reading (``ro``) or writing (``rw``)."""
        connector = self.brick.properties()
        identifier = self._reserved(api, volume, mode)
        made = Attachment(self, api, volume.id, identifier)
        try:
            if mode == "ro":
                # A writer has the lease of its upload.
                made.begin_lease()
            made.connect(connector, writable=mode == "rw")
        except BaseException:
            made.end()
            raise
        return made

    def _reserved(self, api: CinderApi, volume: Volume, mode: str) -> str:
        """Return the id of a new attachment. One that is just being made elsewhere is waited for."""
        pause = _FIRST_PAUSE
        for left in range(self.retries, -1, -1):
            try:
                return api.reserve(volume.id, mode)
            except CinderFailed as failed:
                if failed.status not in (400, 409):
                    raise
                # What dead processes left must keep no living one from reading.
                found = api.find(volume.id)
                if found is not None:
                    remove_stale(self.brick, api, found)
                if left == 0:
                    hint = "" if volume.multiattach else "; a type with multiattach lets several hosts read"
                    raise CinderFailed(
                        f"{api.place}: attach a volume: {volume.id} is attached elsewhere, or not available{hint}",
                        failed.status,
                    ) from None
            deadlines.pause(pause * random.uniform(0.7, 1.3))  # noqa: S311 - so that hosts do not keep step
            pause *= 2
        raise AssertionError("unreachable")


class Attachment:
    """A volume that is attached to this host, or about to be."""

    def __init__(self, attacher: Attacher, api: CinderApi, volume: str, identifier: str) -> None:
        self._attacher = attacher
        self._api = api
        self._volume = volume
        self._id = identifier
        self._connected: Connected | None = None
        self._held: HeldLease | None = None
        self._may_be_connected = False

    @property
    def disk(self) -> Disk:
        """The bytes of the volume."""
        assert self._connected is not None
        return self._connected.disk

    def begin_lease(self) -> None:
        """Say that this process lives, and has the volume. Raises CinderFailed."""
        name = ATTACHED + self._id
        self._api.set_metadata(self._volume, {name: self._attacher.leases.text()})
        self._held = self._attacher.leases.hold(self._api, self._volume, name)

    def connect(self, connector: Mapping[str, Any], *, writable: bool) -> None:
        """Make the volume usable here. Raises CinderFailed; ``end`` is due in any case."""
        attacher, api = self._attacher, self._api
        info = api.connection(self._id, connector)
        if info.get("encrypted"):
            raise CinderFailed(f"{api.place}: attach a volume: {self._volume} is encrypted, which images cannot be")
        if info.get("format", "raw") != "raw":
            raise CinderFailed(f"{api.place}: attach a volume: {self._volume} is a file that is not raw")
        with host_lock(attacher.brick.options.lock_path, self._volume, attacher.change):
            try:
                self._connected = attacher.brick.connect(info, writable=writable)
            except CinderFailed as failed:
                # What hangs may end with a device; Ceph's end with the process.
                self._may_be_connected = failed.silent and info["driver_volume_type"] != "rbd"
                raise
        api.complete(self._id)

    def extend(self) -> None:
        """Notice that the volume has become larger."""
        assert self._connected is not None
        if self._connected.is_shared:
            self._attacher.brick.ask("extend a volume", self._connected.extend)

    def end(self) -> None:
        """Detach the volume; never raises. What stays is told in the log, and others see it by the lease."""
        if self._held is not None:
            self._attacher.leases.release(self._held)
        is_let_go = self._told("disconnect", self._let_go) and not self._may_be_connected
        if not is_let_go:
            # The device is still there: the volume must not be given to others before an operator has seen to it.
            stuck = f"{STUCK} {self._attacher.brick.host}"
            self._told("mark", lambda: self._api.set_metadata(self._volume, {ATTACHED + self._id: stuck}))
            return
        is_removed = self._told("remove the attachment of", lambda: self._api.detach(self._id))
        if is_removed and self._held is not None:
            self._told("clean up", lambda: self._api.remove_metadata(self._volume, ATTACHED + self._id))

    def _let_go(self) -> None:
        connected, self._connected = self._connected, None
        if connected is None:
            return
        brick = self._attacher.brick
        # What cannot be let go must not end with its last reference, in a thread that would hang with it.
        brick.kept.add(connected)
        with host_lock(brick.options.lock_path, self._volume, self._attacher.change):
            brick.ask("close a volume", connected.disk.close)
            if not connected.is_shared or not self._has_others():
                brick.ask("disconnect a volume", connected.disconnect)
        brick.kept.discard(connected)

    def _has_others(self) -> bool:
        """Say whether another process of this host uses the same device."""
        volume = self._api.find(self._volume)
        if volume is None:
            return False
        living = set(self._api.attachments(self._volume)) - {self._id}
        leases = {each: volume.lease_of(each) for each in living}
        return any(lease and not lease.is_over and lease.host == self._attacher.brick.host for lease in leases.values())

    def _told(self, what: str, act: Callable[[], object]) -> bool:
        """Do a step and return True; an error is logged."""
        try:
            act()
        except StoreError as failed:
            LOG.warning("cannot %s the volume %s: %s", what, self._volume, failed)
            return False
        return True


def remove_stale(brick: Brick, api: CinderApi, volume: Volume) -> str | None:
    """Remove the attachments of processes that died; return why one of another process stays, None when none does.

    Raises CinderFailed.
    """
    for identifier in api.attachments(volume.id):
        lease = volume.lease_of(identifier)
        lease = lease or volume.upload
        if lease is None:
            return "it is attached by another service"
        if lease.until is None:
            return (
                f"the host {lease.host} could not let go of its device: disconnect it there, and remove the attachment"
            )
        if not lease.is_over:
            return f"the host {lease.host} has it attached"
        _remove(brick, api, identifier, lease)
    return None


def _remove(brick: Brick, api: CinderApi, identifier: str, lease: VolumeLease) -> None:
    if lease.host == brick.host:
        info = api.connection_of(identifier)
        if info:
            brick.disconnect(info)
    else:
        LOG.warning(
            "a process of the host %s died with a volume attached; is its device still there? The attachment %s is "
            "removed", lease.host, identifier,
        )
    api.detach(identifier)
