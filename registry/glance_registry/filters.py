"""From the filters of a list to SQL: only known columns and operators, everything bound (S-63)."""

import operator
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from glance_common import errors
from glance_registry.db.tables import Text, images

Clause = sa.ColumnElement[bool]
Compare = Callable[[Any, Any], Clause]

_TEXTS = frozenset({
    "name", "status", "visibility", "owner", "disk_format", "container_format", "checksum", "os_hash_algo",
    "os_hash_value",
})
_NUMBERS = frozenset({"size", "virtual_size", "min_disk", "min_ram"})
_BOOLEANS = frozenset({"protected", "os_hidden"})
_TIMES = frozenset({"created_at", "updated_at"})
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")

# A text of ours: SQLAlchemy's own swallows the other clauses, joins included, and then warns of a missing join.
_NEVER = sa.literal_column("false", sa.Boolean())

_COMPARE: dict[str, Compare] = {
    "eq": operator.eq, "gt": operator.gt, "gte": operator.ge, "lt": operator.lt, "lte": operator.le,
    "neq": lambda column, value: column.is_distinct_from(value),
}


def column_filter(field: Any, op: Any, value: Any) -> Clause:
    """Return the clause for one filter ``[field, op, value]``; raise BadRequest naming field and rule."""
    if field not in _TEXTS | _NUMBERS | _BOOLEANS | _TIMES | {"id"}:
        raise errors.BadRequest(f"filters: {field!r} is not a column that can be filtered")
    column = images.c[field]
    if op == "in":
        if not isinstance(value, list):
            raise errors.BadRequest(f"filters: {field} in needs a list")
        return sa.or_(_NEVER, *(column_filter(field, "eq", item) for item in value)) if field in _TIMES else (
            column.in_([item for item in value if _checked(field, item)])
        )
    if op not in _COMPARE:
        raise errors.BadRequest(f"filters: {op!r} is not an operator; known are {', '.join(_COMPARE)}, in")
    if field in _TIMES:
        return _time_filter(column, op, value)
    # What is no uuid at all equals no id; the database would refuse to compare it.
    if not _checked(field, value):
        return sa.true() if op == "neq" else _NEVER
    return _COMPARE[op](column, value)


def property_filter(properties: dict[str, Any]) -> Clause:
    """Return the clause for images that have all these additional properties with just these values."""
    return images.c.properties.op("@>", is_comparison=True)(
        sa.cast(sa.literal(orjson.dumps(properties).decode(), sa.Text()), JSONB)
    )


def tag_filter(tags: list[str]) -> Clause:
    """Return the clause for images that carry every one of ``tags``."""
    return images.c.tags.op("@>", is_comparison=True)(sa.cast(tags, ARRAY(Text)))


def _checked(field: str, value: Any) -> bool:
    """Tell whether ``value`` may be compared with the column; raise BadRequest when it is of the wrong kind."""
    if field in _BOOLEANS:
        right, kind = isinstance(value, bool), "true or false"
    elif field in _NUMBERS:
        right, kind = type(value) is int, "a whole number"
    else:
        right, kind = isinstance(value, str), "a text"
    if not right:
        raise errors.BadRequest(f"filters: {field} is compared with {kind}")
    return field != "id" or _UUID.fullmatch(value) is not None


def _time_filter(column: sa.ColumnElement[Any], op: str, value: Any) -> Clause:
    """Compare times as they are shown: one written in whole seconds stands for all of that second.

    Rows hold microseconds, but clients see seconds and send back what they saw.
    """
    start = _time(value)
    try:
        end = start + timedelta(microseconds=1 if start.microsecond else 1_000_000)
    except OverflowError:
        raise errors.BadRequest(f"filters: the time {value} is out of range") from None
    match op:
        case "eq":
            return sa.and_(column >= start, column < end)
        case "neq":
            return sa.or_(column < start, column >= end)
        case "gt":
            return column >= end
        case "gte":
            return column >= start
        case "lt":
            return column < start
        case _:
            return column < end


def _time(value: Any) -> datetime:
    try:
        time = datetime.fromisoformat(value)
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        raise errors.BadRequest(f"filters: {value!r} is not an ISO 8601 time") from None
