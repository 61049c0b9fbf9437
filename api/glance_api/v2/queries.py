"""The query string of a list request: paging, filters and sorting (API section 6). Pure."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from glance_api.http.query_string import SORT_KEYS, Pairs, page_limit, pairs_of
from glance_api.services.image_queries import ImageQuery
from glance_api.v2.operations import Parameter
from glance_common.model.errors import BadRequest
from glance_common.model.image import BASE_VISIBILITIES, MEMBER_STATUSES

DEFAULT_SORT = "created_at"
MAX_BIGINT = 2**63 - 1
_WITH_OPERATOR = ("name", "id", "status", "container_format", "disk_format")
_TIMES = ("created_at", "updated_at")
_TIME_OPERATORS = ("gt", "gte", "lt", "lte", "eq", "neq")
_NUMBERS = ("size", "virtual_size", "min_ram", "min_disk")
_EXACT = ("checksum", "os_hash_value", "os_hash_algo", "owner")
_DELETED = ("status", "eq", "pending_delete")
_PAGING = ("limit", "marker", "sort", "sort_key", "sort_dir")

_NUMBER = {"type": "integer"}
_FLAG = {"type": "string", "enum": ["true", "false"]}


def _choice(*values: str) -> dict[str, Any]:
    return {"type": "string", "enum": list(values)}


_ONE_OR_SEVERAL = "A value, or in:value,value,… for one of several"
_RESTORABLE = "; pending_delete lists the deleted images that the caller may restore"
PARAMETERS = (
    Parameter("limit", "Images on the page, at most", {"type": "integer", "minimum": 0}),
    Parameter("marker", "Last image of the page before", {"type": "string", "format": "uuid"}),
    Parameter("sort", "Keys in order, each with asc or desc: name:asc,size:desc"),
    Parameter("sort_key", "Key to sort by; repeatable; not together with sort", _choice(*SORT_KEYS)),
    Parameter("sort_dir", "Direction of the sort keys; repeatable", _choice("asc", "desc")),
    *(Parameter(name, f"{_ONE_OR_SEVERAL}{more}")
      for name, more in (dict.fromkeys(_WITH_OPERATOR, "") | {"status": _RESTORABLE}).items()),
    *(Parameter(name, f"A time (ISO 8601), or one of {', '.join(_TIME_OPERATORS)}, a colon and a time")
      for name in _TIMES),
    *(Parameter(f"{name}{bound}", description, _NUMBER) for name in _NUMBERS
      for bound, description in (("", "Exactly"), ("_min", "At least"), ("_max", "At most"))),
    *(Parameter(name, "Exact value") for name in _EXACT),
    Parameter("tag", "The image carries this tag; repeatable, all must fit"),
    Parameter("visibility", "All of this visibility that the caller may see", _choice(*BASE_VISIBILITIES, "all")),
    Parameter("member_status", "Which shared images", _choice(*MEMBER_STATUSES, "all")),
    Parameter("protected", "Whether the image is protected from deletion", _FLAG),
    Parameter("os_hidden", "true lists the hidden images only", _FLAG),
)
"""What the OpenAPI document says of the query; any other name is compared with the additional property so named."""

Condition = tuple[str, str, Any]


@dataclass(frozen=True, slots=True)
class ListRequest:
    """A list request: what to ask for, and the client's own parameters (without marker) for the links."""

    query: ImageQuery
    pairs: Pairs


def parse(query_string: str, *, default_limit: int, max_limit: int) -> ListRequest:
    """Read the query string as the server got it (still quoted). Raises BadRequest naming the parameter."""
    pairs = pairs_of(query_string)
    filters = _Filters()
    for name, value in pairs:
        if name not in _PAGING:
            filters.add(name, value)
    # Of a parameter that is given again the last value counts, as for the original's clients.
    last = dict(pairs)
    query = ImageQuery(
        limit=page_limit(last.get("limit"), default_limit, max_limit),
        marker=last.get("marker"),
        sort=_sort(pairs),
        filters=tuple(filters.conditions.values()),
        properties=filters.properties,
        tags=tuple(dict.fromkeys(filters.tags)),
        visibility=filters.visibility,
        member_status=filters.member_status,
        os_hidden=filters.os_hidden,
        deleted="restorable" if filters.conditions.get("status") == _DELETED else "no",
    )
    return ListRequest(query, [pair for pair in pairs if pair[0] != "marker"])


class _Filters:
    """Collects the filters of a request; a later one of the same name replaces the earlier."""

    def __init__(self) -> None:
        self.conditions: dict[str, Condition] = {}
        self.properties: dict[str, str] = {}
        self.tags: list[str] = []
        self.visibility: str | None = None
        self.member_status = "accepted"
        self.os_hidden = False

    def add(self, name: str, value: str) -> None:
        """Take in one parameter. Raises BadRequest."""
        special = _SPECIAL.get(name)
        if special is not None:
            special(self, value)
        elif name in _WITH_OPERATOR:
            self.conditions[name] = _text_condition(name, value)
        elif name in _TIMES:
            self.conditions[name] = _time_condition(name, value)
        elif name in _NUMBERS:
            self.conditions[name] = (name, "eq", _number(name, value))
        elif name in _EXACT:
            self.conditions[name] = (name, "eq", value)
        elif name.endswith(("_min", "_max")):
            self.conditions[name] = _bound(name, value)
        else:
            self.properties[name] = value

    def add_tag(self, value: str) -> None:
        self.tags.append(value)

    def add_visibility(self, value: str) -> None:
        self.visibility = _one_of("visibility", value, (*BASE_VISIBILITIES, "all"))

    def add_member_status(self, value: str) -> None:
        self.member_status = _one_of("member_status", value, (*MEMBER_STATUSES, "all"))

    def add_protected(self, value: str) -> None:
        self.conditions["protected"] = ("protected", "eq", _one_of("protected", value, ("true", "false")) == "true")

    def add_os_hidden(self, value: str) -> None:
        self.os_hidden = _one_of("os_hidden", value.lower(), ("true", "false")) == "true"

    def add_deleted(self, _value: str) -> None:
        """Ignore it: deleted images are never listed."""

    def add_changes_since(self, _value: str) -> None:
        raise BadRequest("changes-since is not supported; use updated_at=gte:<time>")


