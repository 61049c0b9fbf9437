"""The filters of a list as SQL: only known columns and operators, everything bound (S-63)."""

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, UUID

from glance_common.model import errors
from glance_registry.db.tables import Text, images

Clause = sa.ColumnElement[bool]

_TEXTS = frozenset({
    "name", "status", "visibility", "owner", "disk_format", "container_format", "checksum", "os_hash_algo",
    "os_hash_value",
})
_NUMBERS = frozenset({"size", "virtual_size", "min_disk", "min_ram"})
_BOOLEANS = frozenset({"protected", "os_hidden"})
_TIMES = frozenset({"created_at", "updated_at"})
_KNOWN = _TEXTS | _NUMBERS | _BOOLEANS | _TIMES | {"id"}
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")

_TEXTS_IN_INDEXES = ("name", "disk_format", "container_format")
IN_INDEXES: dict[str, sa.ColumnElement[Any]] = {
    "size": sa.func.coalesce(images.c.size, sa.literal_column("0", sa.BigInteger())),
    **{name: sa.func.coalesce(images.c[name], sa.literal_column("''", Text)) for name in _TEXTS_IN_INDEXES},
}
"""The columns that are in indexes, and in statistics, with null as the empty text or 0."""

_COMPARE: dict[str, Callable[[Any, Any], Clause]] = {
    "eq": operator.eq, "gt": operator.gt, "gte": operator.ge, "lt": operator.lt, "lte": operator.le,
    "neq": lambda column, value: column.is_distinct_from(value),
}
_OPERATORS = frozenset({*_COMPARE, "in"})


@dataclass(frozen=True, slots=True)
class Filter:
    """One condition on a column. Making it raises BadRequest, naming field and rule, when it is none."""

    field: Any
    op: Any
    value: Any

    def __post_init__(self) -> None:
        if not isinstance(self.field, str) or self.field not in _KNOWN:
            raise errors.BadRequest(f"filters: {self.field!r} is not a column that can be filtered")
        if not isinstance(self.op, str) or self.op not in _OPERATORS:
            raise errors.BadRequest(f"filters: {self.op!r} is not one of {', '.join(sorted(_OPERATORS))}")
        if self.op == "in" and (self.field in _TIMES or not isinstance(self.value, list)):
            raise errors.BadRequest(f"filters: {self.field} in needs a list, and a column that is no time")

    def values(self, number: int) -> dict[str, Any]:
        """Return the parameters of ``filter_clause`` for ``number``; raise BadRequest for a value of the wrong kind."""
        if self.field in _TIMES:
            start, end = _second(self.value)
            return {_name(number): start, _name(number, "end"): end}
        if self.op == "in":
            checked = (_checked(self.field, item) for item in self.value)
            return {_name(number): [item for item in checked if item is not None]}
        return {_name(number): _checked(self.field, self.value)}


def filter_clause(
    field: str,
    op: str,
    number: int,
    created_at: sa.ColumnElement[Any] = images.c.created_at,
    status: sa.ColumnElement[str] = images.c.status,
) -> Clause:
    """Return the condition of every Filter of this field and operator; its values are parameters.

    ``created_at`` is where to look for the time of creation: a table that has a copy of it may have an index of it.
    ``status`` is the status as it is shown.
    """
    column: sa.ColumnElement[Any] = status if field == "status" else images.c[field]
    value: sa.ColumnElement[Any] = sa.bindparam(_name(number))
    end: sa.BindParameter[Any] = sa.bindparam(_name(number, "end"))
    if field == "created_at":
        return _time_clause(created_at, op, value, end)
    if field == "updated_at":
        return _updated(created_at, op, value, end)
    compare = _is_one_of if op == "in" else _COMPARE[op]
    if field in _NUMBERS and op != "in":
        # Larger than the column holds is a number like any other.
        value = sa.cast(value, sa.BigInteger)
    if field in IN_INDEXES and op != "neq":
        # Null counts as the least in the index: only the column itself tells the planner how few "at most" means.
        known = compare(column, value) if op in ("lt", "lte") else column.is_not(None)
        return sa.and_(compare(IN_INDEXES[field], value), known)
    return compare(column, value)


def property_clause() -> Clause:
    """Return the condition that the additional properties hold all of parameter ``properties``."""
    return images.c.properties.op("@>", is_comparison=True)(sa.cast(sa.bindparam("properties"), JSONB))


def property_values(properties: dict[str, Any]) -> dict[str, str]:
    """Return the parameter of ``property_clause``."""
    return {"properties": orjson.dumps(properties).decode()}


def tag_clause() -> Clause:
    """Return the condition that the image carries every tag of parameter ``tags``."""
    return images.c.tags.op("@>", is_comparison=True)(sa.cast(sa.bindparam("tags"), ARRAY(Text)))


def _name(number: int, suffix: str = "value") -> str:
    return f"filter{number}_{suffix}"


def _is_one_of(column: sa.ColumnElement[Any], value: Any) -> Clause:
    if isinstance(column.type, UUID):
        # Ids come as texts and are no uuids until they are cast.
        return column == sa.func.any(sa.cast(sa.cast(value, ARRAY(Text)), ARRAY(column.type)))
    kind = sa.BigInteger() if isinstance(column.type, sa.Integer) else column.type
    return column == sa.func.any(sa.cast(value, ARRAY(kind)))


def _checked(field: str, value: Any) -> Any:
    """Return what to compare the column with; raise BadRequest when it is of the wrong kind.

    What is no uuid at all equals no id, and so does null; the database would refuse to compare it.
    """
    if field in _BOOLEANS:
        right, kind = isinstance(value, bool), "true or false"
    elif field in _NUMBERS:
        right, kind = type(value) is int, "a whole number"
    else:
        right, kind = isinstance(value, str), "a text"
    if not right:
        raise errors.BadRequest(f"filters: {field} is compared with {kind}")
    return None if field == "id" and _UUID.fullmatch(value) is None else value


def _time_clause(column: sa.ColumnElement[Any], op: str, start: Any, end: Any) -> Clause:
    """Return the condition on times where a value stands for all from ``start`` until just before ``end``."""
    clauses: dict[str, Clause] = {
        "eq": sa.and_(column >= start, column < end),
        "neq": sa.or_(column < start, column >= end),
        "gt": column >= end,
        "gte": column >= start,
        "lt": column < start,
        "lte": column < end,
    }
    return clauses[op]


def _updated(created_at: sa.ColumnElement[Any], op: str, start: Any, end: Any) -> Clause:
    """Return the condition on the time of the last change.

    What was last changed by then was created by then: the newest images are no place to look for what is old, and the
    planner cannot know that. A day is more than clocks are set back by between creation and change.
    """
    changed = _time_clause(images.c.updated_at, op, start, end)
    if op not in ("eq", "lt", "lte"):
        return changed
    return sa.and_(changed, created_at < sa.cast(end, created_at.type) + sa.text("interval '1 day'"))


def _second(value: Any) -> tuple[datetime, datetime]:
    """Return start and end of a time as it is shown: one written in whole seconds stands for all of that second.

    Rows hold microseconds, but clients see seconds and send back what they saw.
    """
    try:
        time = datetime.fromisoformat(value)
        start = time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
        return start, start + timedelta(microseconds=1 if start.microsecond else 1_000_000)
    except (TypeError, ValueError, OverflowError):
        raise errors.BadRequest(f"filters: {value!r} is not an ISO 8601 time") from None
