"""What a disk holds after a loss of power: what was synced, and nothing else.

The worst that POSIX allows: bytes that no sync of their file followed are gone, and so are names that no sync of their
directory followed. A file keeps the length that it had at its last sync, unsynced bytes before that are zeros, and a
name that was removed without a sync is back.
"""

from __future__ import annotations

import os
import shutil
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

KEPT = "kept"
"""The folder beside the log where the shim keeps files that may have lost their last name, named by their inodes."""


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the shim's log: which thread did what to which file; ``at`` and ``count`` are bytes."""

    what: str
    thread: int
    inode: int
    at: int
    count: int
    path: str


def events(log: Path) -> Iterator[Event]:
    """Yield what the shim has noted, the oldest first."""
    text = log.read_text(errors="surrogateescape")
    # A line may still be written.
    for line in text[: text.rfind("\n") + 1].splitlines():
        what, thread, inode, at, count, path = line.split("\t")
        yield Event(what, int(thread), int(inode), int(at), int(count), path)


@dataclass(slots=True)
class _File:
    """What is durable of one file; ``size`` is None for one that was there before the log."""

    size: int | None = None
    unsynced: list[Event] = field(default_factory=list)
    lost: list[Event] = field(default_factory=list)
    """Bytes that a sync has failed for: no later one writes them."""


class _Disk:
    """What the log says of a disk, read in its order."""

    def __init__(self) -> None:
        self.files: dict[int, _File] = defaultdict(_File)
        self.names: list[Event] = []
        """Changes of names that no sync of their directory followed."""
        self._syncs: dict[tuple[int, int], tuple[int, int]] = {}
        """How many writes and names a sync that is running has found, by thread and inode."""

    def take(self, event: Event) -> None:
        """Read one line."""
        match event.what:
            case "write":
                self.files[event.inode].unsynced.append(event)
            case "link" | "unlink":
                if event.what == "link" and event.inode not in self.files:
                    self.files[event.inode] = _File(size=0)
                self.names.append(event)
            case "sync":
                self._syncs[event.thread, event.inode] = len(self.files[event.inode].unsynced), len(self.names)
            case "synced":
                self._synced(event)
            case "lost":
                file = self.files[event.inode]
                file.lost += file.unsynced
                file.unsynced = []

    def _synced(self, event: Event) -> None:
        # One that began before the log makes nothing of it durable.
        writes, names = self._syncs.pop((event.thread, event.inode), (0, 0))
        file = self.files[event.inode]
        # What came while the sync ran may not be in it.
        file.unsynced = file.unsynced[writes:]
        if file.size is not None:
            file.size = event.count
        self.names = [
            each for number, each in enumerate(self.names)
            if number >= names or os.path.dirname(each.path) != event.path
        ]


def lose(log: Path, places: Iterable[Path]) -> list[str]:
    """Make the files below ``places`` what is durable of them by the log; return what was undone."""
    disk = _Disk()
    for event in events(log):
        disk.take(event)
    undone = [text for event in reversed(disk.names) if (text := _undo_name(event, log.parent / KEPT))]
    for place in places:
        for path in sorted(place.rglob("*")):
            if path.is_file() and path.stat().st_ino in disk.files:
                undone += _undo_data(path, disk.files[path.stat().st_ino])
    return undone


def _undo_name(event: Event, kept: Path) -> str:
    path, file = Path(event.path), kept / str(event.inode)
    if event.what == "unlink":
        if path.exists() or not file.exists() or not path.parent.is_dir():
            return ""
        os.link(file, path)
        return f"{path} is back"
    # The call may have failed, and the name be another file's.
    if not path.exists() or path.stat().st_ino != event.inode:
        return ""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    return f"the name {path} is gone"


def _undo_data(path: Path, file: _File) -> list[str]:
    size = path.stat().st_size
    length = size if file.size is None else min(size, file.size)
    undone = [] if length == size else [f"{path} has {length} bytes instead of {size}"]
    with path.open("r+b") as data:
        data.truncate(length)
        for write in (*file.lost, *file.unsynced):
            count = min(write.count, length - write.at)
            if count > 0:
                data.seek(write.at)
                data.write(bytes(count))
                undone.append(f"{path} has {count} zeros at {write.at}")
    return undone
