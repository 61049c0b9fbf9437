"""The commands of ``dog`` that the store needs, with exact offsets and lengths (stores section 10).

A write names its length, since ``dog`` would fill the rest with zeros. It stays within the VDI, since ``dog`` would cut
it there without a word. A read must bring every byte.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from glance_common.stores.contract import StoreUnavailable
from glance_common.stores.drivers.sheepdog.place import SheepdogPlace
from glance_common.stores.drivers.sheepdog.program import Run, VdiMissing

_MOST = 64 * 1024 * 1024
"""Bytes of a list: some hundred thousand VDIs."""

_LINE = re.compile(
    r"(?P<kind>[=sc]) (?P<name>(?:\\.|[^\\ ])+) \d+ (?P<size>\d+) \d+ \d+ (?P<created>\d+) [0-9a-f]+"
    r" (?P<copies>\d+)(?::(?P<parity>\d+))? (?P<tag>.*) \d+"
)
_ESCAPED = re.compile(r"\\(.)")
_TOTAL = re.compile(r"Total \d+ \d+ (\d+) \d+% \d+")


@dataclass(frozen=True, slots=True)
class ListedVdi:
    """A line of ``dog vdi list -r``: a VDI, or a snapshot of one when ``tag`` is not None.

    ``spread`` is how many bytes the nodes keep for a number of bytes of data.
    """

    name: str
    tag: str | None
    size: int
    created: int
    spread: tuple[int, int]


class Cluster:
    """A cluster, through one of its nodes."""

    def __init__(self, program: str, place: SheepdogPlace, timeout: float) -> None:
        """``program``: path of ``dog``; ``timeout``: seconds that each run of it may be waited for."""
        self._program = program
        self._place = place
        self._timeout = timeout

    def exists(self, name: str) -> bool:
        """Say whether there is a VDI of this name. It costs less than a list, which reads every VDI's table."""
        try:
            self._ask("vdi", "read", name, "0", "0")
        except VdiMissing:
            return False
        return True

    def create(self, name: str) -> None:
        """Create an empty VDI. Raises VdiExists."""
        self._ask("vdi", "create", name, "0")

    def write(self, name: str, offset: int, data: bytes | bytearray) -> None:
        """Let the VDI end behind ``data`` and write them. What is there already must end at or before ``offset``."""
        self._ask("vdi", "resize", name, str(offset + len(data)))
        self.overwrite(name, offset, data)

    def overwrite(self, name: str, offset: int, data: bytes | bytearray) -> None:
        """Write within the VDI."""
        self._ask("vdi", "write", name, str(offset), str(len(data)), data=data)

    def read(self, name: str, offset: int, length: int) -> Iterator[bytes]:
        """Yield exactly ``length`` bytes of the VDI. Raises VdiMissing, StoreUnavailable."""
        left = length
        with self._run("vdi", "read", name, str(offset), str(length)) as run:
            for piece in run.pieces():
                left -= len(piece)
                if left < 0:
                    break
                yield piece
        if left:
            raise StoreUnavailable(f"{self._place}: dog did not read {length} bytes of {name} from {offset}")

    def snapshot(self, name: str, tag: str) -> None:
        """Keep the VDI as it is now under the tag."""
        self._ask("vdi", "snapshot", "-s", tag, name)

    def clone(self, name: str, tag: str, target: str) -> None:
        """Make a VDI of a snapshot in one step; they share the data. Raises VdiExists, VdiMissing."""
        self._ask("vdi", "clone", "-s", tag, name, target)

    def delete(self, name: str, tag: str | None = None, *, seconds: float | None = None) -> bool:
        """Delete a VDI, or a snapshot of it, and say whether it was there."""
        chosen = () if tag is None else ("-s", tag)
        try:
            self._ask("vdi", "delete", *chosen, name, seconds=seconds)
        except VdiMissing:
            return False
        return True

    def vdis(self, name: str | None = None) -> list[ListedVdi]:
        """Return all VDIs and snapshots, or those of one name."""
        out = self._ask("vdi", "list", "-r", *(() if name is None else (name,)))
        lines = out.decode("utf-8", "surrogateescape").split("\n")
        if lines.pop():
            raise StoreUnavailable(f"{self._place}: the list of dog ends in the middle of a line")
        return [self._parsed(line) for line in lines]

    def free(self) -> int:
        """Return the free bytes of all nodes together, which hold copies."""
        lines = self._ask("node", "info", "-r").decode("ascii", "replace").splitlines()
        total = _TOTAL.fullmatch(lines[-1]) if lines else None
        if total is None:
            raise StoreUnavailable(f"{self._place}: dog node info does not tell the free space")
        return int(total[1])

    def _parsed(self, line: str) -> ListedVdi:
        found = _LINE.fullmatch(line)
        if found is None:
            raise StoreUnavailable(f"{self._place}: dog vdi list printed a line that is none of a list")
        copies, parity = int(found["copies"]), int(found["parity"] or 0)
        return ListedVdi(
            name=_ESCAPED.sub(r"\1", found["name"]), tag=found["tag"] if found["kind"] == "s" else None,
            size=int(found["size"]), created=int(found["created"]),
            spread=(copies + parity, copies) if parity else (copies, 1),
        )

    def _ask(self, *arguments: str, data: bytes | bytearray = b"", seconds: float | None = None) -> bytes:
        out = bytearray()
        with self._run(*arguments, data=data, seconds=seconds) as run:
            for piece in run.pieces():
                out += piece
                if len(out) > _MOST:
                    raise StoreUnavailable(f"{self._place}: dog printed more than {_MOST} bytes")
        return bytes(out)

    def _run(
        self, group: str, command: str, *arguments: str, data: bytes | bytearray = b"", seconds: float | None = None
    ) -> Run:
        where = ("-a", self._place.address, "-p", str(self._place.port))
        return Run([self._program, group, command, *where, *arguments], seconds or self._timeout, data)
