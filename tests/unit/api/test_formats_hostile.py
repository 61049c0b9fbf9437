"""Images that want to reach what they must not, or that are broken, in every container that holds a plain disk.

(S-14, S-19, S-21, S-34 to S-38)
"""

import functools
import struct
import subprocess
import tempfile
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glance_api.content.formats import FormatRules, Inspection
from glance_common.model.errors import UnsupportedMediaType

CONTAINERS = ["aki", "ami", "ari", "bare", "compressed", "docker", "ova", "ovf"]
CD = Path("/usr/lib/grub-rescue/grub-rescue-cdrom.iso")


def inspect(data: bytes, disk_format: str, container: str = "bare", piece: int = 65536, **rules) -> int | None:
    inspection = Inspection(disk_format, container, FormatRules(**rules))
    for start in range(0, len(data), piece):
        inspection.update(data[start : start + piece])
    return inspection.finish()


@functools.cache
def made(qemu_format: str, *options: str, size: str = "4M") -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "image")
        # A backing or data file is named, never opened: -u.
        command = ["qemu-img", "create", "-q", "-u", "-f", qemu_format, *options, str(path), size]
        subprocess.run(command, check=True, capture_output=True, cwd=folder)
        return path.read_bytes()


def changed(data: bytes, offset: int, new: bytes) -> bytes:
    return data[:offset] + new + data[offset + len(new) :]


def feature(bit: int) -> bytes:
    return changed(made("qcow2"), 72, struct.pack(">Q", 1 << bit))


def vmdk(
    old: bytes = b"", new: bytes = b"", *, capacity: int | None = None, subformat: str = "monolithicSparse"
) -> bytes:
    """A real VMDK with a part of its descriptor replaced."""
    data = made("vmdk", "-o", f"subformat={subformat}")
    end = data.index(b"\0", 512)
    text = data[512:end]
    assert old in text
    data = changed(data, 512, text.replace(old, new).ljust(20 * 512, b"\0"))
    return data if capacity is None else changed(data, 12, struct.pack("<Q", capacity))


EXTENT = b'RW 8192 SPARSE "image"'
NO_PARENT = b"parentCID=ffffffff"
FLAT = b'# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\ncreateType="monolithicFlat"\n'

def vhdx_with_parent() -> bytes:
    """A real VHDX with one more entry in its table of metadata: where its parent is found."""
    data = made("vhdx")
    table = data.index(b"metadata", 1 << 20)
    (count,) = struct.unpack_from("<H", data, table + 10)
    entry = uuid.UUID("A8D35F2D-B30B-454D-ABF7-D3D84834AB0C").bytes_le + struct.pack("<IIII", 0x20000, 64, 4, 0)
    data = changed(data, table + 10, struct.pack("<H", count + 1))
    return changed(data, table + 32 + 32 * count, entry)


def two_metadata(data: bytes) -> bytes:
    """A real VHDX whose region table names the metadata twice."""
    table = 196608
    (count,) = struct.unpack_from("<I", data, table + 8)
    entries = data[table + 16 : table + 16 + 32 * count]
    at = entries.index(uuid.UUID("8B7CA206-4790-4B9A-B8FE-575F050F886E").bytes_le)
    data = changed(data, table + 8, struct.pack("<I", count + 1))
    return changed(data, table + 16 + 32 * count, entries[at : at + 32])