_SPECIAL: dict[str, Callable[[_Filters, str], None]] = {
    "tag": _Filters.add_tag,
    "visibility": _Filters.add_visibility,
    "member_status": _Filters.add_member_status,
    "protected": _Filters.add_protected,
    "os_hidden": _Filters.add_os_hidden,
    "deleted": _Filters.add_deleted,
    "changes-since": _Filters.add_changes_since,
}


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise BadRequest(f"{name} must be one of {', '.join(allowed)}, not {value[:40]!r}")
    return value


def _number(name: str, text: str) -> int:
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit()) or len(digits) > 19 or int(digits) > MAX_BIGINT:
        raise BadRequest(f"{name} must be an integer of at most 64 bits, not {text[:40]!r}")
    return int(text)


def _bound(name: str, text: str) -> Condition:
    column = name[:-4]
    if column not in _NUMBERS:
        raise BadRequest(f"{name}: {column!r} is not a number of an image; those are {', '.join(_NUMBERS)}")
    return column, "gte" if name.endswith("_min") else "lte", _number(name, text)


def _text_condition(name: str, text: str) -> Condition:
    operator, separator, operand = text.partition(":")
    if not separator or _time(text) is not None:
        return name, "eq", text
    if operator == "eq":
        return name, "eq", operand
    if operator == "in":
        return name, "in", split_list(name, operand)
    raise BadRequest(f"{name}: unknown operator {operator[:40]!r}; a value with a colon needs eq: before it")


def _time_condition(name: str, text: str) -> Condition:
    time = _time(text)
    if time is not None:
        return name, "eq", time
    operator, separator, operand = text.partition(":")
    if not separator or operator not in _TIME_OPERATORS:
        raise BadRequest(f"{name} must be an ISO 8601 time, or {', '.join(_TIME_OPERATORS)}, a colon and one")
    time = _time(operand)
    if time is None:
        raise BadRequest(f"{name}: {operand[:40]!r} is not an ISO 8601 time")
    return name, operator, time


def _time(text: str) -> str | None:
    """Return the time in UTC, None when ``text`` is not one; a time without zone is UTC."""
    try:
        time = datetime.fromisoformat(text)
        time = time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return time.isoformat().replace("+00:00", "Z")


def split_list(name: str, text: str) -> list[str]:
    """Return the values of an ``in:`` filter.

    A value with a comma stands in double quotes, in which a backslash takes the next character as it is. An empty
    element is the empty string.
    """
    values = []
    rest = text
    while True:
        value, rest = _quoted(name, rest) if rest.startswith('"') else _plain(name, rest)
        values.append(value)
        if not rest:
            return values
        rest = rest[1:]


def _plain(name: str, text: str) -> tuple[str, str]:
    value, comma, rest = text.partition(",")
    if '"' in value.replace('\\"', ""):
        raise BadRequest(f"{name}: in a list a comma has to stand before and after a value in quotes")
    return value.replace('\\"', '"'), comma + rest


def _quoted(name: str, text: str) -> tuple[str, str]:
    value: list[str] = []
    characters = iter(enumerate(text[1:], start=1))
    for position, character in characters:
        if character == "\\":
            _, character = next(characters, (0, ""))
        elif character == '"':
            rest = text[position + 1 :]
            if rest and not rest.startswith(","):
                raise BadRequest(f"{name}: in a list a comma has to stand before and after a value in quotes")
            return "".join(value), rest
        value.append(character)
    raise BadRequest(f"{name}: a quote in the list is not closed")


def _sort(pairs: Pairs) -> tuple[tuple[str, str], ...]:
    keys = [value for name, value in pairs if name == "sort_key"]
    directions = [value for name, value in pairs if name == "sort_dir"]
    new_style = [value for name, value in pairs if name == "sort"]
    if new_style:
        if keys or directions:
            raise BadRequest("sort cannot be used together with sort_key and sort_dir")
        split = [item.strip().partition(":") for item in ",".join(new_style).split(",")]
        keys = [key for key, _, _ in split]
        directions = [direction if colon else "desc" for _, colon, direction in split]
    elif not keys:
        keys = [DEFAULT_SORT]
    return _complete(keys, directions)


def _complete(keys: list[str], directions: list[str]) -> tuple[tuple[str, str], ...]:
    """Check keys and directions, and append the tie breakers that make the order total."""
    for key in keys:
        _one_of("the sort key", key, SORT_KEYS)
    for direction in directions:
        _one_of("the sort direction", direction, ("asc", "desc"))
    given = directions[0] if len(directions) == 1 else "desc"
    if len(directions) <= 1:
        directions = [given] * len(keys)
    if len(directions) != len(keys):
        raise BadRequest(f"there are {len(directions)} sort directions for {len(keys)} sort keys")
    order: dict[str, str] = {}
    for key, direction in zip(keys, directions, strict=True):
        order.setdefault(key, direction)
    for key in ("created_at", "id"):
        order.setdefault(key, given)
    return tuple(order.items())
