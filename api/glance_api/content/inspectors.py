"""The inspectors of oslo.utils, with what real images need on top.

Theirs take a short file for no image of its format, refuse disks that only look unusual, and some fail with errors of
Python. Here a file is judged by its first bytes, whatever its length, and a verdict is all that comes out.
"""

import logging
import struct
import uuid
from collections.abc import Iterator

from oslo_utils.imageutils import format_inspector
from oslo_utils.imageutils.format_inspector import CaptureRegion, FileInspector, SafetyViolation

from glance_api.content import boot_record

LOG = logging.getLogger(__name__)

_METADATA = uuid.UUID("8B7CA206-4790-4B9A-B8FE-575F050F886E").bytes_le
"""What names the metadata in the region table of a VHDX."""


class Qcow(format_inspector.QcowInspector):
    """qcow and qcow2; with the feature ``extended_l2``, which names no other file."""

    I_FEATURES_MAX_BIT = 5

    @property
    def format_match(self) -> bool:
        return self.region("header").data.startswith(b"QFI\xfb")

    def check_data_file(self) -> None:
        """Look at the features; version 2 has other data in their place."""
        if self.qemu_header_info.get("version") != 2:
            super().check_data_file()

    @property
    def virtual_size(self) -> int:
        """Raise ValueError for a disk that is larger than its first table can map: no program opens it."""
        if self.qemu_header_info.get("version") == 1:
            return super().virtual_size
        cluster_bits, size, (entries,) = (
            self.qemu_header_info["cluster_bits"], super().virtual_size, struct.unpack_from(">I", self._header, 36)
        )
        if not 9 <= cluster_bits <= 21 or size > entries << (2 * cluster_bits - 3):
            raise ValueError("the table of the qcow2 image is too small for its size")
        return size

    @property
    def _header(self) -> bytes:
        return bytes(self.region("header").data)


class Qed(format_inspector.QEDInspector):
    """QED, which is refused."""

    @property
    def format_match(self) -> bool:
        return self.region("header").data.startswith(b"QED\0")


class Vdi(format_inspector.VDIInspector):
    """The disks of VirtualBox."""

    @property
    def format_match(self) -> bool:
        return self.region("header").data[0x40:0x44] == b"\x7f\x10\xda\xbe"

    def _initialize(self) -> None:
        self.new_region("header", CaptureRegion(0, 512))
        self.add_safety_check(format_inspector.SafetyCheck("parent", self._check_parent))

    def _check_parent(self) -> None:
        header = self.region("header").data
        if header[0x46:0x48] != b"\1\0":
            raise SafetyViolation("only version 1 is known")
        if any(header[0x1A8:0x1C8]):
            raise SafetyViolation("it names a link or a parent")


class Vhd(format_inspector.VHDInspector):
    """The disks of Virtual PC and Hyper-V."""

    @property
    def virtual_size(self) -> int:
        """The current size; it differs from the original one of a disk that was resized."""
        return int(struct.unpack_from(">Q", self.region("header").data, 48)[0])


class Vhdx(format_inspector.VHDXInspector):
    """The newer disks of Hyper-V. Readers differ in which of several metadata they take."""

    def _initialize(self) -> None:
        super()._initialize()
        self.add_safety_check(format_inspector.SafetyCheck("metadata", self._check_metadata))

    def _check_metadata(self) -> None:
        tables = bytes(self.region("header").data).count(_METADATA)
        if not self.has_region("metadata") or tables != 1:
            raise SafetyViolation("the region table must name one metadata region")


class Vmdk(format_inspector.VMDKInspector):
    """Sparse disks of VMware. Descriptors may have any encoding: only their ASCII part has a meaning."""

    vmdktype = "formatnotfound"

    @property
    def format_match(self) -> bool:
        if self.has_region("header"):
            return self.region("header").data.startswith(b"KDMV")
        return self.vmdktype != "formatnotfound"

    @property
    def virtual_size(self) -> int:
        """The size in the footer, where there is one: readers take the footer in place of the header."""
        if self.vmdktype not in ("monolithicsparse", "streamoptimized"):
            return 0
        header = self.region("footer").data[512:] if self.has_region("footer") else self.region("header").data
        (sectors,) = struct.unpack_from("<Q", header, 12)
        return int(sectors) * 512

    def _parse_descriptor(self) -> None:
        region = self.region("descriptor")
        plain = bytes(region.data).partition(b"\0")[0]
        region.data = plain.decode("ascii", errors="replace").replace("\ufffd", "?").encode() + b"\0"
        region.length = len(region.data)
        super()._parse_descriptor()


