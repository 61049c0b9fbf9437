"""Data are judged where they lie by their beginning and end as they would be by all of their bytes (S-34, S-36)."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from tests.unit.api.test_formats_hostile import BROKEN, CD, UNSAFE, changed, made, polyglots

from glance_api.content import vmdk
from glance_api.content.formats import MOST_OF_HEAD, FormatRules, Inspection
from glance_api.services.locations import in_place
from glance_common.model.errors import UnsupportedMediaType
from glance_common.stores.contract import BadLocation, RangeUnsupported

MIB = 1024 * 1024
FILLING = bytes(range(256)) * 4096 * 16
"""16 MiB that make an image longer than what is read of it."""


class Blob:
    """An opened read in memory that counts what is taken of it."""

    def __init__(self, data: bytes, store: "MemoryStore") -> None:
        self._data = data
        self._store = store

    def __iter__(self) -> Iterator[bytes]:
        for start in range(0, len(self._data), self._store.piece):
            piece = self._data[start : start + self._store.piece]
            self._store.read += len(piece)
            yield piece

    def close(self) -> None:
        self._store.closed += 1


class MemoryStore:
    """One object, with or without parts; ``read`` bytes of it were taken."""

    id = "web"

    def __init__(self, data: bytes, *, parts: bool = True, piece: int = 64 * 1024) -> None:
        self.data = data
        self.parts = parts
        self.piece = piece
        self.read = self.closed = self.opened = 0

    def open(self, key: str, offset: int = 0, length: int | None = None) -> Blob:
        self.opened += 1
        if offset and not self.parts:
            raise RangeUnsupported("whole objects only")
        end = len(self.data) if length is None else offset + length
        return Blob(self.data[offset : end if self.parts or length is None else offset + length], self)


def whole(data: bytes, declared: str) -> str:
    """Return why all of the data together are refused, or an empty text."""
    inspection = Inspection(declared, "bare", FormatRules())
    for start in range(0, len(data), MIB):
        inspection.update(data[start : start + MIB])
    try:
        inspection.finish()
    except UnsupportedMediaType as error:
        return error.message
    return ""


def in_part(data: bytes, declared: str, **habits: Any) -> tuple[str, MemoryStore]:
    """Return the same for data that stay in their store, and the store."""
    store: Any = MemoryStore(data, **habits)
    try:
        in_place.inspect(store, "key", len(data), Inspection(declared, "bare", FormatRules()))
    except UnsupportedMediaType as error:
        return error.message, store
    return "", store


def stream_vmdk() -> bytes:
    """A VMDK of 3 MiB with its header at its end."""
    data = made("vmdk", "-o", "subformat=streamOptimized")
    end = data[-2 * vmdk.FOOTER :]
    footer = data[-vmdk.FOOTER :]
    # The marker of a footer and a copy of the header, as other programs than qemu write them.
    header = changed(data[:512], 56, b"\xff" * 8)
    last = changed(data[:512], 56, (21).to_bytes(8, "little"))
    marker = bytes(8) + bytes(4) + (3).to_bytes(4, "little") + bytes(496)
    return header + data[512 : -len(end)] + FILLING[: 3 * MIB] + marker + last + bytes(len(footer) - 1024)


GOOD = {
    "qcow2": ("qcow2", lambda: made("qcow2")), "old qcow2": ("qcow2", lambda: made("qcow2", "-o", "compat=0.10")),
    "vhd": ("vhd", lambda: made("vpc")), "vhdx": ("vhdx", lambda: made("vhdx")), "vdi": ("vdi", lambda: made("vdi")),
    "vmdk": ("vmdk", lambda: made("vmdk", "-o", "subformat=monolithicSparse")),
    "vmdk with a footer": ("vmdk", stream_vmdk), "iso": ("iso", CD.read_bytes),
    "zeros": ("raw", lambda: bytes(5 * MIB)), "text": ("raw", lambda: b"text" * MIB), "one byte": ("raw", lambda: b"x"),
}

BAD: dict[str, tuple[str, Callable[[], bytes]]] = {
    **{f"{name} as {declared}": (declared, make) for name, make in UNSAFE.items() for declared in ("raw", "qcow2")},
    **{name: made_by for name, made_by in BROKEN.items() if "cut" not in name},
    **{name: ("iso", partial(bytes, data)) for name, data in polyglots().items()},
    "zeros as qcow2": ("qcow2", lambda: bytes(5 * MIB)),
    "qcow2 as vmdk": ("vmdk", lambda: made("qcow2")),
}


@pytest.mark.parametrize("longer", [False, True], ids=["short", "longer than what is read"])
@pytest.mark.parametrize("case", GOOD)
def test_s34_good_data_are_good_in_place(case: str, longer: bool):
    declared, make = GOOD[case]
    data = make() + (b"" if not longer or "footer" in case else FILLING)
    assert whole(data, declared) == ""
    for piece in (512, 64 * 1024, 8 * MIB):
        refusal, store = in_part(data, declared, piece=piece)
        assert refusal == ""
        assert store.closed == store.opened
        assert store.read <= MOST_OF_HEAD + vmdk.FOOTER


@pytest.mark.parametrize("longer", [False, True], ids=["short", "longer than what is read"])
@pytest.mark.parametrize("case", BAD)
def test_s36_what_is_refused_as_a_whole_is_refused_in_place(case: str, longer: bool):
    declared, make = BAD[case]
    data = make()
    if longer and "early" not in case and "another header at its end" not in case:
        data += FILLING
    assert whole(data, declared)
    refusal, store = in_part(data, declared)
    assert refusal
    assert store.closed == store.opened


def test_only_what_tells_the_format_is_read():
    for data, most in ((bytes(8 * MIB), 64 * 1024), (b"t" * 8 * MIB, MIB), (made("qcow2") + FILLING, 64 * 1024)):
        assert in_part(data, "raw")[1].read <= most


def test_s36_the_header_at_the_end_decides():
    good = stream_vmdk()
    assert in_part(good, "vmdk", parts=True)[0] == ""
    end = len(good) - vmdk.FOOTER
    header = end + 512
    for where, new in ((header, b"KDMX"), (header + 28, b"\5"), (header + 56, b"\xff" * 8), (end + 12, b"\2")):
        bad = changed(good, where, new)
        assert "not safe" in whole(bad, "vmdk")
        assert in_part(bad, "vmdk")[0] == whole(bad, "vmdk")


def test_s36_a_header_at_the_end_that_cannot_be_read_is_refused():
    refusal, store = in_part(stream_vmdk(), "vmdk", parts=False)
    assert "at its end" in refusal
    assert store.read < 2 * MIB
    assert in_part(stream_vmdk()[: MIB // 2], "vmdk", parts=False)[0] != "", "all of it was read: it has no end"


def test_an_archive_is_not_looked_into():
    """What is visibly a disk of its own is no archive."""
    store = MemoryStore(b"disk.qcow2".ljust(1 << 20, b"\0"))
    in_place.inspect(store, "key", len(store.data), Inspection("qcow2", "ova", FormatRules()))
    disk = MemoryStore(made("qcow2", "-b", "/etc/passwd", "-F", "raw"))
    with pytest.raises(UnsupportedMediaType, match="backing_file"):
        in_place.inspect(disk, "key", len(disk.data), Inspection("qcow2", "ova", FormatRules()))


def test_fewer_bytes_than_announced():
    inspection = Inspection("raw", "bare", FormatRules())
    with pytest.raises(BadLocation, match="fewer bytes"):
        in_place.inspect(MemoryStore(bytes(100)), "key", 101, inspection)
