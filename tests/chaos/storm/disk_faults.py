"""The disk of the stores and of staged data fails for a while, for every process at once."""

from __future__ import annotations

import errno

from tests.chaos.storm.faults import Fault
from tests.support import faulty_disk
from tests.support.faulty_disk import FaultyDisk, Operation


class DiskFails:
    """One kind of call fails, or does less than it was asked for."""

    longest = 4.0

    def __init__(self, name: str, disk: FaultyDisk, fault: faulty_disk.Fault) -> None:
        self.name = f"disk: {name}"
        self.part = f"disk: {fault.operation}"
        self._disk, self._fault = disk, fault

    def begin(self) -> None:
        """Let calls fail."""
        self._disk.arm(self._fault)

    def end(self) -> None:
        """Let them do again what they should."""
        self._disk.disarm(self._fault.operation)


def disk_faults(disk: FaultyDisk) -> list[Fault]:
    """Return the faults of a disk."""
    kinds = {
        "full at a byte": faulty_disk.Fault(Operation.WRITE, errno.ENOSPC, at=150_000),
        "error of a write": faulty_disk.Fault(Operation.WRITE),
        "error of a sync": faulty_disk.Fault(Operation.SYNC),
        "error of the sync of a directory": faulty_disk.Fault(Operation.SYNC_DIRECTORY),
        "short writes": faulty_disk.Fault(Operation.SHORT, most=1000),
        "error of a read": faulty_disk.Fault(Operation.READ, at=1),
    }
    return [DiskFails(name, disk, fault) for name, fault in kinds.items()]
