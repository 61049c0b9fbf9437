"""Disks that look unusual and hold all of their data: they are taken. Short files that name others: they are not."""

import random
import struct
import subprocess
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.unit.api.test_formats_hostile import changed, inspect, made, vmdk

from glance_api.content.formats import FormatRules, Inspection
from glance_common.model.errors import UnsupportedMediaType

SECTOR = 512
SIGNATURE = b"\x55\xaa"


def boot_sector(jump: bytes, name: bytes, *, sector: int = 512, tables: int = 0, media: int = 0) -> bytes:
    """The first sector of a file system, with code where a partition table would be."""
    parameters = struct.pack("<HBHBHHB", sector, 1, 1, tables, 0, 0, media)
    code = b"is missing\r\n".ljust(64, b"\xfa")
    return (jump + name.ljust(8)[:8] + parameters).ljust(446, b"\x90") + code + SIGNATURE


def with_magic(offset: int, magic: bytes) -> bytes:
    """A boot loader before a file system that is recognised by its superblock."""
    return changed((b"\xfa\x31".ljust(510, b"\x13") + SIGNATURE).ljust(64 * 1024, b"\0"), offset, magic)


def table(*entries: tuple[bytes, int, int, int]) -> bytes:
    """A boot record; each entry has CHS of the start, type, first sector and number of sectors."""
    end = b"\xfe\xff\xff"
    packed = [struct.pack("<B3sB3sII", 0, chs, kind, end, first, count) for chs, kind, first, count in entries]
    return bytes(446) + b"".join(packed).ljust(64, b"\0") + SIGNATURE


def with_gpt(record: bytes) -> bytes:
    def header(checksum: int) -> bytes:
        return struct.pack("<8sIIIIQQQQ", b"EFI PART", 0x10000, 92, checksum, 0, 1, 511, 34, 478).ljust(92, b"\0")

    return (record + header(zlib.crc32(header(0)))).ljust(512 * SECTOR, b"\0")


RAW: dict[str, Callable[[], bytes]] = {
    "floppy": lambda: boot_sector(b"\xeb\x3c\x90", b"mkfs.fat", tables=2, media=0xF0),
    "FAT with one table": lambda: boot_sector(b"\xeb\x3c\x90", b"MSDOS5.0", tables=1, media=0xF8),
    "FAT with sectors of 4096 bytes": lambda: boot_sector(b"\xeb\x58\x90", b"mkfs.fat", sector=4096, tables=2),
    "FAT with a long jump": lambda: boot_sector(b"\xe9\x3c\x01", b"MSDOS5.0", tables=2, media=0xF8),
    "NTFS": lambda: boot_sector(b"\xeb\x52\x90", b"NTFS", media=0xF8),
    "exFAT": lambda: boot_sector(b"\xeb\x76\x90", b"EXFAT", sector=0),
    "BitLocker": lambda: boot_sector(b"\xeb\x58\x90", b"-FVE-FS-"),
    "HPFS": lambda: with_magic(16 * SECTOR, struct.pack("<I", 0xF995E849)),
    "BeFS": lambda: with_magic(SECTOR + 32, b"1SFB"),
    "ext4 with a boot loader": lambda: with_magic(1024 + 56, struct.pack("<H", 0xEF53)),
    "protective record of parted": lambda: with_gpt(table((b"\0\1\0", 0xEE, 1, 511))),
    "protective record with the largest start": lambda: with_gpt(table((b"\xff\xff\xff", 0xEE, 1, 0xFFFFFFFF))),
    "hybrid record of gdisk": lambda: with_gpt(table((b"\0\2\0", 0xEE, 1, 63), (b"\1\2\0", 0xEF, 64, 100))),
    "label without partitions": lambda: table().ljust(1 << 20, b"\0"),
    "LUKS of version 2": lambda: b"LUKS\xba\xbe\0\2".ljust(1 << 20, b"\7"),
    "text and a byte above 127": lambda: b"#!/bin/sh\n".ljust(512, b"#") + b"\xff",
    "UTF-8": lambda: ("<?xml version='1.0'?><n>Grüße</n>" * 30).encode(),
    "text that only begins like a descriptor": lambda: b"version=1 of my notes\nsecond line\n",
}


@pytest.mark.parametrize("piece", [100, 4096, 1 << 20])
@pytest.mark.parametrize("case", RAW)
def test_s35_self_contained_data_are_raw(case: str, piece: int) -> None:
    data = RAW[case]()
    assert inspect(data, "raw", piece=piece) == len(data)
    with pytest.raises(UnsupportedMediaType, match=r"the content of the image is|LUKS version 2"):
        inspect(data, "qcow2", piece=piece)


