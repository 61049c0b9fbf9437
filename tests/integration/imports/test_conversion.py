"""Conversion with the real qemu-img, on good images and on images that want to reach files of the host (IMP-08)."""

import dataclasses
import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.raw_data import random_bytes

from glance_api.content.formats import FormatRules
from glance_api.imports import sandbox as sandboxes
from glance_api.imports.contract import ImageFacts, ImportChanges, ImportFailed, Work
from glance_api.imports.inspection import introspect_file
from glance_api.imports.plugins.image_conversion import ImageConversion
from glance_common.model.errors import TooLarge, UnsupportedMediaType

from .conftest import LIMITS, Budget, run, sandbox

Make = Callable[..., Path]
QEMU_IMG = Path(shutil.which("qemu-img") or "/missing")
RULES = FormatRules(require_match=False)
CONTENT = b"the first bytes of the disk" * 1000


def image(disk_format: str, container_format: str = "bare") -> ImageFacts:
    return ImageFacts("8a8c1f6e-7a0c-4c0a-9a4f-0f6a1f1f1f1f", disk_format, container_format)


def convert(
    path: Path, disk_format: str, output: str, work: Work, limits: sandboxes.ToolLimits = LIMITS
) -> ImportChanges:
    return ImageConversion(QEMU_IMG, output, RULES, sandbox(limits)).apply(image(disk_format), path, work)


@pytest.mark.parametrize(("disk_format", "qemu"), [("qcow2", "qcow2"), ("vdi", "vdi"), ("vhd", "vpc"), ("vhdx", "vhdx"),
                                                   ("vmdk", "vmdk"), ("raw", "raw")])
@pytest.mark.parametrize("output", ["raw", "qcow2", "vmdk"])
def test_every_format_becomes_every_other(qemu_img: Make, work: Work, disk_format: str, qemu: str, output: str):
    path = qemu_img(qemu, content=CONTENT)
    before = path.read_bytes()
    changes = convert(path, disk_format, output, work)
    if disk_format == output:
        assert changes.path is None
    else:
        assert changes.path is not None
        assert changes.path.parent == work.folder
        assert changes.disk_format == output
        back = work.folder / "back"
        run("qemu-img", "convert", "-f", output, "-O", "raw", str(changes.path), str(back))
        assert back.read_bytes().startswith(CONTENT)
    # The geometry of a VHD may round the size of the disk up.
    assert 8 << 20 <= (changes.virtual_size or 0) < 9 << 20
    assert path.read_bytes() == before


@pytest.mark.parametrize(("disk_format", "qemu"), [("qcow2", "qcow2"), ("vdi", "vdi"), ("vhd", "vpc"),
                                                   ("vhdx", "vhdx"), ("vmdk", "vmdk")])
def test_a_cut_disk_is_no_disk_with_zeros(qemu_img: Make, work: Work, disk_format: str, qemu: str):
    path = qemu_img(qemu, content=random_bytes(7 << 20))
    os.truncate(path, path.stat().st_size - (3 << 20))
    with pytest.raises((ImportFailed, UnsupportedMediaType), match=r"cut|damaged|cannot be converted"):
        convert(path, disk_format, "raw", work)
    assert list(work.folder.iterdir()) == []


def test_a_disk_with_very_many_damages_fills_no_disk_with_their_list(qemu_img: Make, work: Work):
    path = qemu_img("qcow2", "-o", "cluster_size=512", content=random_bytes(32 << 20), size="32M")
    os.truncate(path, 1 << 20)
    with pytest.raises(ImportFailed, match="from qcow2 to raw: it is cut or damaged"):
        convert(path, "qcow2", "raw", work)


@pytest.mark.parametrize(("disk_format", "container"), [("iso", "bare"), ("aki", "aki"), ("ploop", "bare"),
                                                        ("qcow2", "compressed"), ("vmdk", "ova"), ("raw", "docker")])
def test_what_is_no_plain_disk_stays_as_it_is(tmp_path: Path, work: Work, disk_format: str, container: str):
    (tmp_path / "x").write_bytes(b"any bytes")
    plugin = ImageConversion(QEMU_IMG, "raw", RULES, sandbox())
    assert plugin.apply(image(disk_format, container), tmp_path / "x", work) == ImportChanges()


def secret_file(tmp_path: Path) -> Path:
    secret = tmp_path / "secret"
    secret.write_bytes(b"a file of the host".ljust(1 << 20, b"!"))
    return secret


def backed(tmp_path: Path) -> Path:
    secret = str(secret_file(tmp_path))
    run("qemu-img", "create", "-q", "-f", "qcow2", "-b", secret, "-F", "raw", str(tmp_path / "evil"))
    return tmp_path / "evil"


def with_data_file(tmp_path: Path) -> Path:
    outside = f"data_file={secret_file(tmp_path)}"
    run("qemu-img", "create", "-q", "-f", "qcow2", "-o", outside, str(tmp_path / "evil"), "1M")
    return tmp_path / "evil"


