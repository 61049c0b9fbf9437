"""What content is accepted under which declared format (S-14, S-19, S-21, S-34 to S-38), on real and forged images."""

import struct
import subprocess
from pathlib import Path

import pytest

from glance_api.content.formats import FormatRules, Inspection
from glance_common.model.errors import UnsupportedMediaType

RESCUE_CD = Path("/usr/lib/grub-rescue/grub-rescue-cdrom.iso")


def inspect(data, disk_format, container_format="bare", piece=65536, **rules):
    inspection = Inspection(disk_format, container_format, FormatRules(**rules))
    for start in range(0, len(data), piece):
        inspection.update(data[start : start + piece])
    return inspection.finish()


def qemu_image(tmp_path, disk_format, size="8M", options=()):
    path = tmp_path / f"image.{disk_format}"
    command = ["qemu-img", "create", "-q", "-f", disk_format, *options, str(path), size]
    subprocess.run(command, check=True, capture_output=True)
    return path.read_bytes()


@pytest.fixture(scope="module")
def bootable_cd():
    return RESCUE_CD.read_bytes()


@pytest.mark.parametrize(("qemu", "glance"), [("qcow2", "qcow2"), ("vdi", "vdi"), ("vhdx", "vhdx"), ("vpc", "vhd")])
def test_s35_declared_and_detected_agree(tmp_path, qemu, glance):
    data = qemu_image(tmp_path, qemu)
    assert inspect(data, glance) >= 8 << 20
    assert inspect(data, "raw") == len(data)
    with pytest.raises(UnsupportedMediaType, match=f"disk_format is iso, but the content of the image is {glance}"):
        inspect(data, "iso")


def test_s35_the_refusal_of_a_mismatch_can_be_turned_off(tmp_path):
    data = qemu_image(tmp_path, "qcow2")
    assert inspect(data, "vmdk", require_match=False) is None


def test_a_bootable_cd_is_iso_though_it_has_a_partition_table(bootable_cd):
    assert inspect(bootable_cd, "iso") > 0
    assert inspect(bootable_cd, "raw") == len(bootable_cd)
    with pytest.raises(UnsupportedMediaType, match="iso and raw"):
        inspect(bootable_cd, "qcow2")


@pytest.mark.parametrize("disk_format", ["raw", "ami", "aki", "ari"])
def test_plain_data_are_any_format_without_a_signature(disk_format):
    assert inspect(b"just bytes" * 1000, disk_format) == 10000


@pytest.mark.parametrize("disk_format", ["qcow2", "vmdk", "iso", "vhd", "vhdx", "vdi"])
def test_plain_data_are_no_format_with_a_signature(disk_format):
    with pytest.raises(UnsupportedMediaType, match="content of the image is raw"):
        inspect(b"just bytes" * 1000, disk_format)


def test_no_bytes_at_all():
    assert inspect(b"", "raw") == 0
    for disk_format in ("qcow2", "iso", "vmdk"):
        with pytest.raises(UnsupportedMediaType, match="no data at all"):
            inspect(b"", disk_format)


@pytest.mark.parametrize("declared", ["qcow2", "raw"])
@pytest.mark.parametrize("container", ["bare", "ovf"])
def test_s14_s37_a_backing_file_is_refused_in_every_plain_container(tmp_path, declared, container):
    qemu_image(tmp_path, "raw")
    backed = qemu_image(tmp_path, "qcow2", options=("-b", str(tmp_path / "image.raw"), "-F", "raw"))
    with pytest.raises(UnsupportedMediaType, match="backing_file"):
        inspect(backed, declared, container)


@pytest.mark.parametrize("declared", ["qcow2", "raw"])
def test_s21_an_external_data_file_is_refused(tmp_path, declared):
    data = qemu_image(tmp_path, "qcow2", options=("-o", f"data_file={tmp_path}/outside.raw"))
    with pytest.raises(UnsupportedMediaType, match="data_file"):
        inspect(data, declared)


@pytest.mark.parametrize("declared", ["qcow2", "raw"])
def test_s14_unknown_features_are_refused_and_the_match_option_does_not_help(tmp_path, declared):
    data = bytearray(qemu_image(tmp_path, "qcow2"))
    data[72:80] = struct.pack(">Q", 1 << 40)
    with pytest.raises(UnsupportedMediaType, match="not safe"):
        inspect(bytes(data), declared, require_match=False)


