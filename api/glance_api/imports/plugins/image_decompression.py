"""The plugin that unpacks images of container format ``compressed`` (S-18, S-40)."""

from pathlib import Path
from typing import ClassVar

from glance_api.content.formats import FormatRules
from glance_api.imports.contract import ImageFacts, ImportChanges, Work
from glance_api.imports.inspection import inspect_file
from glance_api.imports.sandbox import Sandbox


class ImageDecompression:
    """``image_decompression``; fulfils ``contract.Plugin``."""

    name: ClassVar[str] = "image_decompression"

    def __init__(self, lha: Path | None, rules: FormatRules, sandbox: Sandbox) -> None:
        """``lha`` is the tool for archives of that kind."""
        self._lha = lha
        self._rules = rules
        self._sandbox = sandbox

    def apply(self, image: ImageFacts, path: Path, work: Work) -> ImportChanges:
        """Unpack a compressed image; what comes out has to be of its disk format and safe, as if it were uploaded.

        Raises TooLarge at the first byte beyond the largest image or a quota of its owner.
        """
        if image.container_format != "compressed":
            return ImportChanges()
        target = work.folder / f"{image.id}.uc"
        self._sandbox.unpack("unpack", path.absolute(), target, work, *([self._lha] if self._lha else []))
        virtual_size = inspect_file(target, image.disk_format, self._rules, work.still_wanted)
        return ImportChanges(path=target, container_format="bare", virtual_size=virtual_size)
