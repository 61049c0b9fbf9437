"""Decompression and OVA extraction, on good archives and on hostile ones (IMP-08, TSK-02, S-40, S-41)."""

import dataclasses
import gzip
import io
import os
import shutil
import stat
import struct
import subprocess
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from oslo_config import cfg

from glance_api.content.formats import FormatRules
from glance_api.imports.contract import ImageFacts, ImportChanges, ImportFailed, Work
from glance_api.imports.ova import OvaTools, read_settings
from glance_api.imports.plugins.image_decompression import ImageDecompression
from glance_common.config.loading import ConfigError
from glance_common.model.errors import TooLarge, UnsupportedMediaType

from .conftest import LIMITS, Budget, run, sandbox

Make = Callable[..., Path]
DATA = b"the bytes of a disk" * 100000
ID = "8a8c1f6e-7a0c-4c0a-9a4f-0f6a1f1f1f1f"


def lha_tool() -> Path:
    found = shutil.which("lha")
    assert found, "this test needs lha: apt-get install lhasa"
    return Path(found)


def unpack(
    tmp_path: Path, work: Work, archive: bytes, disk_format: str = "raw", lha: Path | None = None, **limits: int
) -> ImportChanges:
    (tmp_path / "staged").write_bytes(archive)
    plugin = ImageDecompression(lha, FormatRules(), sandbox(dataclasses.replace(LIMITS, **limits)))
    return plugin.apply(ImageFacts(ID, disk_format, "compressed"), tmp_path / "staged", work)


def content(changes: ImportChanges) -> bytes:
    assert changes.path is not None
    assert changes.container_format == "bare"
    return changes.path.read_bytes()


def zipped(*members: tuple[str | zipfile.ZipInfo, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return out.getvalue()


def crc16(data: bytes) -> int:
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ 0xA001 if crc & 1 else crc >> 1
    return crc


def lha_entry(data: bytes, name: bytes = b"disk.img", method: bytes = b"-lh0-") -> bytes:
    """One stored file with a header of level 0; an archive ends with a zero byte."""
    sizes = struct.pack("<III", len(data), len(data), 0)
    header = method + sizes + b"\x20\x00" + bytes([len(name)]) + name + struct.pack("<H", crc16(data))
    return bytes([len(header), sum(header) & 255]) + header + data


def symlink(name: str = "disk") -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA])
def test_zip(tmp_path: Path, work: Work, method: int):
    assert content(unpack(tmp_path, work, zipped(("x", DATA), method=method))) == DATA


def test_gzip(tmp_path: Path, work: Work):
    assert content(unpack(tmp_path, work, gzip.compress(DATA) + b"\0" * 512)) == DATA


def test_lha(tmp_path: Path, work: Work):
    assert content(unpack(tmp_path, work, lha_entry(DATA[:1000]) + b"\0", lha=lha_tool())) == DATA[:1000]
    with pytest.raises(ImportFailed, match="this host has no lha tool"):
        unpack(tmp_path, work, lha_entry(DATA[:1000]) + b"\0")


def test_s37_what_comes_out_is_inspected_as_if_it_were_uploaded(tmp_path: Path, work: Work, qemu_img: Make):
    qcow2 = qemu_img("qcow2").read_bytes()
    changes = unpack(tmp_path, work, gzip.compress(qcow2), "qcow2")
    assert (content(changes), changes.virtual_size) == (qcow2, 8 << 20)
    with pytest.raises(UnsupportedMediaType, match="content of the image is qcow2"):
        unpack(tmp_path, work, gzip.compress(qcow2), "vmdk")
    run("qemu-img", "create", "-q", "-f", "qcow2", "-b", "/etc/passwd", "-F", "raw", str(tmp_path / "evil"), "1M")
    with pytest.raises(UnsupportedMediaType, match="backing_file"):
        unpack(tmp_path, work, zipped(("x", (tmp_path / "evil").read_bytes())), "raw")


def test_other_containers_stay_as_they_are(tmp_path: Path, work: Work):
    (tmp_path / "x").write_bytes(gzip.compress(DATA))
    plugin = ImageDecompression(None, FormatRules(), sandbox())
    assert plugin.apply(ImageFacts(ID, "raw", "bare"), tmp_path / "x", work) == ImportChanges()