def flat_vmdk(tmp_path: Path) -> Path:
    (tmp_path / "evil").write_text(
        '# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\ncreateType="monolithicFlat"\n'
        f'RW 2048 FLAT "{secret_file(tmp_path)}" 0\n'
    )
    return tmp_path / "evil"


def sparse_vmdk_with_foreign_extent(tmp_path: Path) -> Path:
    """A monolithicSparse image whose embedded descriptor names a file of the host."""
    good = tmp_path / "good.vmdk"
    run("qemu-img", "create", "-q", "-f", "vmdk", "-o", "subformat=monolithicSparse", str(good), "1M")
    data = good.read_bytes()
    start = data.index(b"RW 2048 SPARSE")
    foreign = f'RW 2048 FLAT "{secret_file(tmp_path)}" 0\n'.encode()
    (tmp_path / "evil").write_bytes(data[:start] + foreign + data[start + len(foreign) :])
    return tmp_path / "evil"


def sparse_vmdk_whose_data_are_elsewhere(tmp_path: Path) -> Path:
    """The header says capacity 0, so that qemu follows the extents; there are two types, and readers differ in which
    they see."""
    good = tmp_path / "good.vmdk"
    run("qemu-img", "create", "-q", "-f", "vmdk", "-o", "subformat=monolithicSparse", str(good), "1M")
    data = bytearray(good.read_bytes())
    data[12:20] = bytes(8)
    text = (
        '# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\nCREATETYPE="monolithicSparse"\n'
        f'createType="monolithicFlat"\nRW 2048 FLAT "{secret_file(tmp_path).name}" 0\n'
    )
    data[512 : 21 * 512] = text.encode().ljust(20 * 512, b"\0")
    (tmp_path / "evil").write_bytes(data)
    return tmp_path / "evil"


def test_s19_this_vmdk_would_disclose_a_neighbouring_file(tmp_path: Path):
    """What the refusal below is for: the tool itself follows the name."""
    path = sparse_vmdk_whose_data_are_elsewhere(tmp_path)
    run("qemu-img", "convert", "-f", "vmdk", "-O", "raw", str(path), str(tmp_path / "out"))
    assert (tmp_path / "out").read_bytes().startswith(b"a file of the host")


@pytest.mark.parametrize("declared", ["qcow2", "vmdk", "raw", "vdi"])
@pytest.mark.parametrize(
    "make",
    [backed, with_data_file, flat_vmdk, sparse_vmdk_with_foreign_extent, sparse_vmdk_whose_data_are_elsewhere],
)
def test_s14_s19_s21_a_file_of_the_host_is_refused_before_any_tool_sees_it(
    tmp_path: Path, work: Work, make: Callable[[Path], Path], declared: str, monkeypatch: pytest.MonkeyPatch
):
    path = make(tmp_path)
    sandbox()  # what a process tries once, it has tried
    monkeypatch.setattr(sandboxes.Sandbox, "run", lambda *args: pytest.fail("the tool ran"))
    for output in ("raw", "qcow2"):
        with pytest.raises(UnsupportedMediaType):
            convert(path, declared, output, work)


def test_s39_the_source_format_is_never_guessed(qemu_img: Make, work: Work, monkeypatch: pytest.MonkeyPatch):
    commands = []
    real = sandboxes.Sandbox.run

    def note(self, command, *args):
        commands.append([str(word) for word in command])
        return real(self, command, *args)

    monkeypatch.setattr(sandboxes.Sandbox, "run", note)
    # Declared raw, a qcow2 is the bytes of a disk and stays closed, whatever is inside.
    changes = convert(qemu_img("qcow2", content=CONTENT), "raw", "vmdk", work)
    assert changes.disk_format == "vmdk"
    (command,) = commands
    assert command[1:6] == ["convert", "-f", "raw", "-O", "vmdk"]
    with pytest.raises(UnsupportedMediaType, match="disk_format is vdi, but the content of the image is qcow2"):
        convert(qemu_img("qcow2"), "vdi", "raw", work)


def test_s39_what_comes_out_is_inspected_again(tmp_path: Path, qemu_img: Make, work: Work):
    """A good image whose disk is itself an image with a backing file: as raw it would be dangerous."""
    inner = backed(tmp_path).read_bytes()
    outer = qemu_img("qcow2", content=inner)
    with pytest.raises(UnsupportedMediaType, match="backing_file"):
        convert(outer, "qcow2", "raw", work)


def test_s18_a_disk_larger_than_an_image_may_be_is_not_converted(qemu_img: Make, work: Work):
    path = qemu_img("qcow2", size="100G")
    with pytest.raises(TooLarge, match="107374182400 bytes"):
        convert(path, "qcow2", "raw", work)
    assert list(work.folder.iterdir()) == []


def sparse_qcow2(tmp_path: Path, size: int) -> Path:
    """An image of a few hundred bytes whose header promises a disk of ``size`` bytes."""
    header = struct.pack(">4sIQIIQIIQQIIQ", b"QFI\xfb", 2, 0, 0, 16, size, 0, max(size >> 29, 1), 512, 0, 0, 0, 0)
    (tmp_path / "promise").write_bytes(header.ljust(1024, b"\0"))
    return tmp_path / "promise"


