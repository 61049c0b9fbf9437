"""The query strings of the lists of the catalogue (metadefs sections 5.3, 7 and 8). Pure."""

from collections.abc import Collection, Mapping
from typing import Any

from glance_api.http.query_string import page_limit
from glance_api.services.metadefs.objects import ObjectQuery
from glance_api.v2.operations import Parameter
from glance_common.model.errors import BadRequest
from glance_common.model.metadef import NAMESPACE_SORT_KEYS, TAG_SORT_KEYS, VISIBILITIES, NamespaceQuery, TagQuery

DIRECTIONS = ("asc", "desc")
OBJECT_VISIBILITIES = ("public", "private", "shared")
"""An object has none of its own: the filter is accepted for old clients, and without effect."""


def _one_of(*values: str) -> dict[str, Any]:
    return {"type": "string", "enum": list(values)}


def _paging(sort_keys: Collection[str], least: int) -> tuple[Parameter, ...]:
    return (
        Parameter("limit", "How many, at most", {"type": "integer", "minimum": least}),
        Parameter("marker", "Name of the last one of the page before"),
        Parameter("sort_key", "What to sort by", _one_of(*sort_keys)),
        Parameter("sort_dir", "Which way", _one_of(*DIRECTIONS)),
    )


RESOURCE_TYPE = Parameter("resource_type", "Name properties as resources of this kind do, with their prefix")
NAMESPACE_PARAMETERS = (
    *_paging(NAMESPACE_SORT_KEYS, 0),
    Parameter("visibility", "Only those with this visibility", _one_of(*VISIBILITIES)),
    Parameter("resource_types", "Only those for one of these kinds of resources, separated by commas"),
)
OBJECT_PARAMETERS = (
    *_paging(TAG_SORT_KEYS, 1), Parameter("visibility", "Without effect", _one_of(*OBJECT_VISIBILITIES))
)
TAG_PARAMETERS = _paging(TAG_SORT_KEYS, 0)


def namespaces(asked: Mapping[str, str], default_limit: int, max_limit: int) -> NamespaceQuery:
    """Return the list of namespaces that the parameters ask for. Raises BadRequest naming the parameter."""
    return NamespaceQuery(
        limit=page_limit(asked.get("limit"), default_limit, max_limit),
        marker=asked.get("marker"),
        sort_key=_choice(asked, "sort_key", NAMESPACE_SORT_KEYS) or "created_at",
        sort_dir=_choice(asked, "sort_dir", DIRECTIONS) or "desc",
        visibility=_choice(asked, "visibility", VISIBILITIES),
        resource_types=tuple(name for name in asked.get("resource_types", "").split(",") if name),
    )


def objects(asked: Mapping[str, str], max_limit: int) -> ObjectQuery:
    """Return the list of objects that the parameters ask for. Raises BadRequest naming the parameter."""
    _choice(asked, "visibility", OBJECT_VISIBILITIES)
    limit = _limit(asked, max_limit)
    if limit == 0:
        raise BadRequest("limit must be a positive number")
    direction = _choice(asked, "sort_dir", DIRECTIONS)
    key = _choice(asked, "sort_key", TAG_SORT_KEYS) or ("created_at" if direction else None)
    return ObjectQuery(limit, asked.get("marker"), key, direction or "desc")  # type: ignore[arg-type]  # checked above


def tags(asked: Mapping[str, str], max_limit: int) -> TagQuery:
    """Return the list of tags that the parameters ask for. Raises BadRequest naming the parameter."""
    return TagQuery(
        limit=_limit(asked, max_limit),
        marker=asked.get("marker"),
        sort_key=_choice(asked, "sort_key", TAG_SORT_KEYS) or "created_at",
        sort_dir=_choice(asked, "sort_dir", DIRECTIONS) or "desc",
    )


def _limit(asked: Mapping[str, str], largest: int) -> int | None:
    """Return what ``limit`` asks for, None without one: clients of these lists do not page unless they say so."""
    return page_limit(asked["limit"], largest, largest) if "limit" in asked else None


def _choice(asked: Mapping[str, str], name: str, allowed: Collection[str]) -> str | None:
    value = asked.get(name)
    if value is not None and value not in allowed:
        raise BadRequest(f"{name}: must be one of {', '.join(allowed)}")
    return value
