"""What verify and reconcile know of one copy of the data of an image."""

from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any, Self

from glance_common.model.status import ImageStatus, LocationStatus


class Damage(StrEnum):
    """What is wrong with a copy."""

    DIGEST = "digest"
    """The bytes are others than those of the image."""
    SIZE = "size"
    """There are more or fewer bytes than the image has."""
    MISSING = "missing"
    """The store proved that it holds nothing under the key."""


@dataclass(frozen=True, slots=True)
class StoredCopy:
    """A location that owns its key, with the facts of its image that prove the bytes; sizes in bytes.

    ``size`` is that of the location, None while it is written with an unknown size. ``lent``: an operation may still
    take the copy back.
    """

    id: str
    image_id: str
    store: str
    key: str
    status: LocationStatus
    size: int | None
    fingerprint: str | None
    lent: bool
    image_status: ImageStatus
    image_size: int | None
    owner: str | None
    checksum: str | None
    os_hash_algo: str | None
    os_hash_value: str | None

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> Self:
        """Build a copy from the registry's JSON object; unknown keys are ignored."""
        values = {field.name: document[field.name] for field in fields(cls)}
        values["status"] = LocationStatus(values["status"])
        values["image_status"] = ImageStatus(values["image_status"])
        return cls(**values)


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A location in quarantine, as operators see it; ``copies`` are the good ones that its image has elsewhere.

    ``since`` is a text of the database's clock.
    """

    id: str
    image_id: str
    store: str
    key: str
    size: int | None
    reason: str | None
    since: str
    copies: int

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> Self:
        """Build it from the registry's JSON object; unknown keys are ignored."""
        return cls(**{field.name: document[field.name] for field in fields(cls)})


@dataclass(frozen=True, slots=True)
class OrphanObject:
    """An object in a store that no location owns, as reconcile listed it; ``size`` in bytes."""

    id: str
    store: str
    key: str
    size: int
    since: str = ""

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> Self:
        """Build it from the registry's JSON object; unknown keys are ignored."""
        return cls(**{field.name: document[field.name] for field in fields(cls) if field.name in document})