UNSAFE: dict[str, Callable[[], bytes]] = {
    "qcow2 with a backing file": lambda: made("qcow2", "-b", "/etc/passwd", "-F", "raw"),
    "qcow2 with a backing file on the network": lambda: made("qcow2", "-b", "nbd://127.0.0.1/x", "-F", "raw"),
    "qcow2 with a backing file as json": lambda: made("qcow2", "-b", 'json:{"driver":"raw"}', "-F", "raw"),
    "old qcow2 with a backing file": lambda: made("qcow2", "-o", "compat=0.10", "-b", "/etc/passwd", "-F", "raw"),
    "qcow2 with an external data file": lambda: feature(2),
    **{f"qcow2 with unknown feature {bit}": functools.partial(feature, bit) for bit in (5, 31, 63)},
    "vmdk descriptor naming a host file": lambda: FLAT + b'RW 8 FLAT "/etc/passwd" 0\n',
    "vmdk descriptor naming a neighbour": lambda: FLAT + b'RW 8 FLAT "8a8c1f6e-7a0c-4c0a-9a4f-0f6a1f1f1f1f" 0\n',
    "vmdk whose data are elsewhere": lambda: vmdk(EXTENT, b'RW 8192 FLAT "neighbour" 0', capacity=0),
    "vmdk with capacity 0": lambda: vmdk(capacity=0),
    "vmdk with an extent of another kind": lambda: vmdk(EXTENT, b'RW 8192 FLAT "neighbour" 0'),
    "vmdk with a path as extent": lambda: vmdk(EXTENT, b'RW 8192 SPARSE "/etc/passwd"'),
    "vmdk with two extents": lambda: vmdk(EXTENT, EXTENT + b'\nRW 8 FLAT "neighbour" 0'),
    "vmdk without extents": lambda: vmdk(EXTENT),
    "vmdk with a parent": lambda: vmdk(NO_PARENT, b'parentCID=1\nparentFileNameHint="/etc/passwd"'),
    "vmdk with a parent in capitals": lambda: vmdk(NO_PARENT, b'parentCID=1\nPARENTFILENAMEHINT="neighbour"'),
    "vmdk with a parent behind the descriptor": lambda: changed(vmdk(), 512 + 19 * 512, b'parentFileNameHint="x"'),
    "vmdk with two types": lambda: vmdk(b"createType=", b'CREATETYPE="monolithicSparse"\ncreateType='),
    "vmdk of a type that is not allowed": lambda: vmdk(b'"monolithicSparse"', b'"monolithicFlat"'),
    "vmdk with a line that nobody knows": lambda: vmdk(NO_PARENT, b"something else"),
    "stream vmdk with another header at its end": lambda: changed(vmdk(subformat="streamOptimized"), 56, b"\xff" * 8),
    "vhd that is a difference": lambda: changed(made("vpc"), 60, struct.pack(">I", 4)),
    "vdi that is a difference": lambda: changed(made("vdi"), 0x4C, struct.pack("<I", 4)),
    "vhdx with a parent": vhdx_with_parent,
    "vdi with a link": lambda: changed(made("vdi"), 0x1A8, b"x" * 16),
    "vdi with a parent": lambda: changed(made("vdi"), 0x1B8, b"x" * 16),
    "vdi of an old version": lambda: changed(made("vdi"), 0x44, struct.pack("<II", 0, 4)),
    "vhdx with a damaged region table": lambda: changed(vhdx_with_parent(), 196608, b"xxxx"),
    "vhdx with two metadata regions": lambda: two_metadata(made("vhdx")),
    "vmdk with a parent of macOS": lambda: vmdk(b"ddb.adapterType", b'ddb.nativeParentHint="x"\nddb.adapterType'),
    "viso": lambda: b"--iprt-iso-maker-file-marker-bourne-sh 57c0ec7d-2112-4c24-a93f-32e6f08702b9 /x=/etc/passwd ",
    "cue": lambda: b'\r\n FILE "/etc/passwd" BINARY\n  TRACK 01 MODE1/2352\n',
    "qed": lambda: made("qed"),
    "vhdx that ends early": lambda: made("vhdx")[: 200 << 10],
    "luks of an unknown version": lambda: b"LUKS\xba\xbe\0\x09".ljust(1 << 20, b"\0"),
    "luks that ends early": lambda: b"LUKS\xba\xbe\0\1",
}


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("case", UNSAFE)
def test_s36_s37_unsafe_images_are_refused_in_every_container_of_a_plain_disk(case: str, container: str):
    data = UNSAFE[case]()
    for declared in ("raw", "qcow2", "vmdk") if container == "bare" else ("raw", container):
        # The option about mismatches never lets an unsafe image in (S-38).
        for match in (True, False):
            with pytest.raises(UnsupportedMediaType):
                inspect(data, declared, container, require_match=match, nonfatal_checks=("mbr", "gptmbr"))


BROKEN: dict[str, tuple[str, Callable[[], bytes]]] = {
    "vhd without a size": ("vhd", lambda: changed(made("vpc"), 48, b"\0" * 8)),
    "vhd of an impossible size": ("vhd", lambda: changed(made("vpc"), 48, b"\xff" * 8)),
    "vmdk of an absurd size": ("vmdk", lambda: vmdk(capacity=1 << 48)),
    "qcow2 whose table is too small": ("qcow2", lambda: changed(made("qcow2"), 24, struct.pack(">Q", 1 << 50))),
    "vhd beyond its format": ("vhd", lambda: changed(made("vpc"), 48, struct.pack(">Q", 1 << 50))),
    "vdi without a size": ("vdi", lambda: changed(made("vdi"), 0x170, b"\0" * 8)),
    "vdi of an impossible size": ("vdi", lambda: changed(made("vdi"), 0x170, b"\xff" * 8)),
    "vdi cut within its header": ("vdi", lambda: made("vdi")[:400]),
    "qcow2 of an impossible size": ("qcow2", lambda: changed(made("qcow2"), 24, b"\xff" * 8)),
    "qcow2 cut within its header": ("qcow2", lambda: made("qcow2")[:60]),
    "vmdk of an impossible size": ("vmdk", lambda: vmdk(capacity=1 << 62)),
    "vmdk cut within its descriptor": ("vmdk", lambda: vmdk()[:600]),
    "vhdx without a region table": ("vhdx", lambda: changed(made("vhdx"), 196608, b"\0" * 64)),
    "vhdx without its metadata": ("vhdx", lambda: changed(made("vhdx"), 196608 + 16, b"\0" * 64)),
    "iso cut before its volume": ("iso", lambda: CD.read_bytes()[:33000]),
}


