"""Locations in the registry: what users register, describe, reorder and take away."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from glance_common.model.context import RequestContext
from glance_common.model.image import Image, NewLocation
from glance_common.model.limits import Limits
from glance_common.registry_client.http import RegistryHttp, segment
from glance_common.registry_client.usage import with_limits


@dataclass(frozen=True, slots=True)
class HashingOperation:
    """The operation that hashes the data of the first location: its id, the task's input (without credentials), and
    the hours to show it after its end. ``before_active``: the image becomes active only when it succeeds; ``is_done``:
    nothing is to be hashed, and it has succeeded."""

    id: str
    input: dict[str, Any]
    ttl: int
    before_active: bool
    is_done: bool = False


@dataclass(frozen=True, slots=True)
class LocationEdit:
    """What changes: ``metadata`` and ``remove`` name locations by id, ``order`` has the ids of all that are there then.

    ``data`` is size and digests of the image, given only with its first location; ``hashing`` is the operation that
    hashes the data. ``changes`` are columns of the image that are written in the same step.
    """

    order: Sequence[str]
    add: Sequence[NewLocation] = ()
    metadata: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    remove: Sequence[str] = ()
    data: Mapping[str, Any] = field(default_factory=dict)
    changes: Mapping[str, Any] = field(default_factory=dict)
    hashing: HashingOperation | None = None


class LocationsClient:
    """Edits the locations of images. Every call may be repeated with the same attempt id."""

    def __init__(self, http: RegistryHttp) -> None:
        self._http = http

    def edit(
        self,
        context: RequestContext,
        image_id: str,
        attempt: str,
        row_version: int,
        edit: LocationEdit,
        *,
        limits: Limits | None = None,
    ) -> Image:
        """Do the edit of the image as it was read, in one step; return the image.

        A queued image becomes active with its first location, or importing until its hashing succeeds. What is removed
        is due at once. Raises NotFound, VersionConflict, StatusConflict, Forbidden for the last location, Duplicate
        when another row owns the bytes, Conflict when another operation works on the image, TooLarge when the image
        then exceeds the ``limits`` of its owner.
        """
        body = {
            "attempt": attempt,
            "row_version": row_version,
            "changes": dict(edit.changes),
            "data": dict(edit.data),
            "add": [asdict(location) for location in edit.add],
            "metadata": dict(edit.metadata),
            "remove": list(edit.remove),
            "order": list(edit.order),
            **with_limits(limits),
            "hashing": None if edit.hashing is None else asdict(edit.hashing),
        }
        answer = self._http.call(context, "POST", f"/v1/images/{segment(image_id)}/locations", body)
        return Image.from_document(answer["image"])
