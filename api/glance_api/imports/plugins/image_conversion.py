"""The plugin that brings every image to one disk format with qemu-img (S-14, S-18, S-19, S-21, S-39)."""

import errno
import logging
import os
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from glance_api.formats import PLAIN_CONTAINERS, FormatRules
from glance_api.imports import sandbox
from glance_api.imports.contract import Changes, ImageFacts, ImportFailed, Work
from glance_api.imports.inspection import inspect_file
from glance_common.errors import TooLarge

LOG = logging.getLogger(__name__)

_QEMU_NAMES = {"raw": "raw", "qcow2": "qcow2", "vmdk": "vmdk", "vdi": "vdi", "vhd": "vpc", "vhdx": "vhdx"}
"""The disk formats that are converted, and what qemu-img calls them. CDs, kernels and ramdisks are no disks, and a
format whose content cannot be inspected is never given to a tool."""

_OPTIONS = {"vmdk": ["-o", "subformat=streamOptimized"]}


class ImageConversion:
    """``image_conversion``; fulfils ``contract.Plugin``."""

    name: ClassVar[str] = "image_conversion"

    def __init__(self, tool: Path, output_format: str, rules: FormatRules, limits: sandbox.Limits) -> None:
        """``tool`` is qemu-img; ``limits.file_size`` is the largest image in bytes, as it is and as a disk."""
        self._tool = tool
        self._output_format = output_format
        # The tool gets the declared format, so the content must be of it, whatever uploads may do.
        self._rules = replace(rules, require_match=True)
        self._limits = limits

    def apply(self, image: ImageFacts, path: Path, work: Work) -> Changes:
        """Convert, unless the image has the format already or is none that is converted.

        Raises UnsupportedMediaType when the content is unsafe, before and after; TooLarge when the disk is larger than
        an image may be; ImportFailed.
        """
        if image.container_format not in PLAIN_CONTAINERS or image.disk_format not in _QEMU_NAMES:
            LOG.info("image %s stays %s in %s", image.id, image.disk_format, image.container_format)
            return Changes()
        virtual_size = inspect_file(path, image.disk_format, self._rules, work.still_wanted)
        if image.disk_format == self._output_format:
            return Changes(virtual_size=virtual_size)
        self._check_size(virtual_size)
        target = work.folder / f"{image.id}.{self._output_format}"
        self._convert(image.disk_format, path, target, work)
        return self._verified(target, work)

    def _check_size(self, virtual_size: int | None) -> None:
        if virtual_size is None:
            raise ImportFailed("the image cannot be converted: its header does not tell the size of the disk")
        if virtual_size > self._limits.file_size:
            raise TooLarge(
                f"the disk in the image has {virtual_size} bytes; image_size_cap is {self._limits.file_size} bytes"
            )

    def _convert(self, disk_format: str, path: Path, target: Path, work: Work) -> None:
        command: list[str | Path] = [
            self._tool, "convert", "-f", _QEMU_NAMES[disk_format], "-O", self._output_format,
            *_OPTIONS.get(self._output_format, []), path.absolute(), target,
        ]
        outcome = sandbox.run(command, work.folder, self._limits, work.still_wanted)
        if outcome.code != 0:
            # The tool's words name files of this host; they are for the log only.
            LOG.warning("qemu-img ended with %d: %s", outcome.code, outcome.stderr)
            if os.strerror(errno.EFBIG) in outcome.stderr:
                raise TooLarge(f"the converted image is larger than image_size_cap, {self._limits.file_size} bytes")
            raise ImportFailed(f"the image cannot be converted from {disk_format} to {self._output_format}")

    def _verified(self, target: Path, work: Work) -> Changes:
        virtual_size = inspect_file(target, self._output_format, self._rules, work.still_wanted)
        return Changes(path=target, disk_format=self._output_format, virtual_size=virtual_size)