def encrypted_zip() -> bytes:
    data = bytearray(zipped(("x", b"secret"), method=zipfile.ZIP_STORED))
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    return bytes(data)


BAD_ARCHIVES = {
    "no archive at all": (b"just bytes" * 100, "compressed in no known way"),
    "nothing": (b"", "compressed in no known way"),
    "zip with two files": (zipped(("a", b"1"), ("b", b"2")), "exactly one file; it holds 2"),
    "zip with no file": (b"PK\x03\x04" + zipped(), "zip archive"),
    "zip with a link": (zipped((symlink(), b"/etc/passwd")), "not a plain file"),
    "zip with a folder": (zipped(("folder/", b"")), "not a plain file"),
    "zip encrypted": (encrypted_zip(), "encrypted"),
    "zip cut": (zipped(("x", DATA))[:-100], "damaged"),
    "zip with a wrong checksum": (zipped(("x", b"AAAA"), method=0).replace(b"AAAA", b"AAAB"), "damaged"),
    "gzip with two members": (gzip.compress(b"1") + gzip.compress(b"2"), "more than one member"),
    "gzip with a tail": (gzip.compress(b"1") + b"\0" * 100 + b"tail", "more than one member"),
    "gzip cut": (gzip.compress(DATA)[:-5], "too early"),
    "gzip damaged": (gzip.compress(DATA)[:10] + b"\xff" * 500, "damaged"),
    "gzip with a wrong checksum": (gzip.compress(b"1")[:-8] + b"\0" * 8, "damaged"),
    "lha with two files": (lha_entry(b"1") + lha_entry(b"2") + b"\0", "exactly one file"),
    "lha with a link": (lha_entry(b"", b"x|/etc/passwd", b"-lhd-") + b"\0", "not a plain file"),
    "lha cut": (lha_entry(DATA)[:-100], "too early"),
    "lha with a wrong checksum": (lha_entry(b"AAAA").replace(b"AAAA", b"AAAB") + b"\0", "damaged"),
    "lha of unknown level": (lha_entry(b"1").replace(b"\x20\x00", b"\x20\x09") + b"\0", "unknown kind"),
}


@pytest.mark.parametrize("case", BAD_ARCHIVES)
def test_s40_bad_archives_are_refused_with_the_reason(tmp_path: Path, work: Work, case: str):
    archive, reason = BAD_ARCHIVES[case]
    with pytest.raises(ImportFailed, match=reason):
        unpack(tmp_path, work, archive, lha=lha_tool())


@pytest.mark.parametrize("name", ["../../evil", "/tmp/evil", "..", "C:\\evil", "a" * 5000])
def test_s40_the_name_inside_is_never_used(tmp_path: Path, work: Work, name: str):
    changes = unpack(tmp_path, work, zipped((name, b"data")))
    assert content(changes) == b"data"
    assert {path.name for path in work.folder.iterdir()} == {f"{ID}.uc"}
    unpack(tmp_path, work, zipped((name, b"data")))
    assert not (tmp_path / "evil").exists()


BOMB = bytes(32 << 20)
BOMBS: dict[str, Callable[[], bytes]] = {
    "zip, deflate": lambda: zipped(("x", BOMB)),
    "zip, bzip2": lambda: zipped(("x", BOMB), method=zipfile.ZIP_BZIP2),
    "zip, xz": lambda: zipped(("x", BOMB), method=zipfile.ZIP_LZMA),
    "gzip": lambda: gzip.compress(BOMB),
    "lha": lambda: stored_lha(BOMB),
}


@pytest.mark.parametrize("kind", BOMBS)
def test_s40_a_bomb_stops_at_the_largest_image(tmp_path: Path, work: Work, kind: str):
    with pytest.raises(TooLarge, match="larger than image_size_cap, 1048576 bytes"):
        unpack(tmp_path, work, BOMBS[kind](), lha=lha_tool(), file_size=1 << 20)
    assert (work.folder / f"{ID}.uc").stat().st_size <= 1 << 20


