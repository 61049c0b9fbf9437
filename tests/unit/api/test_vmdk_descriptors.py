"""Beginnings that programs take for a VMDK which names other files: what qemu makes of them, and what we do (S-19).

The decision, and what other programs do, stands in docs/contributor/decisions/vmdk-descriptors.md.
"""

import json
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest

from glance_api.content import vmdk
from glance_api.content.formats import FormatRules, Inspection
from glance_common.model.errors import UnsupportedMediaType

SECRET = b"SECRET!!" * 1024
SIGNATURE = b"# Disk DescriptorFile\n"
CIDS = b"CID=fffffffe\nparentCID=ffffffff\n"
TYPE = b'createType="monolithicFlat"\n'
EXTENT = b'RW 16 FLAT "secret" 0\n'
BODY = b"version=1\n" + CIDS + TYPE + EXTENT
PLAIN = SIGNATURE + BODY
KIB = 1024


def cowd(descriptor: bytes) -> bytes:
    """An empty sparse disk of ESX with a descriptor where qemu looks for one."""
    header = b"COWD" + struct.pack("<10I", 1, 3, 16, 1, 4, 1, 64, 1, 16, 63)
    return (header.ljust(512, b"\0") + descriptor).ljust(32 * KIB, b"\0")


REFUSED = {
    "the plain descriptor": PLAIN,
    "without its signature": BODY,
    "UTF-8 byte order mark": b"\xef\xbb\xbf" + PLAIN,
    "byte order mark, no signature": b"\xef\xbb\xbf" + BODY,
    **{f"{gap!r} before it": gap + PLAIN for gap in (b" ", b"\t", b"\n", b"\r", b"\f", b"\r\n", b"  \n", b"\t\n")},
    "lines of Windows": PLAIN.replace(b"\n", b"\r\n"),
    "signature in capitals": SIGNATURE.upper() + BODY,
    "signature in small letters": SIGNATURE.lower() + BODY,
    **{f"version={new.decode()!r}": PLAIN.replace(b"version=1", b"version=" + new)
       for new in (b"2", b"3", b"4", b"11", b"1x", b"1 ")},
    "VERSION": PLAIN.replace(b"version", b"VERSION"),
    "version after a space": SIGNATURE + b" " + BODY,
    "spaces around the sign": PLAIN.replace(b"version=1", b"version = 1"),
    "version last": SIGNATURE + CIDS + TYPE + EXTENT + b"version=1\n",
    "encoding first": SIGNATURE + b'encoding="windows-1252"\n' + BODY,
    "another line first": b"junk\n" + PLAIN,
    "bytes that are no text": SIGNATURE + b"\xff\xfe\n" + BODY,
    "another comment": b"# hello\n" + BODY,
    **{f"comment of {size} bytes": b"#" * size + b"\n" + BODY for size in (490, 600, 2100, 9000)},
    **{f"{size} empty lines": b"\n" * size + PLAIN for size in (600, 2100, 9000)},
    **{f"{size} spaces": b" " * size + PLAIN for size in (600, 2100, 9000)},
    "type behind 40 KiB": SIGNATURE + b"version=1\n" + CIDS + b"#" * 40 * KIB + b"\n" + TYPE + EXTENT,
    "type behind 1020 KiB": SIGNATURE + b"version=1\n" + CIDS + b"#" * 1020 * KIB + b"\n" + TYPE + EXTENT,
    "type without its sign": PLAIN.replace(b'createType="', b'createType: '),
    "extent of VMFS": PLAIN.replace(TYPE, b'createType="vmfs"\n').replace(b'FLAT "secret" 0', b'VMFS "secret"'),
    "COWD with a parent": cowd(
        SIGNATURE + PLAIN.replace(b"=ffffffff", b"=fffffffe").replace(EXTENT, b'parentFileNameHint="secret"\n')
    ),
}

CAREFUL = {
    "signature alone": SIGNATURE,
    "extent without a type": SIGNATURE + b"version=1\n" + EXTENT,
    "NUL behind the signature": SIGNATURE[:-1] + b"\0\n" + BODY,
    "NUL in a comment": b"# a\0b\n" + BODY,
    "version alone": b"version=1\n",
    "COWD": cowd(b""),
}
"""Refused although qemu reads no other file: programs that end elsewhere may."""

