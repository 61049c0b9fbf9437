"""Writing a VDI that no reader sees before it is complete.

``dog`` cannot rename a VDI. But a clone of a snapshot comes into being in one step, shares the data, outlives its
origin, and is refused when the name is taken. So the data go to a VDI ``<name>~<attempt>`` that grows with them; its
snapshot is cloned to the name; then VDI and snapshot are deleted. A VDI of the plain name is complete, also one that
an older Glance or another program wrote.
"""

from collections.abc import Iterable
from contextlib import suppress
from itertools import repeat
from uuid import uuid4

from glance_common.stores.contract import StoreError, StoreUnavailable
from glance_common.stores.drivers.sheepdog.cluster import Cluster
from glance_common.stores.parts import Part, in_parts, send_parts
from glance_common.stores.room import SharedRoom

TAG = "complete"

_HURRY = 0.25
"""Share of the timeout for each step of taking back what was written."""


def write_vdi(cluster: Cluster, name: str, pieces: Iterable[bytes], *, part: int, timeout: float) -> int:
    """Write the pieces in parts of so many bytes; return the bytes written.

    On an exception nothing of them is left, unless the cluster cannot be reached; ``remove_vdi`` removes that.
    Raises VdiExists when the name is taken, StoreFull, StoreUnavailable.
    """
    growing = f"{name}~{uuid4().hex}"
    is_visible = False
    try:
        cluster.create(growing)
        written = _write(cluster, growing, pieces, part)
        cluster.snapshot(growing, TAG)
        cluster.clone(growing, TAG, name)
        is_visible = True
        if not cluster.delete(growing):
            raise StoreUnavailable(f"{name} was deleted while it was written")
    except BaseException:
        made = [(name, None)] if is_visible else []
        with suppress(StoreError):
            for vdi, tag in [*made, (growing, None), (growing, TAG)]:
                cluster.delete(vdi, tag, seconds=_HURRY * timeout)
        raise
    # The data are complete and visible, whatever becomes of this; a snapshot that stays goes with the VDI.
    with suppress(StoreError):
        cluster.delete(growing, TAG)
    return written


def _write(cluster: Cluster, name: str, pieces: Iterable[bytes], part: int) -> int:
    """Write one part while the next one comes in."""

    def send(number: int, data: Part) -> int:
        # One after another: two runs that write to one object would each create it.
        cluster.write(name, (number - 1) * part, data)
        return len(data)

    return sum(send_parts(in_parts(pieces, repeat(part)), send, at_once=1, room=SharedRoom(0)))


def remove_vdi(cluster: Cluster, name: str) -> bool:
    """Delete a VDI and what unfinished writes of its name left; say whether there was a complete one.

    The unfinished first: their writer looks for its VDI after it made the complete one, and takes that back.
    """
    for vdi in cluster.vdis():
        if vdi.name.startswith(f"{name}~"):
            cluster.delete(vdi.name, vdi.tag)
    return cluster.delete(name)
