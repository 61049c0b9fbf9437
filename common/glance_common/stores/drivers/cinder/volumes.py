"""What Cinder says of a volume, and what the metadata of the service's volumes mean (stores section 8).

A volume is one of the service by its metadata ``glance_image_id``. ``glance_upload`` is there until its data are whole.
The one who has a volume attached says so in a lease: ``<seconds of the epoch> <host>``, renewed as long as it works.
A lease that is over is that of a process that died. Cinder writes back what it read when several set metadata at one
moment: a lease that was just removed may come back, and means nothing without its attachment; one may be set back by a
renewal, and is still good for the next two.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

GIB = 1024**3

NAME = "image-"
"""How the names of volumes begin; the key that ``add`` was given follows."""

IMAGE = "glance_image_id"
SIZE = "image_size"
OWNER = "image_owner"
STORE = "glance_store"
"""The mark of the store."""

UPLOAD = "glance_upload"
"""Lease of an upload."""

DELETED = "glance_deleted"
"""Tells the writer that nobody wants the data any more."""

ATTACHED = "glance_attached_"
"""Lease of an attachment, whose id follows."""

STUCK = "stuck"
"""In place of a lease's time: the host could not let go of its device."""


@dataclass(frozen=True, slots=True)
class VolumeLease:
    """Until when, in seconds of the epoch, a host says that it uses a volume; None: until an operator helps."""

    until: float | None
    host: str

    @classmethod
    def read(cls, text: str) -> Self:
        """Return the lease that a text says; one that cannot be read is over."""
        when, _, host = text.partition(" ")
        if when == STUCK:
            return cls(None, host)
        return cls(float(when) if when.isdigit() else 0.0, host)

    @property
    def is_over(self) -> bool:
        """Say whether its holder must be dead."""
        return self.until is not None and self.until < time.time()


def lease_text(seconds: float, host: str) -> str:
    """Return the text of a lease that ends in so many seconds, or up to one later."""
    return f"{int(time.time() + seconds) + 1} {host}"


@dataclass(frozen=True, slots=True)
class Volume:
    """A volume as Cinder shows it."""

    id: str
    name: str
    status: str
    gib: int
    type: str | None
    encrypted: bool
    multiattach: bool
    metadata: Mapping[str, str]
    created: str
    changed: float
    """Seconds of the epoch."""

    @classmethod
    def of(cls, shown: Mapping[str, Any]) -> Self:
        """Return the volume of an answer. Raises KeyError, ValueError for an answer that is none."""
        return cls(
            id=str(shown["id"]), name=str(shown.get("name") or ""), status=str(shown["status"]),
            gib=int(shown["size"]), type=shown.get("volume_type"), encrypted=bool(shown.get("encrypted")),
            multiattach=bool(shown.get("multiattach")), metadata=dict(shown.get("metadata") or {}),
            created=str(shown.get("created_at") or ""),
            changed=_seconds(str(shown.get("updated_at") or shown["created_at"])),
        )

    @property
    def age(self) -> tuple[str, str]:
        """What sorts volumes from the oldest to the youngest."""
        return self.created, self.id

    @property
    def is_image(self) -> bool:
        """Say whether it is a volume of an image service, finished or not."""
        return bool(self.metadata.get(IMAGE))

    @property
    def is_finished(self) -> bool:
        """Say whether all data of an image are in it. Those that Cinder made of others by itself say no size."""
        return self.is_image and (SIZE in self.metadata or UPLOAD not in self.metadata)

    @property
    def bytes(self) -> int:
        """The bytes of the image."""
        told = self.metadata.get(SIZE, "")
        return int(told) if told.isdigit() else self.gib * GIB

    @property
    def upload(self) -> VolumeLease | None:
        """The lease of the upload, None for a finished image, and for a volume of others."""
        told = self.metadata.get(UPLOAD)
        return None if told is None or self.is_finished else VolumeLease.read(told)

    def lease_of(self, attachment: str) -> VolumeLease | None:
        """Return the lease of an attachment; None for one of others."""
        told = self.metadata.get(ATTACHED + attachment)
        return None if told is None else VolumeLease.read(told)


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()
