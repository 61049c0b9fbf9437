"""What one owner may use, and what it uses: the terms in which API and registry speak about quotas.

Limits have the names and units in which operators set them; usage is in bytes and counts. Usage is never stored, the
registry computes it from the rows.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Usage:
    """``size``: bytes in stores; ``stage``: bytes on the way there; ``images`` and ``uploading``: numbers of images."""

    size: int = 0
    stage: int = 0
    images: int = 0
    uploading: int = 0

    def document(self) -> dict[str, int]:
        """Return the usage as a JSON object."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class LimitKind:
    """What a limit bounds: a field of ``Usage``, and how many of its bytes or images are one of ``unit``."""

    measure: str
    factor: int
    unit: str


KINDS: dict[str, LimitKind] = {
    "user_storage_quota": LimitKind("size", 1, "bytes"),
    "image_size_total": LimitKind("size", MIB, "MiB"),
    "image_stage_total": LimitKind("stage", MIB, "MiB"),
    "image_count_total": LimitKind("images", 1, "images"),
    "image_count_uploading": LimitKind("uploading", 1, "images"),
}
"""Every limit by its name (configuration sections 1.1 and 9)."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What ``owner`` may use: ``values`` by the names in ``KINDS``, each in its unit; no value means no limit."""

    owner: str
    values: Mapping[str, int]

    def document(self) -> dict[str, Any]:
        """Return the limits as the JSON object that goes to the registry."""
        return {"owner": self.owner, "values": dict(self.values)}

    def about(self, *measures: str) -> Self | None:
        """Return only the limits of these fields of ``Usage``; None when there are none."""
        values = {name: value for name, value in self.values.items() if KINDS[name].measure in measures}
        return type(self)(self.owner, values) if values else None
