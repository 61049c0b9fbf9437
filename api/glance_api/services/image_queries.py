"""What a list of images asks for."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class ImageQuery:
    """A list request; ``visibility`` None means what is listed by default."""

    limit: int
    sort: tuple[tuple[str, str], ...]
    marker: str | None = None
    filters: tuple[tuple[str, str, Any], ...] = ()
    properties: Mapping[str, str] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    visibility: str | None = None
    member_status: str = "accepted"
    os_hidden: bool = False
    deleted: str = "no"
    """``only`` and ``too`` list deleted images, ``restorable`` those that the caller may restore."""
    as_user: bool = False
    """An administrator sees what a user of the project sees."""

    def document(self, with_locations: bool) -> dict[str, Any]:
        """Return the query in the words of the registry protocol."""
        document: dict[str, Any] = {
            "limit": self.limit,
            "sort": [list(key) for key in self.sort],
            "filters": [list(condition) for condition in self.filters],
            "properties": dict(self.properties),
            "tags": list(self.tags),
            "member_status": self.member_status,
            "os_hidden": self.os_hidden,
            "locations": with_locations,
        }
        if self.deleted != "no":
            document["deleted"] = self.deleted
        if self.marker is not None:
            document["marker"] = self.marker
        if self.visibility is not None:
            document["visibility"] = self.visibility
        return document