class Iso(format_inspector.ISOInspector):
    """CDs and DVDs with ISO 9660 or UDF: the volume descriptors are sectors of 2 KiB from 32 KiB on."""

    _SECTOR = 2048

    def _initialize(self) -> None:
        super()._initialize()
        self.delete_region("header")
        self.new_region("header", CaptureRegion(16 * self._SECTOR, 16 * self._SECTOR))

    @property
    def complete(self) -> bool:
        """One descriptor is enough for a short file."""
        return bool(self.region("system_area").complete) and len(self.region("header").data) >= self._SECTOR

    @property
    def format_match(self) -> bool:
        if not self.complete:
            return False
        names = list(self._names())
        return names[0] in (b"CD001", b"NSR02", b"NSR03") or (
            names[0] == b"BEA01" and not {b"NSR02", b"NSR03"}.isdisjoint(names)
        )

    def _names(self) -> Iterator[bytes]:
        data = self.region("header").data
        for start in range(0, len(data), self._SECTOR):
            yield bytes(data[start + 1 : start + 6])

    @property
    def virtual_size(self) -> int:
        """The size of the file, as a guest sees a CD: the volume may be a part of it."""
        return self.actual_size


class Luks(format_inspector.LUKSInspector):
    """Encrypted disks. Version 2 is a disk for its guest, and for no program on this side."""

    @property
    def is_version_2(self) -> bool:
        return bytes(self.region("header").data[6:8]) == b"\0\2"


class BootRecord(FileInspector):
    """A disk with a partition table. The name is that of the inspector in oslo.utils, and of its check."""

    NAME = "gpt"

    def _initialize(self) -> None:
        self.new_region("record", CaptureRegion(0, boot_record.LENGTH))
        self.add_safety_check(format_inspector.SafetyCheck("mbr", self._check))

    @property
    def complete(self) -> bool:
        return len(self.region("record").data) >= boot_record.LEAST

    @property
    def format_match(self) -> bool:
        return self.complete and boot_record.has_table(bytes(self.region("record").data))

    def _check(self) -> None:
        complaint = boot_record.complaint(bytes(self.region("record").data))
        if complaint is not None:
            raise SafetyViolation(complaint)


_KINDS: tuple[type[FileInspector], ...] = (
    Qcow, Qed, Vdi, Vhd, Vhdx, Vmdk, Iso, Luks, BootRecord,
)


class Inspectors:
    """One of each kind, fed with the same stream."""

    def __init__(self) -> None:
        self._all = [kind() for kind in _KINDS]
        self._fed = list(self._all)

    def feed(self, piece: bytes) -> None:
        """Give the next piece to all inspectors. An inspector that fails on it does not know the format, or the data
        are damaged."""
        for inspector in tuple(self._fed):
            try:
                inspector.eat_chunk(piece)
            except Exception as error:  # a parser of foreign bytes may fail in any way
                LOG.debug("the inspector of %s stops: %s", inspector, error)
                self._fed.remove(inspector)

    def found(self) -> dict[str, FileInspector]:
        """Return the inspectors that recognised the stream, by name, after its end; empty for data without a format."""
        for inspector in self._all:
            inspector.finish()
        return {str(inspector): inspector for inspector in self._all if inspector.format_match}

    def has_failed(self, inspector: FileInspector) -> bool:
        """Say whether this inspector gave up before it saw all that it judges."""
        return inspector not in self._fed

    @property
    def held(self) -> int:
        """Bytes that they keep in memory."""
        return sum(size for inspector in self._all for size in inspector.context_info.values())
