"""The query string of a list request in v1 (v1 API section 7). Pure."""

from datetime import UTC, datetime
from typing import Any

from glance_api.http.query_string import SORT_KEYS, page_limit, pairs_of
from glance_api.services.image_queries import ImageQuery
from glance_api.v1.headers import boolean
from glance_api.v1.values import MAX_SIZE, identifier, whole_number
from glance_common.model.errors import BadRequest

PROPERTY = "property-"

_EXACT = ("name", "container_format", "disk_format", "status")
_NUMBERS = {"size_min": ("size", "gte"), "size_max": ("size", "lte"), "min_ram": ("min_ram", "eq"),
            "min_disk": ("min_disk", "eq")}
_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}


def parse(query_string: str, *, is_admin: bool, default_limit: int, max_limit: int) -> ImageQuery:
    """Read the query string as the server got it (still quoted). Raises BadRequest naming the parameter.

    Parameters that are not known are ignored, those of administrators when others give them.
    """
    given = dict(pairs_of(query_string))
    filters: list[tuple[str, str, Any]] = [(name, "eq", given[name]) for name in _EXACT if name in given]
    filters += [
        (field, op, whole_number(name, given[name], MAX_SIZE))
        for name, (field, op) in _NUMBERS.items() if name in given
    ]
    if "protected" in given:
        filters.append(("protected", "eq", _boolean("protected", given["protected"])))
    deleted = "only" if is_admin and boolean(given.get("deleted")) else "no"
    if "changes-since" in given:
        filters.append(("updated_at", "gte", _time("changes-since", given["changes-since"])))
        deleted = "too" if deleted == "no" else deleted
    is_public = _is_public(given.get("is_public", "true"))
    if is_admin and is_public is False:
        filters.append(("visibility", "neq", "public"))
    sees_all = is_admin and is_public is not True
    return ImageQuery(
        limit=page_limit(given.get("limit"), default_limit, max_limit),
        sort=_sort(given.get("sort_key", "created_at"), given.get("sort_dir", "desc")),
        marker=_marker(given.get("marker")),
        filters=tuple(filters),
        properties={
            name.removeprefix(PROPERTY): value for name, value in given.items() if name.startswith(PROPERTY)
        },
        visibility="all" if sees_all else None,
        member_status="all",
        deleted=deleted,
        as_user=is_admin and not sees_all,
    )


def shared_page(query_string: str, max_limit: int) -> tuple[int | None, str | None]:
    """Return limit and marker of a list of shared images, None for what is not given. Raises BadRequest."""
    given = dict(pairs_of(query_string))
    limit = page_limit(given["limit"], max_limit, max_limit) if "limit" in given else None
    return limit, _marker(given.get("marker"))


def _sort(key: str, direction: str) -> tuple[tuple[str, str], ...]:
    if key not in SORT_KEYS:
        raise BadRequest(f"sort_key must be one of {', '.join(SORT_KEYS)}, not {key[:40]!r}")
    if direction not in ("asc", "desc"):
        raise BadRequest(f"sort_dir must be asc or desc, not {direction[:40]!r}")
    return tuple((name, direction) for name in dict.fromkeys((key, "created_at", "id")))


def _marker(value: str | None) -> str | None:
    return None if value is None else identifier("marker", value)


def _boolean(name: str, value: str) -> bool:
    if value.lower() not in _BOOLEANS:
        raise BadRequest(f"{name} must be true or false, not {value[:40]!r}")
    return _BOOLEANS[value.lower()]


def _is_public(value: str) -> bool | None:
    return None if value.lower() == "none" else _boolean("is_public", value)


def _time(name: str, value: str) -> str:
    try:
        # A space is what is left of the + of a time zone that was not quoted.
        time = datetime.fromisoformat(value.replace(" ", "+") if "T" in value else value)
        return time.replace(tzinfo=time.tzinfo or UTC).isoformat()
    except ValueError:
        raise BadRequest(f"{name} must be an ISO 8601 time, not {value[:40]!r}") from None
