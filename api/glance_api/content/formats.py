"""What is inside the bytes: format inspection while an image streams by.

This module holds the rules of what is accepted (S-34 to S-38, API section 10.2). A reference to other data is refused;
a disk that is only unusual is not. The inspectors see every piece and keep only the headers they need.
"""

import logging
from collections.abc import Collection
from dataclasses import dataclass

from oslo_utils.imageutils import format_inspector

from glance_api.content import parallels, vhd, vmdk
from glance_api.content.inspectors import Inspectors, Luks
from glance_common.model.errors import UnsupportedMediaType

LOG = logging.getLogger(__name__)

PLAIN_CONTAINERS = frozenset({"bare", "ovf", "ami", "aki", "ari"})
"""Container formats whose data can be a disk (S-37). Those of the others are archives: a disk in there is looked into
when it is taken out."""

_WRAPPERS = frozenset({"ova", "docker", "compressed", "ovf", "ami"})
"""Container formats in which a plain disk of its own is a mismatch."""

_DISKS = frozenset({"qcow2", "qed", "vdi", "vmdk", "vhd", "vhdx", "luks"})
"""What is no archive, whatever an archive may look like."""

UNINSPECTED = frozenset({"ami", "aki", "ari", "ploop"})
"""Disk formats without a signature that could be checked; plain data is what they look like."""

MAY_BE_EMPTY = frozenset({"raw", "ami", "aki", "ari"})
"""Disk formats for which no bytes at all are a valid image; every other format has at least a header."""

_BOOT_RECORD = "gpt"
"""The inspector's name for any partition table. A partitioned disk is a raw disk (S-35)."""

_PLAIN = frozenset({_BOOT_RECORD, "luks"})
"""The inspector's names for what a hypervisor reads as a plain disk."""

_SHOWN = {_BOOT_RECORD: "raw (a disk with a partition table)", "luks": "raw (an encrypted disk)"}
"""Names in messages for content that is no disk format of the API."""

_SIZED = frozenset({"vhd", "vhdx", "vdi", "luks"})
"""Formats whose header always tells the size; one without it is damaged (S-36)."""

MOST_OF_HEAD = 4 * 1024 * 1024
"""Bytes of the beginning that are enough to judge every format. A VHDX whose table lies behind them is refused."""

_HEAD = 64 * 1024
"""The same for formats without a table of their own place."""

_VHDX = b"vhdxfile"

_PIECE = 512 * 1024
"""Bytes that the inspectors get at a time."""

_DIFFERENCES = {"vhd": (60, b"\0\0\0\4"), "vdi": (0x4C, b"\4\0\0\0")}
"""Where the header tells the kind of disk, and the kind that holds only the difference to a parent."""

_PARENT_LOCATOR = bytes.fromhex("2d5fd3a80bb34d45abf7d3d84834ab0c")
"""The entry that the metadata table of a VHDX has when the disk has a parent."""

_LARGEST = {"vhd": 2**41, "vhdx": 2**46, "vmdk": 2**46, "vdi": 2**50}
"""Bytes; the largest disk of each format, rounded up."""

_LARGEST_OF_ANY = 2**63 - 1
"""Bytes; the largest size that can be recorded (S-56)."""


@dataclass(frozen=True, slots=True)
class FormatRules:
    """``require_match`` false turns off only the refusal of a mismatch, never the safety checks (S-38)."""

    require_match: bool = True
    vmdk_types: tuple[str, ...] = ("streamOptimized", "monolithicSparse")
    nonfatal_checks: tuple[str, ...] = ()


