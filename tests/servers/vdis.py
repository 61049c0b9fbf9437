"""What Sheepdog's ``dog`` does, as recorded on a real cluster of sheepdog 1.0 with three nodes and two copies.

The traps are kept on purpose: ``delete`` ends with 0 whatever happens, ``write`` fills with zeros what stdin does not
bring and cuts silently what lies behind the end, ``list`` of a missing name prints nothing and ends with 0.
"""

from __future__ import annotations

import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Protocol

OBJECT = 4 * 1024 * 1024
LARGEST = 4 * 1024**4
_UNITS = {"": 1, "B": 1, "K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4, "P": 1024**5}


class Terminal(Protocol):
    """Where a command reads and prints."""

    def stdin(self, most: int) -> bytes:
        """Return the next bytes of the input; fewer than ``most`` only at its end."""

    def out(self, data: bytes) -> None:
        """Print on stdout."""

    def err(self, text: str) -> None:
        """Print on stderr."""


@dataclass
class Vdi:
    """A VDI, or a snapshot when it has a tag."""

    name: str
    number: int
    path: Path
    size: int
    tag: str | None = None
    snapshot: int = 0
    is_clone: bool = False
    created: float = field(default_factory=time.time)


class Failed(Exception):
    """Ends a command with a code and a text on stderr."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class Vdis:
    """The VDIs of one cluster, their data in files of ``folder``. ``room``: bytes of data that fit."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.RLock()
        self._numbers = count(0x6A5E16)
        self.all: list[Vdi] = []
        self.is_formatted = True
        self.room = 10 * 1024**3

    def used(self) -> int:
        """Return the bytes of data of all VDIs."""
        return sum(vdi.path.stat().st_size for vdi in self.all)

    def run(self, words: Sequence[str], terminal: Terminal) -> int:
        """Run a command and return its exit code."""
        commands: dict[tuple[str, ...], Callable[[list[str], str | None, Terminal], None]] = {
            ("vdi", "create"): self._create, ("vdi", "write"): self._write, ("vdi", "read"): self._read,
            ("vdi", "resize"): self._resize, ("vdi", "delete"): self._delete, ("vdi", "snapshot"): self._take,
            ("vdi", "clone"): self._clone, ("vdi", "list"): self._list, ("node", "info"): self._info,
        }
        command = commands.get(tuple(words[:2]))
        rest = list(words[2:])
        tag = None
        if "-s" in rest:
            place = rest.index("-s")
            tag = rest[place + 1]
            del rest[place : place + 2]
        is_raw = "-r" in rest
        rest = [word for word in rest if word != "-r"]
        if command is None or any(word.startswith("-") for word in rest):
            terminal.out(b"Usage: dog <command> <subcommand> [options]\n")
            return 64
        if command in (self._list, self._info) and not is_raw:
            raise NotImplementedError("only raw lists are recorded")
        try:
            if self.is_formatted:
                command(rest, tag, terminal)
            elif command not in (self._list, self._info):  # these find no VDI and say nothing
                raise Failed(0 if command == self._delete else 1, "Failed: Waiting for cluster to be formatted")
        except Failed as failed:
            terminal.err(f"{failed}\n")
            return failed.code
        return 0

    def _find(self, name: str, tag: str | None = None) -> Vdi:
        named = [vdi for vdi in self.all if vdi.name == name[:255]]
        for vdi in named:
            if vdi.tag == tag:
                return vdi
        missing = "Failed to find requested tag" if named and tag is not None else "No VDI found"
        raise Failed(1, f"Failed to open VDI {name} (snapshot id: 0 snapshot tag: {tag or ''}): {missing}")

    def _new(self, name: str, size: int) -> Vdi:
        name = name[:255]
        if any(vdi.name == name and vdi.tag is None for vdi in self.all):
            raise Failed(1, f"Failed to create VDI {name}: VDI exists already")
        number = next(self._numbers)
        path = self._folder / f"{number:x}"
        path.touch()
        self.all.append(Vdi(name, number, path, size))
        return self.all[-1]

    def _create(self, words: list[str], _tag: str | None, _terminal: Terminal) -> None:
        size = _size(words[1] if len(words) > 1 else "")
        with self._lock:
            self._new(words[0], size)

    def _resize(self, words: list[str], _tag: str | None, _terminal: Terminal) -> None:
        size = _size(words[1] if len(words) > 1 else "")
        with self._lock:
            vdi = self._find(words[0])
            if size > LARGEST:
                raise Failed(64, f"New VDI size is too large. This volume's max size is {LARGEST}")
            if size < vdi.size:
                raise Failed(64, "Shrinking VDIs is not implemented")
            vdi.size = size

    def _range(self, vdi: Vdi, words: list[str], what: str) -> tuple[int, int]:
        offset = _size(words[1]) if len(words) > 1 else 0
        if offset > vdi.size:
            raise Failed(1, f"{what} offset is beyond the end of the VDI")
        length = _size(words[2]) if len(words) > 2 else vdi.size
        return offset, min(offset + length, vdi.size)

    def _write(self, words: list[str], _tag: str | None, terminal: Terminal) -> None:
        vdi = self._find(words[0])
        at, end = self._range(vdi, words, "Write")
        with vdi.path.open("r+b") as file:
            file.seek(at)
            while at < end:
                wanted = min(end - at, OBJECT - at % OBJECT)
                data = terminal.stdin(wanted)
                if len(data) < wanted:
                    # The rest of the object becomes zeros, then it ends.
                    data, end = data + bytes(wanted - len(data)), at + wanted
                if self.used() > self.room:
                    raise Failed(1, f"Failed to write object {vdi.number:x}: Server has no space for new objects")
                if vdi not in self.all:
                    raise Failed(1, "Failed to write VDI")
                file.write(data)
                file.flush()
                at += wanted

    def _read(self, words: list[str], tag: str | None, terminal: Terminal) -> None:
        vdi = self._find(words[0], tag)
        at, end = self._range(vdi, words, "Read")
        with vdi.path.open("rb") as file:
            file.seek(at)
            while at < end:
                wanted = min(end - at, OBJECT - at % OBJECT)
                data = file.read(wanted)
                terminal.out(data + bytes(wanted - len(data)))
                at += wanted

    def _delete(self, words: list[str], tag: str | None, terminal: Terminal) -> None:
        with self._lock:
            try:
                vdi = self._find(words[0], tag)
            except Failed as failed:
                terminal.err(f"{failed}\n")  # and the exit code is 0
                return
            self.all.remove(vdi)
            vdi.path.unlink()

    def _take(self, words: list[str], tag: str | None, _terminal: Terminal) -> None:
        with self._lock:
            vdi = self._find(words[0])
            earlier = [other for other in self.all if other.name == vdi.name and other.tag is not None]
            if any(other.tag == tag for other in earlier):
                raise Failed(1, f"Failed to create snapshot for {vdi.name}, maybe snapshot id (0) or tag ({tag}) is "
                             "existed")
            self.all.remove(vdi)
            new = self._new(vdi.name, vdi.size)
            shutil.copyfile(vdi.path, new.path)
            vdi.tag, vdi.snapshot = tag or "", len(earlier) + 1
            self.all.append(vdi)

    def _clone(self, words: list[str], tag: str | None, _terminal: Terminal) -> None:
        if tag is None:
            raise Failed(64, "Only snapshot VDIs can be cloned\nPlease specify the '-s' option")
        with self._lock:
            source = self._find(words[0], tag)
            new = self._new(words[1], source.size)
            new.is_clone = True
            shutil.copyfile(source.path, new.path)

    def _list(self, words: list[str], _tag: str | None, terminal: Terminal) -> None:
        with self._lock:
            lines = list(self._lines(words[0] if words else None))
        terminal.out("".join(lines).encode())

    def _lines(self, name: str | None) -> Iterator[str]:
        for vdi in sorted(self.all, key=lambda vdi: vdi.number):
            if name is None or vdi.name == name:
                kind = "s" if vdi.tag is not None else "c" if vdi.is_clone else "="
                escaped = re.sub(r"([\s\\])", r"\\\1", vdi.name)
                used = -(-vdi.path.stat().st_size // OBJECT) * OBJECT
                yield (
                    f"{kind} {escaped} {vdi.snapshot} {vdi.size} {used} 0 {int(vdi.created)} {vdi.number:x} 2 "
                    f"{vdi.tag or ''} 22\n"
                )

    def _info(self, _words: list[str], _tag: str | None, terminal: Terminal) -> None:
        size, used = 2 * self.room, 2 * min(self.used(), self.room)
        percent = used * 100 // size
        terminal.out(
            f"0 {size} {used} {size - used} {percent}%\n"
            f"Total {size} {used} {size - used} {percent}% {sum(vdi.size for vdi in self.all)}\n".encode()
        )


def _size(text: str) -> int:
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)([BKMGTP]?)", text)
    if found is None:
        raise Failed(64, f"Invalid size '{text}'")
    return int(float(found[1]) * _UNITS[found[2]]) if "." in found[1] else int(found[1]) * _UNITS[found[2]]
