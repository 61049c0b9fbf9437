"""The status machines of images, locations and operations: the only tables of what may follow what.

Applied by the registry as compare-and-set; all others only name states.
"""

from enum import StrEnum


class ImageStatus(StrEnum):
    """Status of an image (lifecycle section 1)."""

    QUEUED = "queued"
    SAVING = "saving"
    UPLOADING = "uploading"
    IMPORTING = "importing"
    ACTIVE = "active"
    DEACTIVATED = "deactivated"
    KILLED = "killed"
    PENDING_DELETE = "pending_delete"
    DELETED = "deleted"


class LocationStatus(StrEnum):
    """Status of a location row, the owner of bytes in one store."""

    WRITING = "writing"
    """An attempt is writing; its lease says whether it still lives."""
    ACTIVE = "active"
    """The bytes are durable and belong to an image that can be read."""
    STAGED = "staged"
    """The bytes wait in a staging store for an import; they are not downloaded."""
    QUARANTINED = "quarantined"
    """The bytes were found damaged or missing: they are never served, and kept until an operator decides."""
    PENDING_DELETE = "pending_delete"
    """The image was deleted; the bytes wait for a scrubber."""
    DELETING = "deleting"
    """A scrubber holds the row: the point of no return for restore."""
    REAPING = "reaping"
    """The attempt failed or died; what it left is being removed."""
    DELETED = "deleted"
    """The store holds nothing under this key."""
    FAILED = "failed"
    """Removal failed too often; an operator lists and replays it."""


class OperationStatus(StrEnum):
    """Status of a background operation, which is a task of the API (lifecycle section 6)."""

    PENDING = "pending"
    PROCESSING = "processing"
    SUCCESS = "success"
    FAILURE = "failure"


_I, _L, _O = ImageStatus, LocationStatus, OperationStatus

IMAGE_TRANSITIONS: dict[ImageStatus, frozenset[ImageStatus]] = {
    _I.QUEUED: frozenset(
        {_I.SAVING, _I.UPLOADING, _I.IMPORTING, _I.ACTIVE, _I.KILLED, _I.PENDING_DELETE, _I.DELETED}
    ),
    _I.SAVING: frozenset({_I.ACTIVE, _I.QUEUED, _I.KILLED, _I.PENDING_DELETE, _I.DELETED}),
    _I.UPLOADING: frozenset({_I.IMPORTING, _I.QUEUED, _I.PENDING_DELETE, _I.DELETED}),
    _I.IMPORTING: frozenset({_I.ACTIVE, _I.QUEUED, _I.KILLED, _I.PENDING_DELETE, _I.DELETED}),
    _I.ACTIVE: frozenset({_I.DEACTIVATED, _I.PENDING_DELETE, _I.DELETED}),
    _I.DEACTIVATED: frozenset({_I.ACTIVE, _I.PENDING_DELETE, _I.DELETED}),
    _I.KILLED: frozenset({_I.PENDING_DELETE, _I.DELETED}),
    # Back to the status before the delete, and only by restore.
    _I.PENDING_DELETE: frozenset({_I.DELETED, _I.QUEUED, _I.ACTIVE, _I.DEACTIVATED, _I.KILLED}),
    _I.DELETED: frozenset(),
}

LOCATION_TRANSITIONS: dict[LocationStatus, frozenset[LocationStatus]] = {
    _L.WRITING: frozenset({_L.ACTIVE, _L.STAGED, _L.REAPING, _L.PENDING_DELETE}),
    # Straight to deleting: taken from an image that stays, so that no restore may bring it back.
    _L.ACTIVE: frozenset({_L.PENDING_DELETE, _L.DELETING, _L.QUARANTINED}),
    _L.QUARANTINED: frozenset({_L.ACTIVE, _L.PENDING_DELETE, _L.DELETING}),
    _L.STAGED: frozenset({_L.DELETING}),
    # Restore brings a quarantined copy back as quarantined.
    _L.PENDING_DELETE: frozenset({_L.DELETING, _L.ACTIVE, _L.QUARANTINED}),
    _L.DELETING: frozenset({_L.DELETED, _L.FAILED}),
    _L.REAPING: frozenset({_L.DELETED, _L.FAILED}),
    _L.FAILED: frozenset({_L.DELETING, _L.REAPING}),
    _L.DELETED: frozenset(),
}

OPERATION_TRANSITIONS: dict[OperationStatus, frozenset[OperationStatus]] = {
    _O.PENDING: frozenset({_O.PROCESSING, _O.FAILURE}),
    # Back to pending when a process that stops gives its work to others.
    _O.PROCESSING: frozenset({_O.PENDING, _O.SUCCESS, _O.FAILURE}),
    _O.SUCCESS: frozenset(),
    _O.FAILURE: frozenset(),
}


def may_become(old: ImageStatus, new: ImageStatus) -> bool:
    """Tell whether an image may go from ``old`` to ``new``."""
    return new in IMAGE_TRANSITIONS[old]


def location_sources(target: LocationStatus) -> frozenset[LocationStatus]:
    """Return every location status from which ``target`` may be reached."""
    return frozenset(old for old, new in LOCATION_TRANSITIONS.items() if target in new)


def location_may_become(old: LocationStatus, new: LocationStatus) -> bool:
    """Tell whether a location may go from ``old`` to ``new``."""
    return new in LOCATION_TRANSITIONS[old]