def test_s40_a_disk_of_an_exbibyte_is_refused_before_the_tool_starts(
    tmp_path: Path, work: Work, room: Budget, monkeypatch: pytest.MonkeyPatch
):
    sandbox()  # what a process tries once, it has tried
    monkeypatch.setattr(sandboxes.Sandbox, "run", lambda *args: pytest.fail("the tool ran"))
    for output in ("raw", "vmdk"):
        with pytest.raises(TooLarge, match="the disk in the image has 1152921504606846976 bytes"):
            convert(sparse_qcow2(tmp_path, 1 << 60), "qcow2", output, work)
    room.most = 1 << 30
    with pytest.raises(TooLarge, match="the limit is 1073741824 bytes"):
        convert(
            sparse_qcow2(tmp_path, 1 << 40), "qcow2", "raw", work, dataclasses.replace(LIMITS, file_size=1 << 50)
        )


def test_s40_every_byte_of_a_raw_disk_counts_also_its_holes(qemu_img: Make, work: Work, room: Budget):
    path = qemu_img("qcow2", content=CONTENT)
    room.most = 8 << 20
    assert convert(path, "qcow2", "raw", work).path is not None
    assert room.covered[0] == 8 << 20
    room.most -= 1
    with pytest.raises(TooLarge, match="the limit is 8388607 bytes"):
        convert(path, "qcow2", "raw", work)


@pytest.mark.parametrize("output", ["qcow2", "vmdk"])
def test_s40_a_conversion_stops_at_what_the_quota_has_room_for(
    qemu_img: Make, work: Work, room: Budget, output: str
):
    full = qemu_img("raw", content=random_bytes(16 << 20), size="16M")
    room.most = 4 << 20
    with pytest.raises(TooLarge, match="the limit is 4194304 bytes"):
        convert(full, "raw", output, work)
    assert sum(path.stat().st_size for path in work.folder.iterdir()) <= 4 << 20


def test_s40_a_conversion_ends_when_others_take_the_room(qemu_img: Make, work: Work, room: Budget):
    """There was room when it began; then there is none any more."""
    full = qemu_img("raw", content=random_bytes(16 << 20), size="16M")
    monitored = Budget()
    work = dataclasses.replace(work, room=monitored)

    def shrinking(size: int, *, wait: bool = True) -> None:
        if size:
            assert not wait
            raise TooLarge("quota is exceeded: the limit is 1 byte", limit="quota")

    monitored.cover = shrinking  # type: ignore[method-assign]  # the room goes while the tool writes
    slow = slowed(work.folder)
    with pytest.raises(TooLarge, match="the limit is 1 byte"):
        ImageConversion(slow, "qcow2", RULES, sandbox()).apply(image("raw"), full, work)


def slowed(folder: Path) -> Path:
    """Return a qemu-img that waits for its end after its work."""
    path = folder / "qemu-img"
    path.write_text(f'#!/bin/sh\n{QEMU_IMG} "$@"\nsleep 600\n')
    path.chmod(0o755)
    return path


def test_s18_a_tool_at_its_limit_fails_the_import(qemu_img: Make, work: Work):
    path = qemu_img("qcow2", content=CONTENT)
    with pytest.raises(ImportFailed, match="cannot be converted from qcow2 to raw"):
        convert(path, "qcow2", "raw", work, dataclasses.replace(LIMITS, memory=16 << 20))
    full = qemu_img("raw", content=bytes(range(256)) * (16 << 12), size="16M")
    with pytest.raises(TooLarge, match="converted image is larger"):
        convert(full, "raw", "qcow2", work, dataclasses.replace(LIMITS, file_size=16 << 20))


def test_s02_the_words_of_the_tool_are_for_the_log_only(qemu_img: Make, work: Work):
    path = qemu_img("qcow2", content=CONTENT)
    damaged = bytearray(path.read_bytes())
    damaged[48:56] = struct.pack(">Q", 12345)  # a table that does not begin with a cluster
    path.write_bytes(damaged)
    with pytest.raises(ImportFailed) as caught:
        convert(path, "qcow2", "raw", work)
    assert str(path) not in str(caught.value)


def test_tsk02_introspection_says_format_and_size(tmp_path: Path, qemu_img: Make):
    assert introspect_file(qemu_img("qcow2"), FormatRules(), lambda: None) == ("qcow2", 8 << 20)
    assert introspect_file(qemu_img("vdi"), FormatRules(), lambda: None) == ("vdi", 8 << 20)
    assert introspect_file(qemu_img("raw"), FormatRules(), lambda: None) == ("raw", 8 << 20)
    cd = Path("/usr/lib/grub-rescue/grub-rescue-cdrom.iso")
    assert introspect_file(cd, FormatRules(), lambda: None)[0] == "iso"
    (tmp_path / "empty").touch()
    assert introspect_file(tmp_path / "empty", FormatRules(), lambda: None) == ("raw", 0)
    with pytest.raises(UnsupportedMediaType):
        introspect_file(backed(tmp_path), FormatRules(), lambda: None)