@pytest.mark.parametrize("length", [8, 16, 32, 72, 104, 511])
@pytest.mark.parametrize("version", [1, 2, 3])
def test_s14_a_short_qcow_is_judged_like_a_long_one(version: int, length: int) -> None:
    data = struct.pack(">4sIQIIQ", b"QFI\xfb", version, 32, 11, 16, 1 << 20).ljust(512, b"\0")[:length]
    for declared in ("raw", "qcow2"):
        with pytest.raises(UnsupportedMediaType):
            inspect(data, declared, require_match=False)


def test_s19_a_sparse_extent_of_esx_is_refused() -> None:
    with pytest.raises(UnsupportedMediaType, match="COWD"):
        inspect(b"COWD" + bytes(200), "raw")


@pytest.mark.parametrize("options", [(), ("-o", "force_size=on")])
def test_a_fixed_vhd_is_a_vhd_and_raw(options: tuple[str, ...]) -> None:
    data = made("vpc", "-o", "subformat=fixed", *options)
    (told,) = struct.unpack_from(">Q", data, len(data) - SECTOR + 48)
    assert inspect(data, "vhd") == told
    assert 4 << 20 <= told <= len(data) - SECTOR
    assert inspect(data, "raw") == len(data)
    # A partition table at its beginning is that of the disk.
    assert inspect(changed(data, 510, SIGNATURE), "vhd") == told
    for broken in (data[:-SECTOR], data[SECTOR * 100:], changed(data, len(data) - SECTOR + 60, b"\0\0\0\4")):
        with pytest.raises(UnsupportedMediaType):
            inspect(broken, "vhd")


def test_a_fixed_vhd_at_a_location_is_known_by_its_end() -> None:
    data = made("vpc", "-o", "subformat=fixed")
    inspection = Inspection("vhd", "bare", FormatRules())
    inspection.update(data[: 64 * 1024])
    assert inspection.has_enough(len(data))
    end = inspection.end_needed(len(data))
    inspection.skip_to_end(len(data), data[-end:])
    assert inspection.finish() == inspect(data, "vhd")


@pytest.mark.parametrize("declared", ["raw", "vhd", "iso"])
@pytest.mark.parametrize("container", ["bare", "ova", "compressed"])
def test_s36_the_end_of_a_difference_is_refused_whatever_comes_before(declared: str, container: str) -> None:
    end = changed(made("vpc"), 60, struct.pack(">I", 4))[:SECTOR]
    for before in (bytes(4096), made("vpc")[:-SECTOR]):
        with pytest.raises(UnsupportedMediaType, match="may refer to a parent"):
            inspect(before + end, declared, container, require_match=False)


def test_s36_the_end_of_a_vhd_at_a_location_is_read_too() -> None:
    data = made("vpc")[:-SECTOR] + changed(made("vpc"), 60, struct.pack(">I", 4))[:SECTOR]
    for declared in ("raw", "vhd"):
        inspection = Inspection(declared, "bare", FormatRules())
        inspection.update(data[:4096])
        inspection.skip_to_end(len(data), data[-inspection.end_needed(len(data)) :])
        with pytest.raises(UnsupportedMediaType, match="may refer to a parent"):
            inspection.finish()


def test_the_size_of_a_vhd_is_the_current_one() -> None:
    data = changed(made("vpc"), 40, struct.pack(">Q", 1 << 20))
    assert 4 << 20 <= (inspect(data, "vhd") or 0) < 5 << 20


def test_version_2_of_qcow2_has_no_features() -> None:
    """A header extension may lie where version 3 has them."""
    data = changed(made("qcow2", "-o", "compat=0.10"), 72, struct.pack(">II", 0x12345678, 4))
    assert inspect(data, "qcow2") == 4 << 20


@pytest.mark.parametrize("piece", [261_000, 64 * 1024, 1 << 20, 3 << 20])
def test_a_vhdx_is_one_in_pieces_of_any_size(piece: int) -> None:
    assert inspect(made("vhdx"), "vhdx", piece=piece) == 4 << 20


def test_subclusters_of_qcow2_are_a_known_feature() -> None:
    assert inspect(made("qcow2", "-o", "extended_l2=on,cluster_size=128k"), "qcow2") == 4 << 20