@pytest.mark.parametrize("kind", BOMBS)
def test_s40_a_bomb_stops_at_what_the_quota_has_room_for(tmp_path: Path, work: Work, room: Budget, kind: str):
    room.most = 5_000_000
    with pytest.raises(TooLarge, match="the limit is 5000000 bytes"):
        unpack(tmp_path, work, BOMBS[kind](), lha=lha_tool())
    assert (work.folder / f"{ID}.uc").stat().st_size <= 5_000_000


@pytest.mark.parametrize("kind", BOMBS)
def test_s40_what_fits_to_the_byte_is_taken_and_covered_before_it_is_written(
    tmp_path: Path, work: Work, room: Budget, kind: str
):
    room.most = len(BOMB)
    changes = unpack(tmp_path, work, BOMBS[kind](), lha=lha_tool())
    assert content(changes) == BOMB
    assert room.covered[-1] == len(BOMB)
    assert room.covered == sorted(room.covered)
    room.most -= 1
    with pytest.raises(TooLarge, match="the limit is"):
        unpack(tmp_path, work, BOMBS[kind](), lha=lha_tool())


def stored_lha(data: bytes) -> bytes:
    """The checksum of zeros is zero whatever their number."""
    entry = lha_entry(b"\0")[:-1]
    sizes = struct.pack("<II", len(data), len(data))
    header = bytearray(entry[2:])
    header[5:13] = sizes
    return bytes([entry[0], sum(header) & 255]) + bytes(header) + data + b"\0"


def test_s40_a_zip_of_a_million_entries_costs_no_memory_of_ours(tmp_path: Path, work: Work):
    entry = zipped(("x", b""))
    start, end = entry.index(b"PK\x01\x02"), entry.index(b"PK\x05\x06")
    count = 200_000
    directory = entry[start:end] * count
    tail = struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, len(directory), start, 0)
    with pytest.raises(ImportFailed, match=r"more memory|exactly one file"):
        unpack(tmp_path, work, entry[:start] + directory + tail, memory=64 << 20)


# OVA


ONE_DISK = '<Disk ovf:diskId="d" ovf:fileRef="f"/>'


def descriptor(disks: str = ONE_DISK, href: str = "disk.vmdk", more: str = "") -> bytes:
    return (
        '<?xml version="1.0"?>\n<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1" '
        f'xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1"><References><File ovf:id="f" ovf:href="{href}"{more}/>'
        f"</References><DiskSection>{disks}</DiskSection></Envelope>"
    ).encode()


