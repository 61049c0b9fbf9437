"""Deleting a volume, finished or not. One that is in use stays, and its writer is told to stop (stores section 8)."""

from glance_common.stores.contract import InUse
from glance_common.stores.drivers.cinder.attaching import remove_stale
from glance_common.stores.drivers.cinder.brick import Brick
from glance_common.stores.drivers.cinder.client import CinderApi
from glance_common.stores.drivers.cinder.errors import CinderFailed
from glance_common.stores.drivers.cinder.volumes import DELETED, Volume

_BUSY = ("attaching", "reserved", "detaching", "in-use", "creating", "extending", "downloading", "retyping")


def remove(brick: Brick, api: CinderApi, volume: Volume, seconds: float) -> None:
    """Delete a volume of the service and wait until it is gone. Raises InUse, CinderFailed."""
    if volume.upload is not None and not volume.upload.is_over:
        api.set_metadata(volume.id, {DELETED: "true"})
        found = api.find(volume.id)
        if found is None:
            return
        if found.upload is not None:
            raise InUse(f"{volume.id} is being written by the host {found.upload.host}")
        volume = found  # its writer was faster
    if volume.status != "deleting":
        reason = remove_stale(brick, api, volume)
        if reason is not None:
            raise InUse(f"{volume.id}: {reason}")
    delete_and_wait(api, volume.id, seconds)


def delete_and_wait(api: CinderApi, volume: str, seconds: float) -> None:
    """Delete a volume that nothing uses, and wait until it is gone. Raises InUse, CinderFailed."""
    found = api.wait(volume, "make a volume available", _may_go, seconds)
    if found is not None and found.status != "deleting":
        try:
            api.delete(volume)
        except CinderFailed as failed:
            if failed.status in (400, 409):
                raise InUse(f"{volume}: Cinder refuses to delete it: it is in use, or has snapshots") from None
            raise
    found = api.wait(volume, "delete a volume", lambda seen: seen is None or seen.status == "available", seconds)
    if found is not None:
        raise InUse(f"{volume}: its backend says that it is busy")


def _may_go(volume: Volume | None) -> bool:
    return volume is None or volume.status not in _BUSY
