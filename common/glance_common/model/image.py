"""The values that travel between the daemons: images, members, locations."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from operator import itemgetter
from typing import Any, NamedTuple, Self

from glance_common.model.status import ImageStatus

BASE_VISIBILITIES = ("public", "private", "shared", "community")
MEMBER_STATUSES = ("pending", "accepted", "rejected")


@dataclass(frozen=True, slots=True)
class ImageLocation:
    """An active location as the API needs it: which store has the bytes under which key.

    ``fingerprint`` is a fast digest of the bytes, told of a single image only; None of bytes that others wrote.
    """

    id: str
    store: str
    key: str
    metadata: dict[str, Any]
    fingerprint: str | None = None


class Image(NamedTuple):
    """One image row; a tuple, because a list makes a thousand of them, and a frozen dataclass takes twice as long.

    Times are text, ``YYYY-MM-DDThh:mm:ssZ`` in UTC; sizes are bytes, ``min_disk`` GB, ``min_ram`` MB.

    ``member`` is the caller's project when it is a member of this image, else None. ``locations`` are the active ones
    and are filled only when they were asked for. ``row_version`` is the optimistic lock of updates. Only lists of
    restorable images tell ``restorable_until``, of those that can still be restored. ``unseen`` are the properties that
    protections keep from the caller; policy rules see them still.
    """

    id: str
    name: str | None
    status: ImageStatus
    visibility: str
    owner: str | None
    disk_format: str | None
    container_format: str | None
    size: int | None
    virtual_size: int | None
    min_disk: int
    min_ram: int
    protected: bool
    os_hidden: bool
    checksum: str | None
    os_hash_algo: str | None
    os_hash_value: str | None
    created_at: str
    updated_at: str
    row_version: int
    properties: dict[str, str | None]
    tags: list[str]
    deleted_at: str | None = None
    member: str | None = None
    locations: tuple[ImageLocation, ...] = ()
    restorable_until: str | None = None
    unseen: tuple[tuple[str, str | None], ...] = ()

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> Self:
        """Build an image from the registry's JSON object; unknown keys are ignored so that versions may differ.

        The object is used up: its status becomes one of ours.
        """
        document["status"] = _STATUSES[document["status"]]
        locations = _locations(document["locations"]) if "locations" in document else ()
        return cls._make((*_IN_ORDER(document), locations, None, ()))

    @classmethod
    def from_rows(cls, names: Sequence[str], rows: Sequence[list[Any]]) -> list[Self]:
        """Build the images of a page from lists of values whose ``names`` are told once; unknown ones are ignored.

        The rows are used up.
        """
        in_order = itemgetter(*map(names.index, _ALWAYS))
        status = names.index("status")
        locations = names.index("locations") if "locations" in names else None
        until = names.index("restorable_until") if "restorable_until" in names else None
        images = []
        for row in rows:
            row[status] = _STATUSES[row[status]]
            places = () if locations is None else _locations(row[locations])
            images.append(cls._make((*in_order(row), places, None if until is None else row[until], ())))
        return images


@dataclass(frozen=True, slots=True)
class ImagePage:
    """Images of one page; ``has_more``: the page is full, by its limit or by its bytes, and others may follow."""

    images: list[Image]
    has_more: bool


def _locations(documents: list[dict[str, Any]]) -> tuple[ImageLocation, ...]:
    return tuple(
        ImageLocation(loc["id"], loc["store"], loc["key"], loc["metadata"], loc.get("fingerprint")) for loc in documents
    )


_STATUSES = {status.value: status for status in ImageStatus}
_ALWAYS = Image._fields[:-3]
"""The fields that every answer of the registry has."""
_IN_ORDER = itemgetter(*_ALWAYS)


@dataclass(frozen=True, slots=True)
class NewLocation:
    """A location to register: ``id`` is new, ``size`` bytes as its store reports them.

    ``external``: the store deletes nothing, so several images may point at the same bytes.
    """

    id: str
    store: str
    key: str
    size: int
    metadata: dict[str, Any]
    external: bool


@dataclass(frozen=True, slots=True)
class Member:
    """A project with which an image is shared; with ``can_share`` it may share it further (v1)."""

    image_id: str
    member: str
    status: str
    created_at: str
    updated_at: str
    can_share: bool = False

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> Self:
        """Build a member from the registry's JSON object."""
        return cls(**{field.name: document[field.name] for field in fields(cls)})


@dataclass(frozen=True, slots=True)
class Upload:
    """A running attempt to store the data of an image: its location row and the image as the attempt found it."""

    attempt: str
    location: ImageLocation
    image: Image


@dataclass(frozen=True, slots=True)
class Deletion:
    """Bytes whose removal one scrubber has claimed with ``token``; ``attempts`` counts failed removals so far."""

    location: str
    image_id: str
    store: str
    key: str
    token: str
    attempts: int
    request_id: str | None = None

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> Self:
        """Build a claim from the registry's JSON object; unknown keys are ignored."""
        return cls(**{field.name: document[field.name] for field in fields(cls)})


@dataclass(frozen=True, slots=True)
class Due:
    """Locations whose bytes may be removed now, oldest first; ``oldest``: seconds since the longest due one is due."""

    locations: tuple[str, ...]
    oldest: float


@dataclass(frozen=True, slots=True)
class FailedPurge:
    """Bytes whose purge failed ``attempts`` times and waits for an operator; ``last_error`` holds no credentials."""

    location: str
    image_id: str
    store: str
    attempts: int
    last_error: str | None

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> Self:
        """Build it from the registry's JSON object; unknown keys are ignored."""
        return cls(**{field.name: document[field.name] for field in fields(cls)})