def test_a_descriptor_may_have_letters_of_any_alphabet() -> None:
    data = vmdk(b"ddb.adapterType", "ddb.comment = \"Größe\"\nddb.adapterType".encode())
    assert inspect(data, "vmdk") == 4 << 20


def test_s56_the_footer_of_a_stream_vmdk_tells_the_size() -> None:
    data = made("vmdk", "-o", "subformat=streamOptimized")
    footer = changed(data[:SECTOR], 12, struct.pack("<Q", 1 << 20))
    marker = struct.pack("<QII", 1, 0, 3).ljust(SECTOR, b"\0")
    data = changed(data, 56, b"\xff" * 8) + marker + footer + bytes(SECTOR)
    assert inspect(data, "vmdk") == 1 << 29


def test_a_cd_is_as_large_as_its_file(tmp_path: Path) -> None:
    """A guest sees the file; its volume may be smaller, or say anything."""
    volume = bytearray(2048)
    volume[:6], volume[128:132], volume[80:88] = b"\1CD001", b"\0\x08\x08\0", b"\xff" * 8
    data = bytes(32 * 1024) + bytes(volume) + bytes(13 * 1024)
    assert inspect(data, "iso") == len(data)


def test_a_cd_may_have_udf_alone() -> None:
    names = [b"\0BEA01", b"\0NSR02", b"\0TEA01"]
    data = bytes(32 * 1024) + b"".join(name.ljust(2048, b"\0") for name in names) + bytes(1 << 16)
    assert inspect(data, "iso") == len(data)
    with pytest.raises(UnsupportedMediaType):
        inspect(data.replace(b"NSR02", b"xxxxx"), "iso")


@pytest.mark.parametrize(
    ("magic", "sectors", "size"),
    [
        (b"WithouFreSpacExt", 1 << 27, 1 << 36), (b"WithoutFreeSpace", 1 << 27, 1 << 36),
        (b"WithouFreSpacExt", 0, None), (b"something other.", 1 << 27, None),
    ],
)
def test_the_size_of_a_parallels_disk_is_in_its_header(magic: bytes, sectors: int, size: int | None) -> None:
    data = (magic + bytes(20) + struct.pack("<Q", sectors)).ljust(4096, b"\0")
    assert inspect(data, "ploop") == size


def test_s38_nothing_but_a_verdict_comes_out() -> None:
    """Heads of all formats, cut, damaged and mixed: 100 000 inputs, the same in every run."""
    chance = random.Random(1307)  # the inputs are to be the same in every run
    heads = [make()[:2048] for make in RAW.values()]
    heads += [made(kind)[:2048] for kind in ("qcow2", "qcow", "vpc", "vdi", "vmdk", "qed", "parallels")]
    heads += [b"KDMV\1\0\0\0", b"COWD", b"# Disk DescriptorFile\nversion=1\n", b"conectix", b"LUKS\xba\xbe\0\1"]
    rules = FormatRules()
    verdicts = {True: 0, False: 0}
    for number in range(100_000):
        data = bytearray(chance.choice(heads))
        for _ in range(chance.randrange(4)):
            other = chance.choice(heads)
            at, of, n = chance.randrange(len(data) + 1), chance.randrange(len(other) + 1), chance.randrange(64)
            data[at : at + n] = other[of : of + n] if chance.random() < 0.5 else chance.randbytes(n)
        inspection = Inspection(("raw", "qcow2", "vmdk", "vhd", "vdi", "iso", "ploop")[number % 7], "bare", rules)
        inspection.update(bytes(data[: chance.randrange(1, len(data) + 2)]))
        try:
            size = inspection.finish()
        except UnsupportedMediaType:
            verdicts[False] += 1
            continue
        assert size is None or 0 <= size < 1 << 63
        verdicts[True] += 1
    assert min(verdicts.values()) > 1000


def test_qemu_takes_what_is_tested_as_unusual(tmp_path: Path) -> None:
    """The fixed VHD is one for qemu too; the rest of the corpus is raw for it."""
    path = tmp_path / "fixed"
    path.write_bytes(made("vpc", "-o", "subformat=fixed,force_size=on"))
    told = subprocess.run(["qemu-img", "info", "-f", "vpc", path], check=True, capture_output=True, text=True).stdout
    assert "file format: vpc" in told
    for case, make in RAW.items():
        path.write_bytes(make().ljust(SECTOR, b"\0"))
        told = subprocess.run(["qemu-img", "info", path], check=True, capture_output=True, text=True).stdout
        assert "file format: raw" in told or case.startswith("LUKS"), case