def tarred(*members: tuple[str, bytes] | tarfile.TarInfo) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                info, data = member, b""
            else:
                info, data = tarfile.TarInfo(member[0]), member[1]
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def link(kind: bytes, name: str, target: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def extract(
    tmp_path: Path, work: Work, archive: bytes, *, is_admin: bool = True, container: str = "ova",
    settings: tuple[str, ...] = (),
) -> ImportChanges:
    (tmp_path / "staged").write_bytes(archive)
    image = ImageFacts(ID, "vmdk", container)
    tools = OvaTools(FormatRules(), sandbox(), settings)
    return tools.extract_disk(image, tmp_path / "staged", work, is_admin=is_admin)


@pytest.fixture
def vmdk(qemu_img: Make) -> bytes:
    return qemu_img("vmdk", "-o", "subformat=streamOptimized").read_bytes()


def test_s41_the_disk_of_an_ova(tmp_path: Path, work: Work, vmdk: bytes):
    archive = tarred(("x.ovf", descriptor()), ("x.mf", b"SHA256()"), ("disk.vmdk", vmdk))
    changes = extract(tmp_path, work, archive)
    assert content(changes) == vmdk
    assert (changes.disk_format, changes.virtual_size) == ("vmdk", 8 << 20)
    assert extract(tmp_path, work, archive, container="bare") == ImportChanges()


CIM = "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_"
PROCESSOR = f"""<Item xmlns:p="{CIM}ProcessorAllocationSettingData" xmlns:r="{CIM}ResourceAllocationSettingData">
<p:ProcessorArchitecture>  x86 </p:ProcessorArchitecture><p:InstructionSet>x86:64</p:InstructionSet>
<p:InstructionSet>x86:i686</p:InstructionSet><r:Limit>7</r:Limit><p:Empty/><InstructionSetExtensionName>none
</InstructionSetExtensionName></Item>"""


def test_tsk02_settings_of_processors_become_properties(tmp_path: Path, work: Work, vmdk: bytes):
    archive = tarred(("x.ovf", descriptor(ONE_DISK + PROCESSOR)), ("disk.vmdk", vmdk))
    wanted = ("ProcessorArchitecture", "InstructionSet", "InstructionSetExtensionName", "Limit", "Empty")
    changes = extract(tmp_path, work, archive, settings=wanted)
    assert changes.properties == {
        "cim_pasd_ProcessorArchitecture": "x86", "cim_pasd_InstructionSet": "x86:i686", "cim_pasd_Empty": "",
    }
    assert content(changes) == vmdk
    assert extract(tmp_path, work, archive).properties == {}
    with pytest.raises(ImportFailed, match="only administrators"):
        extract(tmp_path, work, archive, is_admin=False, settings=wanted)


def test_s41_a_setting_that_is_too_long_is_refused(tmp_path: Path, work: Work, vmdk: bytes):
    archive = tarred(("x.ovf", descriptor(ONE_DISK + PROCESSOR.replace("x86:64", "x" * 256))), ("disk.vmdk", vmdk))
    assert extract(tmp_path, work, archive, settings=("InstructionSet",)).properties
    archive = tarred(("x.ovf", descriptor(ONE_DISK + PROCESSOR.replace("i686", "x" * 256))), ("disk.vmdk", vmdk))
    with pytest.raises(ImportFailed, match="no text of at most 255 characters"):
        extract(tmp_path, work, archive, settings=("InstructionSet",))


def load_settings(folder: Path, text: str | None) -> tuple[str, ...]:
    if text is not None:
        (folder / "ovf-metadata.json").write_text(text)
    (folder / "glance-api.conf").write_text("")
    conf = cfg.ConfigOpts()
    conf(["--config-file", str(folder / "glance-api.conf")], project="glance", prog="glance-api")
    return read_settings(conf)


def test_the_wanted_settings_stand_beside_the_configuration(tmp_path: Path):
    assert load_settings(tmp_path, None) == ()
    assert load_settings(tmp_path, '{"cim_pasd": ["A", "B", "A"]}') == ("A", "B")
    assert load_settings(tmp_path, "{}") == ()
    sample = Path(__file__).parents[3] / "etc/glance/ovf-metadata.json"
    assert load_settings(tmp_path, sample.read_text()) == (
        "ProcessorArchitecture", "InstructionSet", "InstructionSetExtensionName",
    )


@pytest.mark.parametrize(("text", "reason"), [
    ("{", "is not JSON"), ("[]", "must be an object"), ('{"cim_pasd": "A"}', "list of names"),
    ('{"cim_pasd": ["a b"]}', "list of names"),
])
def test_a_wrong_list_of_settings_stops_the_start(tmp_path: Path, text: str, reason: str):
    with pytest.raises(ConfigError, match=reason):
        load_settings(tmp_path, text)


def test_s41_only_administrators(tmp_path: Path, work: Work, vmdk: bytes):
    with pytest.raises(ImportFailed, match="only administrators"):
        extract(tmp_path, work, tarred(("x.ovf", descriptor()), ("disk.vmdk", vmdk)), is_admin=False)


def test_s41_an_unsafe_disk_is_refused(tmp_path: Path, work: Work):
    flat = b'# Disk DescriptorFile\nversion=1\ncreateType="monolithicFlat"\nRW 1 FLAT "/etc/passwd" 0\n'
    with pytest.raises(UnsupportedMediaType):
        extract(tmp_path, work, tarred(("x.ovf", descriptor()), ("disk.vmdk", flat)))


def test_s40_the_disk_of_an_ova_stops_at_what_the_quota_has_room_for(
    tmp_path: Path, work: Work, room: Budget, vmdk: bytes
):
    archive = tarred(("x.ovf", descriptor()), ("disk.vmdk", vmdk + bytes(8 << 20)))
    room.most = 4 << 20
    with pytest.raises(TooLarge, match="the limit is 4194304 bytes"):
        extract(tmp_path, work, archive)
    assert (work.folder / f"{ID}.disk").stat().st_size <= 4 << 20


XXE = b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY f SYSTEM "file:///etc/passwd">]>'
LAUGHS = b'<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]><Envelope>&b;</Envelope>'
TWO_DISKS = '<Disk ovf:fileRef="f"/><Disk ovf:fileRef="g"/>'
BAD_OVAS = {
    "no tar": (b"just bytes" * 1000, "not a tar archive"),
    "compressed tar": (gzip.compress(tarred(("x.ovf", descriptor()))), "not a tar archive"),
    "nothing inside": (tarred(), "exactly one descriptor"),
    "no descriptor": (tarred(("disk.vmdk", b"x")), "exactly one descriptor"),
    "two descriptors": (tarred(("a.ovf", descriptor()), ("b.ovf", descriptor())), "exactly one descriptor"),
    "outer entity": (tarred(("x.ovf", XXE + descriptor()[21:]), ("disk.vmdk", b"x")), "document type"),
    "billion laughs": (tarred(("x.ovf", LAUGHS), ("disk.vmdk", b"x")), "document type"),
    "no xml": (tarred(("x.ovf", b"{}"), ("disk.vmdk", b"x")), "not well-formed"),
    "huge descriptor": (tarred(("x.ovf", descriptor() + b" " * (1 << 20))), "more than 1048576 bytes"),
    "no disk": (tarred(("x.ovf", descriptor(disks="")), ("disk.vmdk", b"x")), "exactly one disk; it describes 0"),
    "two disks": (tarred(("x.ovf", descriptor(TWO_DISKS)), ("disk.vmdk", b"x")), "exactly one disk; it describes 2"),
    "disk without a file": (tarred(("x.ovf", descriptor("<Disk/>")), ("disk.vmdk", b"x")), "not in the OVA"),
    "disk that is missing": (tarred(("x.ovf", descriptor())), "not in the OVA"),
    "disk on the web": (tarred(("x.ovf", descriptor(href="http://127.0.0.1/x"))), "not in the OVA"),
    "disk of the host": (tarred(("x.ovf", descriptor(href="/etc/passwd"))), "not in the OVA"),
    "disk compressed": (tarred(("x.ovf", descriptor(more=' ovf:compression="gzip"'))), "compressed or split"),
    "absolute name": (tarred(("x.ovf", descriptor()), ("/disk.vmdk", b"x")), "path in its name"),
    "name with dots": (tarred(("x.ovf", descriptor()), ("../disk.vmdk", b"x")), "path in its name"),
    "symbolic link": (tarred(("x.ovf", descriptor()), link(tarfile.SYMTYPE, "disk.vmdk", "/etc/hosts")), "not a plain"),
    "hard link": (tarred(("x.ovf", descriptor()), link(tarfile.LNKTYPE, "disk.vmdk", "/etc/hosts")), "not a plain"),
    "device": (tarred(("x.ovf", descriptor()), link(tarfile.CHRTYPE, "disk.vmdk", "")), "not a plain"),
    "name twice": (tarred(("x.ovf", descriptor()), ("disk.vmdk", b"x"), ("disk.vmdk", b"y")), "same name"),
    "too many files": (tarred(*((f"f{number}", b"") for number in range(1001))), "more than 1000 files"),
    "cut": (tarred(("x.ovf", descriptor()), ("disk.vmdk", b"x" * 100000))[:50000], "too early|damaged"),
}


@pytest.mark.parametrize("case", BAD_OVAS)
def test_s41_bad_ovas_are_refused_with_the_reason(tmp_path: Path, work: Work, case: str):
    archive, reason = BAD_OVAS[case]
    with pytest.raises(ImportFailed, match=reason):
        extract(tmp_path, work, archive)


def test_the_programs_need_nothing_but_the_standard_library():
    programs = Path(__file__).parents[3] / "api/glance_api/imports/programs"
    for name in ("confine", "unpack", "extract_ova"):
        code = f"import runpy; runpy.run_path({str(programs / name) + '.py'!r})"
        subprocess.run(["python3", "-I", "-S", "-c", code], check=True)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can mount a small file system")
def test_s40_a_full_disk_is_told_as_such(tmp_path: Path, work: Work):
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", work.folder], check=True)
    try:
        with pytest.raises(TooLarge, match="not enough space in the staging directory of this host"):
            unpack(tmp_path, work, gzip.compress(BOMB))
    finally:
        subprocess.run(["umount", work.folder], check=True)
