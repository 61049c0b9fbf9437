"""What tasks of type import do to the data before these go to the store (lifecycle section 6)."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from glance_api.content.formats import PLAIN_CONTAINERS, FormatRules
from glance_api.imports.contract import ImageFacts, ImportChanges, Plugin, Work
from glance_api.imports.inspection import introspect_file
from glance_api.imports.ova import OvaTools


@dataclass(frozen=True, slots=True)
class TaskTools:
    """What the steps work with; ``conversion`` is None where no conversion is configured."""

    ova: OvaTools
    conversion: Plugin | None

    def steps(self, *, is_admin: bool) -> tuple[Plugin, ...]:
        """Return the steps for a task of an administrator, or of another caller."""
        known: tuple[Plugin, ...] = (_ExtractDisk(is_admin, self.ova), _Introspect(self.ova.rules))
        return (*known, self.conversion) if self.conversion else known


@dataclass(frozen=True, slots=True)
class _ExtractDisk:
    """Takes the disk out of an OVA (S-41)."""

    is_admin: bool
    tools: OvaTools
    name: ClassVar[str] = "extract_disk"

    def apply(self, image: ImageFacts, path: Path, work: Work) -> ImportChanges:
        """See the contract."""
        return self.tools.extract_disk(image, path, work, is_admin=self.is_admin)


@dataclass(frozen=True, slots=True)
class _Introspect:
    """Finds out what the data are, whatever the task says; refuses what is unsafe (S-14, S-21)."""

    rules: FormatRules
    name: ClassVar[str] = "introspect"

    def apply(self, image: ImageFacts, path: Path, work: Work) -> ImportChanges:
        """See the contract."""
        if image.container_format not in PLAIN_CONTAINERS:
            return ImportChanges()
        disk_format, virtual_size = introspect_file(path, self.rules, work.still_wanted)
        if disk_format == "raw":
            # Nothing was recognised, which says nothing against what the task says.
            return ImportChanges(virtual_size=virtual_size if image.disk_format == "raw" else None)
        return ImportChanges(disk_format=disk_format, virtual_size=virtual_size)