class Inspection:
    """Inspects one stream that is declared to be ``disk_format`` in ``container_format``."""

    def __init__(self, disk_format: str, container_format: str, rules: FormatRules) -> None:
        self._declared = disk_format
        self._container = container_format
        self._rules = rules
        self._inspectors = Inspectors()
        self._size = 0
        self._head = bytearray()
        self._tail = b""
        self._is_text = True

    def update(self, piece: bytes) -> None:
        """Look at the next piece."""
        self._size += len(piece)
        self._keep(piece)
        self._tail = (self._tail + piece[-vhd.FOOTER :])[-vhd.FOOTER :]
        if self._size - len(piece) >= MOST_OF_HEAD or len(piece) <= _PIECE:
            self._inspectors.feed(piece)
            return
        # The inspector of VHDX misses what it looks for when it gets all of its tables at once.
        for start in range(0, len(piece), _PIECE):
            self._inspectors.feed(piece[start : start + _PIECE])

    def _keep(self, piece: bytes) -> None:
        """Keep the header, and text as far as programs read it."""
        for limit in (vmdk.HEAD, vmdk.LONGEST_TEXT):
            part = piece[: max(limit - len(self._head), 0)]
            self._head += part
            self._is_text = self._is_text and b"\0" not in part
            piece = piece[len(part) :]
            if not self._is_text:
                return

    def has_enough(self, size: int) -> bool:
        """Say whether what came shows as much as all ``size`` bytes would, apart from their end."""
        if self._head.startswith(_VHDX):
            needed = MOST_OF_HEAD
        elif vmdk.is_sparse(bytes(self._head[:8])):
            needed = vmdk.LONGEST_HEAD
        else:
            needed = vmdk.LONGEST_TEXT if self._is_text else _HEAD
        return self._size >= min(size, needed)

    def end_needed(self, size: int) -> int:
        """Return how many of the last bytes of ``size`` the verdict needs as well; 0 when it needs none."""
        if self._size >= size:
            return 0
        if vmdk.has_footer(bytes(self._head[:64])):
            return min(vmdk.FOOTER, size)
        is_vhd = self._declared == "vhd" or self._head.startswith(vhd.COOKIE)
        return min(vhd.FOOTER, size) if is_vhd else 0

    def skip_to_end(self, size: int, end: bytes) -> None:
        """Take ``end``, of the length that ``end_needed`` said, as the last bytes of ``size`` in all."""
        if end:
            self.update(end)
        self._size = size

    def finish(self) -> int | None:
        """Return the virtual size in bytes, None when it cannot be told.

        Raises UnsupportedMediaType when the content is unsafe or is not what ``disk_format`` says.
        """
        found = self._safe_formats()
        if self._container in _WRAPPERS:
            self._refuse_disk(found)
        is_package = self._container == "ovf" and not found and self._declared != "raw"
        if is_package or self._container not in PLAIN_CONTAINERS:
            return None
        if self._size == 0:
            return self._empty()
        declared = self._matching(set(found))
        if declared is None:
            self._refuse_mismatch(found)
            return None
        if declared == "ploop":
            return parallels.virtual_size(bytes(self._head[:64]))
        if declared in UNINSPECTED or declared == "raw":
            return self._size
        if declared == "vhd" and "vhd" not in found:
            return vhd.fixed_size(self._tail, self._size)
        return _virtual_size(found[declared])

    def identify(self) -> tuple[str, int | None]:
        """Return the disk format that the content is of, and the virtual size in bytes; in place of ``finish``.

        What has no format of its own is raw, so is a partitioned or an encrypted disk. Raises UnsupportedMediaType for
        unsafe content.
        """
        found = self._safe_formats()
        if found.keys() <= _PLAIN:
            return "raw", self._size
        name = "iso" if "iso" in found else next(iter(found))
        return name, _virtual_size(found[name])

    def _safe_formats(self) -> dict[str, format_inspector.FileInspector]:
        found = self._inspectors.found()
        if self._container not in PLAIN_CONTAINERS:
            found = {name: inspector for name, inspector in found.items() if name in _DISKS}
        self._check_safety(found)
        return found

    def _empty(self) -> int | None:
        if self._declared not in MAY_BE_EMPTY and self._rules.require_match:
            raise UnsupportedMediaType(f"disk_format is {self._declared}, but the image has no data at all")
        return 0 if self._declared in MAY_BE_EMPTY else None

    def _matching(self, found: set[str]) -> str | None:
        """Return the declared format when the detected ones agree with it."""
        if self._declared == "raw":
            return "raw"
        if found == {"iso", _BOOT_RECORD}:
            # A bootable CD that may also be written to a stick has both structures.
            return "iso" if self._declared == "iso" else None
        if found <= {_BOOT_RECORD} and self._declared in UNINSPECTED:
            return self._declared
        if found <= _PLAIN and self._declared == "vhd" and vhd.is_fixed(self._tail):
            return "vhd"
        return self._declared if found == {self._declared} else None

    def _refuse_disk(self, found: Collection[str]) -> None:
        """Raise UnsupportedMediaType for a plain disk in a container format whose data is something else."""
        disks = _DISKS.intersection(found)
        if disks:
            self._refuse(f"container_format is {self._container}, but the content of the image is a plain {min(disks)}")

    def _refuse_mismatch(self, found: Collection[str]) -> None:
        names = " and ".join(sorted(_SHOWN.get(name, name) for name in found)) or "raw (of no known format)"
        self._refuse(f"disk_format is {self._declared}, but the content of the image is {names}")

    def _refuse(self, text: str) -> None:
        if self._rules.require_match:
            raise UnsupportedMediaType(f"{text}; only require_image_format_match = false lets it through")
        LOG.warning("%s; accepted because require_image_format_match is off", text)

    def _check_safety(self, found: dict[str, format_inspector.FileInspector]) -> None:
        refusal = vmdk.refused_as_anything(bytes(self._head))
        if refusal is not None:
            raise UnsupportedMediaType(refusal)
        if vhd.has_parent(self._tail):
            raise UnsupportedMediaType("the image ends as a vhd that is not safe to use: it may refer to a parent")
        if len(found) > 1 and set(found) != {"iso", _BOOT_RECORD}:
            raise UnsupportedMediaType(f"the image claims to be several formats at once: {', '.join(sorted(found))}")
        for name, inspector in found.items():
            if name == _BOOT_RECORD and (self._declared in ("aki", "ari") or "iso" in found):
                # Kernels carry a boot signature without a table, and so do hybrid CDs.
                continue
            if isinstance(inspector, Luks) and inspector.is_version_2 and self._declared == "raw":
                # The host treats it as a plain disk.
                continue
            self._run_checks(name, inspector)

    def _run_checks(self, name: str, inspector: format_inspector.FileInspector) -> None:
        if self._inspectors.has_failed(inspector):
            raise UnsupportedMediaType(f"the {name} image is damaged and cannot be checked")
        try:
            inspector.safety_check()
        except format_inspector.SafetyCheckFailed as failed:
            fatal = {check: str(why) for check, why in failed.failures.items() if not self._tolerated(name, check, why)}
            if fatal:
                reasons = "; ".join(f"{check}: {why}" for check, why in sorted(fatal.items()))
                advice = "; gpt_safety_checks_nonfatal = mbr lets it through" if name == _BOOT_RECORD else ""
                raise UnsupportedMediaType(
                    f"the {_SHOWN.get(name, name)} image is not safe to use ({reasons}){advice}"
                ) from None
            LOG.warning("tolerated findings in a %s image: %s", name, failed)
        except Exception as error:  # a parser of foreign bytes may fail in any way
            LOG.info("a %s image cannot be checked: %s", name, type(error).__name__)
            raise UnsupportedMediaType(f"the {name} image is damaged and cannot be checked") from None
        if self._has_parent(name, inspector):
            raise UnsupportedMediaType(f"the {name} image is not safe to use: it holds only the difference to a parent")
        if isinstance(inspector, format_inspector.VMDKInspector):
            self._check_vmdk(inspector)

    def _has_parent(self, name: str, inspector: format_inspector.FileInspector) -> bool:
        """Say whether a disk of Hyper-V or VirtualBox refers to another one, for which the inspectors do not look."""
        if name in _DIFFERENCES:
            offset, kind = _DIFFERENCES[name]
            return self._head[offset : offset + len(kind)] == kind
        return inspector.has_region("metadata") and _PARENT_LOCATOR in inspector.region("metadata").data

    def _tolerated(self, name: str, check: str, why: object) -> bool:
        if name != _BOOT_RECORD or check != "mbr":
            return False
        # The inspector has one check, ``mbr``. ``gptmbr`` tolerates only its findings about a protective record.
        kinds = {"mbr", "gptmbr"} if str(why).startswith("the GPT MBR") else {"mbr"}
        return not kinds.isdisjoint(self._rules.nonfatal_checks)

    def _check_vmdk(self, inspector: format_inspector.VMDKInspector) -> None:
        allowed = {name.lower() for name in self._rules.vmdk_types}
        if inspector.vmdktype not in allowed:
            raise UnsupportedMediaType(f"VMDK images of type {inspector.vmdktype} are not allowed (vmdk_allowed_types)")
        complaint = vmdk.complaint(bytes(self._head))
        if complaint is not None:
            raise UnsupportedMediaType(f"the vmdk image is not safe to use: {complaint}")


def _virtual_size(inspector: format_inspector.FileInspector) -> int | None:
    """Return the size that the header tells. Raises UnsupportedMediaType when it is impossible, or none in a format
    whose header always has it (S-36)."""
    name = str(inspector)
    try:
        size = inspector.virtual_size
    except Exception as error:  # as above
        LOG.info("the header of a %s image cannot be read: %s", name, type(error).__name__)
        raise UnsupportedMediaType(f"the header of the {name} image is damaged: it tells no size") from None
    if not 0 <= size <= _LARGEST.get(name, _LARGEST_OF_ANY) or (size == 0 and name in _SIZED):
        raise UnsupportedMediaType(f"the header of the {name} image is damaged: it tells no possible size")
    return size or None