TAKEN = {
    "NUL before it": b"\0" + PLAIN,
    "NUL before it, no signature": b"\0" + BODY,
    "NUL in another line before it": b"x\0\n" + PLAIN,
    "UTF-16, little end first": b"\xff\xfe" + PLAIN.decode().encode("utf-16-le"),
    "UTF-16, big end first": b"\xfe\xff" + PLAIN.decode().encode("utf-16-be"),
    "a sector of zeros before it": bytes(512) + PLAIN,
    "version without an end": b"version=1",
    "other text": b"The version=1 of this file names no type.\n" * 100,
}

HOSTILE = {
    "lines": b"\n", "spaces": b" ", "comment": b"#", "comments": b"#\n", "lines of spaces": b" \n", "digits": b"1",
}


def verdict(data: bytes, declared: str = "raw", piece: int = 1024 * KIB, **rules: Any) -> str:
    """Return why the data are refused, or an empty text."""
    inspection = Inspection(declared, "bare", FormatRules(**rules))
    for start in range(0, len(data), piece):
        inspection.update(data[start : start + piece])
    try:
        inspection.finish()
    except UnsupportedMediaType as error:
        return error.message
    return ""


def qemu_reads_the_secret(folder: Path, data: bytes) -> bool:
    """Say whether qemu, told the format or not, gives bytes of a neighbour or has it as a parent."""
    (folder / "secret").write_bytes(SECRET)
    image, result = folder / "image", folder / "result"
    image.write_bytes(data)
    for told in ([], ["-f", "vmdk"]):
        result.unlink(missing_ok=True)
        command = ["qemu-img", "convert", *told, "-O", "raw", str(image), str(result)]
        subprocess.run(command, capture_output=True, cwd=folder, timeout=120)
        if result.exists() and SECRET[:512] in result.read_bytes():
            return True
        info = subprocess.run(
            ["qemu-img", "info", "--output=json", *told, str(image)], capture_output=True, cwd=folder, timeout=120
        )
        if info.returncode == 0 and "backing-filename" in json.loads(info.stdout):
            return True
    return False


@pytest.mark.parametrize("padding", [0, 64 * KIB], ids=["as it is", "with zeros behind it"])
@pytest.mark.parametrize("case", REFUSED)
def test_s19_what_qemu_reads_another_file_for_is_refused(case: str, padding: int, tmp_path: Path):
    data = REFUSED[case] + bytes(padding)
    assert qemu_reads_the_secret(tmp_path, data), "else this case proves nothing"
    for declared in ("raw", "vmdk", "qcow2", "ami"):
        assert "VMDK" in verdict(data, declared, require_match=False)
    assert "VMDK" in verdict(data, piece=97)


@pytest.mark.parametrize("case", CAREFUL)
def test_s19_what_other_programs_may_read_another_file_for_is_refused(case: str):
    assert "VMDK" in verdict(CAREFUL[case])
    assert "VMDK" in verdict(CAREFUL[case] + bytes(64 * KIB))


@pytest.mark.parametrize("padding", [0, 64 * KIB], ids=["as it is", "with zeros behind it"])
@pytest.mark.parametrize("case", TAKEN)
def test_s35_what_no_program_takes_for_a_descriptor_may_be_raw(case: str, padding: int, tmp_path: Path):
    data = TAKEN[case] + bytes(padding)
    assert not qemu_reads_the_secret(tmp_path, data), "else it must be refused"
    assert verdict(data) == ""
    assert verdict(data, piece=97) == ""


@pytest.mark.parametrize("case", HOSTILE)
def test_text_without_an_end_is_judged_in_one_pass(case: str):
    text = HOSTILE[case]
    assert vmdk.refused_as_anything((text * vmdk.LONGEST_TEXT)[: vmdk.LONGEST_TEXT]) is None
    assert vmdk.refused_as_anything(b"version=" + text * (vmdk.LONGEST_TEXT - 8)) is None


def test_no_more_text_is_kept_than_programs_read():
    inspection = Inspection("raw", "bare", FormatRules())
    for _ in range(8):
        inspection.update(b"x" * 1024 * KIB)
    assert len(inspection._head) == vmdk.LONGEST_TEXT
    assert inspection.finish() == 8 * 1024 * KIB
