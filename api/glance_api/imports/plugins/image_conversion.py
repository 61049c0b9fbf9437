"""The plugin that brings every image to one disk format with qemu-img (S-14, S-18, S-19, S-21, S-39)."""

import errno
import logging
import os
import struct
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import ClassVar

from glance_api.content.formats import PLAIN_CONTAINERS, FormatRules
from glance_api.imports.confinement.contract import Access
from glance_api.imports.contract import ImageFacts, ImportChanges, ImportFailed, Work
from glance_api.imports.inspection import inspect_file
from glance_api.imports.output import NO_SPACE
from glance_api.imports.sandbox import OutputTooLarge, Sandbox
from glance_common.model.errors import TooLarge

LOG = logging.getLogger(__name__)

_QEMU_NAMES = {"raw": "raw", "qcow2": "qcow2", "vmdk": "vmdk", "vdi": "vdi", "vhd": "vpc", "vhdx": "vhdx"}
"""The disk formats that are converted, and what qemu-img calls them. CDs, kernels and ramdisks are no disks, and a
format whose content cannot be inspected is never given to a tool."""

_WHOLE = frozenset({0, 3, 63})
"""Exit codes of ``qemu-img check``: no findings, clusters that nothing refers to, a format without a check."""

_MOST_FINDINGS = 1024 * 1024
"""Bytes that the check may print, a line for each damaged place."""

_OPTIONS = {"vmdk": ["-o", "subformat=streamOptimized"]}


class ImageConversion:
    """``image_conversion``; fulfils ``contract.Plugin``."""

    name: ClassVar[str] = "image_conversion"

    def __init__(self, tool: Path, output_format: str, rules: FormatRules, sandbox: Sandbox) -> None:
        """``tool`` is qemu-img; the file size of ``sandbox`` is that of the largest image, as it is and as a disk."""
        self._tool = tool
        self._output_format = output_format
        # The tool gets the declared format, so the content must be of it, whatever uploads may do.
        self._rules = replace(rules, require_match=True)
        self._sandbox = sandbox
        self._cap = sandbox.limits.file_size

    def apply(self, image: ImageFacts, path: Path, work: Work) -> ImportChanges:
        """Convert, unless the image has the format already or is none that is converted.

        Raises UnsupportedMediaType when the content is unsafe, before and after; TooLarge when the disk is larger than
        an image or a quota of its owner allows; ImportFailed.
        """
        if image.container_format not in PLAIN_CONTAINERS or image.disk_format not in _QEMU_NAMES:
            LOG.info("image %s stays %s in %s", image.id, image.disk_format, image.container_format)
            return ImportChanges()
        virtual_size = inspect_file(path, image.disk_format, self._rules, work.still_wanted)
        if image.disk_format == self._output_format:
            return ImportChanges(virtual_size=virtual_size)
        size = self._checked(virtual_size)
        target = work.folder / f"{image.id}.{self._output_format}"
        if self._output_format == "raw":
            # A store is charged for every byte of the disk, also for the holes that no disk here holds.
            work.room.cover(size)
        self._check_whole(image.disk_format, path, work)
        self._convert(image.disk_format, path, target, work)
        return self._verified(target, work)

    def _checked(self, virtual_size: int | None) -> int:
        if virtual_size is None:
            raise ImportFailed("the image cannot be converted: its header does not tell the size of the disk")
        if virtual_size > self._cap:
            raise TooLarge(f"the disk in the image has {virtual_size} bytes; image_size_cap is {self._cap} bytes")
        return virtual_size

    def _check_whole(self, disk_format: str, path: Path, work: Work) -> None:
        """Raise ImportFailed for a damaged disk: the tool would put zeros in the place of what is missing."""
        if disk_format == "raw":
            return
        damaged = ImportFailed(self._refusal(disk_format) + ": it is cut or damaged, or cannot be checked")
        if disk_format == "vdi" and vdi_is_cut(path):
            raise damaged
        command: list[str | Path] = [self._tool, "check", "-f", _QEMU_NAMES[disk_format], path.absolute()]
        sandbox = self._sandbox.with_file_size(_MOST_FINDINGS)
        try:
            outcome = sandbox.run(command, Access(read=(path.absolute(),)), work.folder, work.still_wanted)
        except OutputTooLarge as error:
            raise damaged from error
        if outcome.code not in _WHOLE:
            LOG.warning("qemu-img check ended with %d: %s", outcome.code, outcome.stderr)
            raise damaged

    def _convert(self, disk_format: str, path: Path, target: Path, work: Work) -> None:
        command: list[str | Path] = [
            self._tool, "convert", "-f", _QEMU_NAMES[disk_format], "-O", self._output_format,
            *_OPTIONS.get(self._output_format, []), path.absolute(), target,
        ]
        left = work.room.left()
        # The tool writes the file itself: the kernel stops it at what there is room for now.
        bound = self._cap if left is None else min(left, self._cap)
        access = Access(read=(path.absolute(),), write=work.folder)
        watch = partial(_watch, target, work)
        try:
            outcome = self._sandbox.with_file_size(bound).run(command, access, work.folder, watch)
        except OutputTooLarge as error:
            raise self._too_large(bound, work) from error
        if outcome.code != 0:
            # The tool's words name files of this host; they are for the log only.
            LOG.warning("qemu-img ended with %d: %s", outcome.code, outcome.stderr)
            # At the limit the tool may also report a short write as another error.
            if os.strerror(errno.EFBIG) in outcome.stderr or _size(target) >= bound:
                raise self._too_large(bound, work)
            if os.strerror(errno.ENOSPC) in outcome.stderr:
                raise TooLarge(NO_SPACE)
            raise ImportFailed(self._refusal(disk_format))
        work.room.cover(_size(target))

    def _refusal(self, disk_format: str) -> str:
        return f"the image cannot be converted from {disk_format} to {self._output_format}"

    def _too_large(self, bound: int, work: Work) -> TooLarge:
        """Return the error for a result beyond ``bound`` bytes, or raise the one that names the quota."""
        if bound < self._cap:
            work.room.cover(bound + 1, wait=False)
        limit = f"image_size_cap, {self._cap} bytes" if bound == self._cap else f"the {bound} bytes that a quota left"
        return TooLarge(f"the converted image is larger than {limit}")

    def _verified(self, target: Path, work: Work) -> ImportChanges:
        virtual_size = inspect_file(target, self._output_format, self._rules, work.still_wanted)
        return ImportChanges(path=target, disk_format=self._output_format, virtual_size=virtual_size)


def vdi_is_cut(path: Path) -> bool:
    """Say whether a VDI is shorter than its header says; qemu-img finds that in other formats, and not in this one."""
    with path.open("rb") as file:
        head = file.read(512)
    (data_at,), (block, _, _, allocated) = struct.unpack_from("<I", head, 0x158), struct.unpack_from("<4I", head, 0x178)
    return path.stat().st_size < int(data_at) + int(block) * int(allocated)


def _watch(target: Path, work: Work) -> None:
    """Cover what the tool has written so far; a refusal ends it at once, as it would go on writing meanwhile."""
    work.still_wanted()
    work.room.cover(_size(target), wait=False)


def _size(target: Path) -> int:
    """Return the bytes of a file, holes included; 0 as long as there is none."""
    try:
        return target.stat().st_size
    except FileNotFoundError:
        return 0
