"""Removing an image, finished or not, and what an earlier removal had to leave in Ceph's trash (stores section 7).

A snapshot or an image that something uses cannot be removed. A reader, a writer and a dead client until its watch ends
keep the image; a clone keeps the snapshot. So the name goes first where the data cannot go yet: a writer finds out that
its image is gone, and the data are removed by a later call.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any
from uuid import uuid4

from glance_common.stores.calls import Steps
from glance_common.stores.ceph_modules import bindings
from glance_common.stores.contract import InUse, StoreUnavailable
from glance_common.stores.drivers.rbd.address import SNAPSHOT

LOG = logging.getLogger(__name__)


def remove(io: Any, key: str, progress: Steps) -> bool:
    """Remove all data of a key; return whether they were those of a finished image.

    Raises InUse while something is left that will go later, StoreUnavailable, and errors of Ceph's library.
    """
    was_finished = _remove_snapshot(io, key)
    _remove_named(io, key, progress)
    _remove_trashed(io, key, progress)
    return was_finished


def discard(io: Any, key: str, image_id: str) -> None:
    """Remove what an ``add`` wrote, and nothing that others have under its key.

    Raises StoreUnavailable, and errors of Ceph's library.
    """
    rbd = bindings().rbd
    try:
        with rbd.Image(io, key, read_only=True) as image:
            has_name = image.id() == image_id
    except rbd.ImageNotFound:
        has_name = False
    with suppress(rbd.ImageNotFound):
        with rbd.Image(io, image_id=image_id) as image:
            _unmake(image)
        if not has_name:
            rbd.RBD().trash_remove(io, image_id)
            return
        with _name_ends(io, key):
            rbd.RBD().remove(io, key)


def _remove_snapshot(io: Any, key: str) -> bool:
    """Make an image unfinished; return whether it was finished. Raises InUse, and nothing is changed then."""
    rbd = bindings().rbd
    try:
        image = rbd.Image(io, key)
    except rbd.ImageNotFound:
        return False
    with image:
        if not _is_finished(image):
            return False
        if len(list(image.watchers_list())) > 1:
            raise InUse(f"{key} is being read")
        if _has_clones(image):
            raise InUse(f"{key} has clones")
        try:
            _unmake(image)
        except rbd.ImageBusy:
            raise InUse(f"{key} has clones") from None
    return True


def _is_finished(image: Any) -> bool:
    return any(snapshot["name"] == SNAPSHOT for snapshot in image.list_snaps())


def _unmake(image: Any) -> None:
    """Remove the snapshot that makes an image whole. Raises ImageBusy for one with clones (of version 1)."""
    if _is_finished(image):
        if image.is_protected_snap(SNAPSHOT):
            image.unprotect_snap(SNAPSHOT)
        image.remove_snap(SNAPSHOT)


def _has_clones(image: Any) -> bool:
    """Say whether there are clones. Those of version 2 would not keep us from removing the snapshot."""
    rbd = bindings().rbd
    try:
        image.set_snap(SNAPSHOT)
        return next(iter(image.list_children2()), None) is not None
    except rbd.Error:
        # They may be in pools that this user cannot see. The cluster keeps what they need all the same.
        return False
    finally:
        image.set_snap(None)


def _remove_named(io: Any, key: str, progress: Steps) -> None:
    rbd = bindings().rbd
    try:
        with _name_ends(io, key):
            rbd.RBD().remove(io, key, on_progress=progress)
        return
    except rbd.ImageHasSnapshots:
        if not _has_other_snapshots(io, key):
            raise InUse(f"{key} has clones") from None
        LOG.warning("%s has snapshots of others: it is in Ceph's trash, and can be removed after them", key)
    except rbd.ImageBusy:
        # Something has it open: a writer, which stops, or a client that died, until its watch ends.
        pass
    with _name_ends(io, key):
        rbd.RBD().trash_move(io, key, 0)


@contextmanager
def _name_ends(io: Any, key: str) -> Iterator[None]:
    """Let the block fail for an image that is not there. Raises StoreUnavailable when it is there all the same.

    Ceph says so where it has no room for a note in its trash, through which every image goes.
    """
    rbd = bindings().rbd
    try:
        yield
    except rbd.ImageNotFound:
        with suppress(rbd.ImageNotFound), rbd.Image(io, key, read_only=True):
            raise StoreUnavailable(f"{key} cannot be removed now: the cluster is full") from None


def prepare_trash(io: Any) -> None:
    """Have Ceph make its trash, for which a full cluster has no room. Raises errors of Ceph's library."""
    rbd = bindings().rbd
    name = f"glance-{uuid4()}"
    rbd.RBD().create(io, name, 0, old_format=False, features=rbd.RBD_FEATURE_LAYERING)
    rbd.RBD().remove(io, name)


def _has_other_snapshots(io: Any, key: str) -> bool:
    """Say whether there are snapshots but those that Ceph keeps for clones of version 2, and removes after them."""
    rbd = bindings().rbd
    with rbd.Image(io, key, read_only=True) as image:
        return any(snapshot["namespace"] != rbd.RBD_SNAP_NAMESPACE_TYPE_TRASH for snapshot in image.list_snaps())


def _remove_trashed(io: Any, key: str, progress: Steps) -> None:
    rbd = bindings().rbd
    is_busy = False
    for entry in list(rbd.RBD().trash_list(io)):
        if entry["name"] != key:
            continue
        try:
            with rbd.Image(io, image_id=entry["id"]) as image:
                # A writer may make its image whole when that is in the trash already.
                _unmake(image)
            rbd.RBD().trash_remove(io, entry["id"], on_progress=progress)
        except rbd.ImageBusy:
            is_busy = True
        except (rbd.ImageNotFound, rbd.ImageHasSnapshots, rbd.PermissionError):
            # Gone, or an operator's to decide about: snapshots, or a time until which it is kept.
            continue
    if is_busy:
        raise InUse(f"{key} is open somewhere; a client that died counts for a while")