@pytest.mark.parametrize("container", ["bare", "ovf"])
@pytest.mark.parametrize("case", BROKEN)
def test_s36_a_broken_header_is_refused(case: str, container: str):
    disk_format, make = BROKEN[case]
    with pytest.raises(UnsupportedMediaType):
        inspect(make(), disk_format, container)


@pytest.mark.parametrize("piece", [97, 511, 4096, 1 << 20])
def test_s34_what_is_found_does_not_depend_on_the_pieces(piece: int):
    for case in ("qcow2 with a backing file", "vmdk with a parent", "vmdk whose data are elsewhere"):
        with pytest.raises(UnsupportedMediaType):
            inspect(UNSAFE[case]()[:70000], "raw", piece=piece)
    assert inspect(made("qcow2")[:70000], "qcow2", piece=piece) == 4 << 20


def test_s34_memory_does_not_grow_with_the_image():
    inspection = Inspection("raw", "bare", FormatRules())
    piece = bytes(1 << 20)
    for _ in range(256):
        inspection.update(piece)
    assert inspection._inspectors.held + len(inspection._head) < 4 << 20
    assert inspection.finish() == 256 << 20


MBR = b"\0" * 446 + struct.pack("<B3BB3BII", 0x80, 0, 2, 0, 0x83, 0, 0, 0, 2048, 4096) + b"\0" * 48 + b"\x55\xaa"


def polyglots() -> dict[str, bytes]:
    iso = CD.read_bytes()
    return {
        "iso and qcow2": changed(iso, 0, made("qcow2")[:512]),
        "iso and vmdk": changed(iso, 0, vmdk()[: 21 * 512]),
        "iso and vdi": changed(iso, 0, made("vdi")[:512]),
        "iso, vdi and mbr": changed(changed(iso, 0, MBR), 64, struct.pack("<I", 0xBEDA107F)),
        "mbr and qcow2": changed(changed(MBR + bytes(1 << 20), 0, made("qcow2")[:440]), 510, b"\x55\xaa"),
        "vhd and mbr": changed(made("vpc"), 510, b"\x55\xaa"),
    }


@pytest.mark.parametrize("case", polyglots())
@pytest.mark.parametrize("container", ["bare", "ovf"])
def test_s36_several_formats_in_one_file_are_refused(case: str, container: str):
    for declared in ("iso", "raw", "qcow2", "vmdk", "vdi", "vhd"):
        with pytest.raises(UnsupportedMediaType):
            inspect(polyglots()[case], declared, container, require_match=False)


def test_s36_good_images_of_the_same_makers_pass():
    """The corpus proves nothing if these were refused as well."""
    for disk_format, data in (
        ("qcow2", made("qcow2")), ("qcow2", made("qcow2", "-o", "compat=0.10")), ("vmdk", vmdk()), ("vhd", made("vpc")),
        ("vmdk", made("vmdk", "-o", "subformat=streamOptimized")), ("vdi", made("vdi")), ("vhdx", made("vhdx")),
    ):
        assert 4 << 20 <= (inspect(data, disk_format) or 0) < 5 << 20
        assert inspect(data, "raw") == len(data)


SEEDS = {
    "qcow2": ("qcow2", 512), "vpc": ("vhd", 512), "vdi": ("vdi", 512), "vmdk": ("vmdk", 2048), "vhdx": ("vhdx", 1 << 21)
}


@settings(max_examples=300, deadline=None)
@given(data=st.data(), seed=st.sampled_from(sorted(SEEDS)))
def test_s38_no_bytes_make_the_inspection_fail_in_another_way(data: st.DataObject, seed: str):
    disk_format, header = SEEDS[seed]
    image = made(seed)
    for _ in range(data.draw(st.integers(1, 4))):
        image = changed(image, data.draw(st.integers(0, header)), data.draw(st.binary(min_size=1, max_size=16)))
    image = image[: data.draw(st.sampled_from([len(image), header, header // 2, 70000]))]
    for declared in (disk_format, "raw"):
        try:
            size = inspect(image, declared)
        except UnsupportedMediaType:
            continue
        assert size is None or 0 <= size < 1 << 63
