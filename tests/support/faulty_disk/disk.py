"""Faults of a disk, as processes see them that run with the shim of this folder (``disk.h`` says how it works)."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from tests.support import environments
from tests.support.faulty_disk import power

ALWAYS = 0
HANG = 0
"""The error number of a fault that fails nothing: it waits until the fault is taken away."""


class Operation(StrEnum):
    """What a fault strikes."""

    WRITE = "write"
    """Bytes that are written, and the reservation of room for them."""
    SHORT = "short"
    """A write of more than ``most`` bytes writes that many; nothing fails."""
    SYNC = "sync"
    """fsync and fdatasync of a file."""
    SYNC_DIRECTORY = "syncdir"
    WRITEBACK = "writeback"
    """sync_file_range."""
    READ = "read"
    """Bytes that are read, also by the kernel itself (sendfile)."""
    NAME = "name"
    """Each operation that names a file or directory."""


@dataclass(frozen=True, slots=True)
class Fault:
    """``operation`` fails with ``number`` from byte ``at`` of a file on; what comes before that is still done.

    It strikes paths that contain ``part``, ``times`` times over all processes, or ALWAYS.
    """

    operation: Operation
    number: int = errno.EIO
    at: int = 0
    most: int = 0
    times: int = ALWAYS
    part: str = ""


class FaultyDisk:
    """The directories ``places`` as one disk; ``control`` holds what is armed and what was seen.

    With ``records`` everything is noted that a loss of power needs; ``control`` has to be on the file system of the
    places then.
    """

    def __init__(self, control: Path, *places: Path, records: bool = False) -> None:
        self._control = control
        self._places = places
        self._records = records
        (control / power.KEPT).mkdir(parents=True)
        self._log.touch()

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables of a process that has its files on this disk."""
        own = {
            "LD_PRELOAD": str(environments.faulty_disk()),
            "GLANCE_DISK_CONTROL": str(self._control),
            "GLANCE_DISK_PLACES": ":".join(map(str, self._places)),
        }
        return {**own, "GLANCE_DISK_RECORDS": "1"} if self._records else own

    def arm(self, fault: Fault) -> None:
        """Let the fault strike from now on, instead of an earlier one of the same operation."""
        assert len(fault.part.split()) <= 1, "the shim reads a part up to the first blank"
        self.disarm(fault.operation)
        for number in range(fault.times):
            (self._control / f"{fault.operation}.{number}").touch()
        complete = self._control / f".{fault.operation}"
        complete.write_text(f"{fault.number} {fault.at} {fault.most} {fault.times} {fault.part}")
        complete.rename(self._control / fault.operation)

    def disarm(self, *operations: Operation) -> None:
        """Take the faults of these operations away, or all."""
        for operation in operations or Operation:
            (self._control / operation).unlink(missing_ok=True)
            for token in self._control.glob(f"{operation}.*"):
                token.unlink(missing_ok=True)

    @contextmanager
    def failing(self, *faults: Fault) -> Iterator[None]:
        """Let these faults strike inside of the block, and fail when one of them did not."""
        before = {fault.operation: len(self.strikes(fault.operation)) for fault in faults}
        for fault in faults:
            self.arm(fault)
        try:
            yield
        finally:
            self.disarm(*before)
        for operation, count in before.items():
            assert len(self.strikes(operation)) > count, f"no {operation} met the fault"

    def strikes(self, operation: Operation) -> list[str]:
        """Return the paths that faults of an operation have struck."""
        found = []
        for event in power.events(self._log):
            struck, _, path = event.path.partition(" ")
            if event.what == "fault" and struck == operation:
                found.append(path)
        return found

    def power_loss(self) -> list[str]:
        """Undo what was never synced, and return what that was; all processes have to be dead.

        What is left counts as durable from then on.
        """
        assert self._records, "nothing was noted"
        undone = power.lose(self._log, self._places)
        self.forget()
        return undone

    def forget(self) -> None:
        """Let everything that is there count as durable, and every strike as long ago."""
        self._log.write_text("")
        for kept in (self._control / power.KEPT).iterdir():
            kept.unlink()

    @property
    def _log(self) -> Path:
        return self._control / "log"
