"""What a list of images holds, and in which order (API section 6)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import urlencode

from tests.model.model import Model
from tests.model.records import Actor, Image

SORT_KEYS = ("name", "status", "container_format", "disk_format", "size", "id", "created_at")
"""Without ``updated_at``: the rules do not say which calls move it."""


@dataclass(frozen=True)
class Query:
    """A list that a client asks for; what is None is not asked."""

    visibility: str | None = None
    member_status: str | None = None
    os_hidden: bool | None = None
    owner: str | None = None
    match: tuple[tuple[str, Any], ...] = ()
    """Fields or properties, and the value that each of them must have."""
    tags: tuple[str, ...] = ()
    least: tuple[tuple[str, int], ...] = ()
    most: tuple[tuple[str, int], ...] = ()
    sort: tuple[tuple[str, str], ...] = ()
    classic: bool = False
    """Whether ``sort`` is told by ``sort_key`` and ``sort_dir``."""
    limit: int | None = None

    def text(self) -> str:
        """Return the query string (API sections 6.2 and 6.3)."""
        pairs: list[tuple[str, Any]] = [
            (name, value) for name in ("visibility", "member_status", "os_hidden", "owner", "limit")
            if (value := getattr(self, name)) is not None
        ]
        # Before the first colon stands an operator, so that a name with a colon needs one.
        pairs += [(name, f"eq:{value}" if name == "name" else value) for name, value in self.match]
        pairs += [("tag", tag) for tag in self.tags]
        pairs += [(f"{name}_min", value) for name, value in self.least]
        pairs += [(f"{name}_max", value) for name, value in self.most]
        if self.sort and not self.classic:
            pairs.append(("sort", ",".join(f"{key}:{direction}" for key, direction in self.sort)))
        elif self.sort:
            pairs += [("sort_key", key) for key, _ in self.sort] + [("sort_dir", each) for _, each in self.sort]
        return urlencode([(name, str(value).lower() if isinstance(value, bool) else value) for name, value in pairs])


def expected(model: Model, actor: Actor, query: Query, after: str | None = None) -> list[Image]:
    """Return all images of all pages, in their order; those behind the image ``after`` when it is given."""
    found = [image for image in model.images.values() if _belongs(actor, image, query) and _matches(image, query)]
    if after is None:
        return _sorted(found, query.sort)
    marker = model.images[after]
    with_marker = _sorted([image for image in found if image is not marker] + [marker], query.sort)
    return with_marker[with_marker.index(marker) + 1 :]


def page_size(model: Model, query: Query) -> int:
    """Return the number of images on a full page (API section 6)."""
    return min(model.limits.page if query.limit is None else query.limit, model.limits.largest_page)


def _belongs(actor: Actor, image: Image, query: Query) -> bool:
    """Say whether an image is in the caller's list at all (API section 6.1, S-44, S-45)."""
    if query.visibility not in (None, "all", image.visibility):
        return False
    if image.os_hidden != bool(query.os_hidden):
        return False
    own = image.owner == actor.project
    if image.visibility == "community":
        return own or query.visibility in ("community", "all")
    if actor.is_admin or own or image.visibility == "public":
        return True
    status = image.members.get(actor.project) if image.visibility == "shared" else None
    return status is not None and (query.member_status or "accepted") in (status, "all")


def _matches(image: Image, query: Query) -> bool:
    """Say whether an image meets all filters (API section 6.2)."""
    document = image.document()
    return (
        (query.owner is None or image.owner == query.owner)
        and all(document.get(name) == value for name, value in query.match)
        and set(query.tags) <= image.tags
        and all(document[name] is not None and document[name] >= value for name, value in query.least)
        and all(document[name] is not None and document[name] <= value for name, value in query.most)
    )


def _sorted(images: Sequence[Image], sort: Sequence[tuple[str, str]]) -> list[Image]:
    """Return the images by the keys, then by the time of creation and the id (API section 6.3)."""
    keys = list(sort) or [("created_at", "desc")]
    tie = keys[0][1] if len(keys) == 1 else "desc"
    keys += [(key, tie) for key in ("created_at", "id") if key not in dict(keys)]
    ordered = list(images)
    for key, direction in reversed(keys):
        ordered.sort(key=partial(_rank, key), reverse=direction == "desc")
    return ordered


def _rank(key: str, image: Image) -> Any:
    """Return what an image is compared by; null counts as the empty text or 0."""
    if key == "created_at":
        return image.number
    value = image.document()[key]
    if key == "size":
        return value or 0
    return (value or "").encode()