def vmdk_descriptor(create_type, extent='RW 16384 FLAT "flat.vmdk" 0'):
    return (
        "# Disk DescriptorFile\nversion=1\nCID=00000001\nparentCID=ffffffff\n"
        f'createType="{create_type}"\n\n# Extent description\n{extent}\n'
    ).encode()


@pytest.mark.parametrize("declared", ["vmdk", "raw", "qcow2"])
@pytest.mark.parametrize("padding", [b"", b"\0" * (2 << 20), b"\n" * 4096])
def test_s19_a_flat_vmdk_naming_a_host_file_is_refused(declared, padding):
    data = vmdk_descriptor("monolithicFlat", 'RW 16384 FLAT "/etc/passwd" 0') + padding
    with pytest.raises(UnsupportedMediaType):
        inspect(data, declared)
    with pytest.raises(UnsupportedMediaType):
        inspect(b"#\n#x\n \n" + data, declared)


def test_s19_the_vmdk_types_of_the_option_are_the_only_ones(tmp_path):
    data = qemu_image(tmp_path, "vmdk", options=("-o", "subformat=monolithicSparse"))
    assert inspect(data, "vmdk") == 8 << 20
    with pytest.raises(UnsupportedMediaType, match="vmdk_allowed_types"):
        inspect(data, "vmdk", vmdk_types=("streamOptimized",))
    with pytest.raises(UnsupportedMediaType, match="vmdk_allowed_types"):
        inspect(data, "vmdk", vmdk_types=())


def boot_record(*partitions):
    table = b"".join(partitions).ljust(64, b"\0")
    return (b"\0" * 446 + table + b"\x55\xaa").ljust(1 << 20, b"\0")


LINUX = struct.pack("<B3BB3BII", 0x80, 0, 2, 0, 0x83, 0, 0, 0, 2048, 4096)
ODD_FLAG = struct.pack("<B3BB3BII", 0x17, 0, 2, 0, 0x83, 0, 0, 0, 2048, 4096)
PROTECTIVE = struct.pack("<B3BB3BII", 0, 0, 2, 0, 0xEE, 0, 0, 0, 1, 4096)


def test_s38_partition_table_findings():
    assert inspect(boot_record(LINUX), "raw") == 1 << 20
    with pytest.raises(UnsupportedMediaType, match="invalid boot flag"):
        inspect(boot_record(ODD_FLAG), "raw")
    assert inspect(boot_record(ODD_FLAG), "raw", nonfatal_checks=("mbr",)) == 1 << 20
    with pytest.raises(UnsupportedMediaType, match=r"extra partitions.*gpt_safety_checks_nonfatal = mbr"):
        inspect(boot_record(PROTECTIVE, LINUX), "raw")
    # ``mbr`` is the name of the check in the inspector, whatever kind of table its finding is about.
    for tolerated in ("mbr", "gptmbr"):
        assert inspect(boot_record(PROTECTIVE, LINUX), "raw", nonfatal_checks=(tolerated,)) == 1 << 20


@pytest.mark.parametrize("disk_format", ["aki", "ari"])
def test_s38_a_kernel_with_a_boot_signature_is_a_kernel(disk_format):
    assert inspect(boot_record(ODD_FLAG), disk_format, disk_format) == 1 << 20


def test_s35_two_formats_in_one_file_are_refused(tmp_path, bootable_cd):
    data = bytearray(bootable_cd)
    data[: 1 << 15] = qemu_image(tmp_path, "qcow2")[: 1 << 15]
    for declared in ("qcow2", "raw", "iso"):
        with pytest.raises(UnsupportedMediaType, match="several formats at once"):
            inspect(bytes(data), declared)


@pytest.mark.parametrize("container", ["docker", "ova", "compressed", "ovf"])
def test_archives_are_not_looked_into(container):
    assert inspect(b"any bytes", "qcow2", container) is None


@pytest.mark.parametrize("container", ["docker", "ova", "compressed", "ovf", "ami"])
def test_s37_a_plain_disk_is_no_archive(tmp_path, container):
    data = qemu_image(tmp_path, "qcow2")
    with pytest.raises(UnsupportedMediaType, match=f"container_format is {container}.*a plain qcow2"):
        inspect(data, "qcow2", container)
    inspect(data, "qcow2", container, require_match=False)
