"""What the machine draws: usual values, and those at the edges of the rules."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from hypothesis import strategies as st
from tests.model import fields, lists
from tests.model.lists import Query
from tests.model.records import MEMBER_STATUSES, OCTETS, V20, V21, Limits

LIMITS = Limits(properties=5, tags=4, members=2, image_size=2000, project_size=4500, page=3, largest_page=7)

PRESENT = "present"
"""Stands for a member or a tag that the image has."""

_NAMES = ("a", "A", "b", "a,b", "a:b", 'q"q', "%", "_", "ä", "🙂", "", "x" * 255)
_PROPERTIES = ("p", "P", "q/r", "s~t", "ü", "six", "seven", "x" * 255)
_TEXTS = ("", "1", "2", "two words", "🙂", "null")
_NUMBERS = (0, 1, 2, 2**31 - 1)
_PEOPLE = ("alice", "bob", "carol", "admin")


def new_id() -> str:
    """Return an id that no image had."""
    return str(uuid4())


names = st.sampled_from((None, *_NAMES))
visibilities = st.sampled_from((*fields.VISIBILITIES, "shared", "shared"))
projects = st.sampled_from((*_PEOPLE, PRESENT, PRESENT, PRESENT))
tags = st.sampled_from((PRESENT, PRESENT, PRESENT, "t", "T", "a/b", "..", "ü🏷", "five", "x" * 255, "x" * 256))
members = st.sampled_from((*_PEOPLE * 3, "another", "x" * 255, "", "x" * 256, 7, None))
member_statuses = st.sampled_from((*MEMBER_STATUSES * 4, "ACCEPTED", "", None, 1))
media = st.sampled_from((V21, V21, V21, V20))

_disk_formats = st.sampled_from(("raw", "raw", "raw", "aki", "qcow2", None))
_container_formats = st.sampled_from(("bare", "bare", "bare", "aki", None))
_tag_lists = st.lists(st.sampled_from(("t", "T", "a/b", "ü🏷", "five")), max_size=5)

documents = st.fixed_dictionaries(
    {"disk_format": st.just("raw"), "container_format": st.just("bare")},
    optional={
        "name": names, "visibility": visibilities, "protected": st.sampled_from((False, False, True)),
        "os_hidden": st.sampled_from((False, False, True)), "min_ram": st.sampled_from(_NUMBERS),
        "min_disk": st.sampled_from(_NUMBERS), "tags": _tag_lists, "p": st.sampled_from(_TEXTS),
        "q/r": st.sampled_from(_TEXTS),
    },
)
"""Documents of new images that nearly always can be created."""

_ODD: tuple[tuple[str, Any], ...] = (
    ("name", 5), ("name", "x" * 256), ("name", "a\0"), ("name", ["a"]), ("visibility", "hidden"), ("visibility", None),
    ("protected", "true"), ("protected", 1), ("os_hidden", None), ("owner", "bob"), ("owner", "alice"), ("owner", None),
    ("owner", 3), ("disk_format", "nope"), ("disk_format", None), ("disk_format", "qcow2"), ("disk_format", "aki"),
    ("container_format", "BARE"), ("container_format", None), ("min_ram", -1), ("min_ram", 2**31), ("min_ram", "1"),
    ("min_disk", True), ("min_disk", None), ("min_disk", 2**64), ("tags", "t"), ("tags", ["x" * 256]), ("tags", [1]),
    ("tags", None), ("tags", ["t\0"]), ("id", "not an id"), ("id", None), ("p", None), ("p", 1), ("p", ["1"]),
    ("p", "a\0"), ("", "1"), ("x" * 256, "1"), ("os_glance_import_task", "1"), ("os_hash_algo", "md5"),
    ("os_hash_other", "1"), ("status", "active"), ("checksum", "0" * 32), ("size", 1), ("virtual_size", None),
    ("created_at", "2020-01-01T00:00:00Z"), ("locations", []), ("location", "x"), ("deleted", "x"), ("self", "x"),
    ("file", "x"), ("schema", "x"), ("direct_url", "x"), ("stores", "x"), ("P", "1"), ("six", "1"), ("s~t", "1"),
)
"""Fields with values that are wrong, or that change what the image can do."""


def odd_pair(number: int) -> tuple[str, Any]:
    """Return one of the fields with an odd value."""
    return _ODD[number]


# By number: what hypothesis writes of a strategy would be longer than it likes.
_odd_pairs = st.integers(0, len(_ODD) - 1).map(odd_pair)
odd_fields = st.one_of(st.just({}), st.just({}), st.just({}), _odd_pairs.map(lambda pair: dict([pair])))

_usual_changes = st.one_of(
    st.tuples(st.just("name"), names),
    st.tuples(st.just("visibility"), visibilities),
    st.tuples(st.sampled_from(("protected", "os_hidden")), st.booleans()),
    st.tuples(st.sampled_from(("min_ram", "min_disk")), st.sampled_from(_NUMBERS)),
    st.tuples(st.just("tags"), _tag_lists),
    st.tuples(st.just("disk_format"), _disk_formats),
    st.tuples(st.just("container_format"), _container_formats),
    st.tuples(st.just("owner"), st.sampled_from((*_PEOPLE, None))),
    st.tuples(st.sampled_from(_PROPERTIES), st.sampled_from(_TEXTS)),
    st.tuples(st.sampled_from(_PROPERTIES), st.sampled_from(_TEXTS)),
)
_changes = st.one_of(_usual_changes, _usual_changes, _usual_changes, _odd_pairs)


def operation(drawn: tuple[str, tuple[str, Any]]) -> dict[str, Any]:
    """Return the operation of a PATCH that does something with a field and a value."""
    how, (name, value) = drawn
    path = "/" + name.replace("~", "~0").replace("/", "~1")
    return {"op": how, "path": path} if how == "remove" else {"op": how, "path": path, "value": value}


operations = st.lists(
    st.tuples(st.sampled_from(("add", "add", "replace", "replace", "remove")), _changes).map(operation), max_size=4
)

data = st.builds(
    lambda size, first: bytes([first]) * size,
    st.sampled_from((0, 1, 10, 700, 700, 1999, 2000, 2001)), st.integers(1, 3),
)
"""Data that look like no known format."""
named_sizes = st.sampled_from((*(None,) * 20, "10", "0", "2000", "2001", "-1", "x"))
upload_headers = st.builds(
    lambda media, chunked: {"Content-Type": media, **({"Transfer-Encoding": "chunked"} if chunked else {})},
    st.sampled_from((*(OCTETS,) * 19, "application/json")), st.booleans(),
)
ranges = st.sampled_from((
    *(None,) * 5, "bytes=0-0", "bytes=0-", "bytes=5-9", "bytes=9-100000", "bytes=-1", "bytes=-100000", "bytes=-0",
    "bytes=10-", "bytes=9-5", "bytes=0-1,3-4", "bytes=x", "bytes=-", "bytes=99999-",
))

_matches = st.one_of(
    st.tuples(st.just("name"), st.sampled_from(_NAMES)),
    st.tuples(st.just("status"), st.sampled_from(("queued", "active", "deactivated"))),
    st.tuples(st.just("disk_format"), st.sampled_from(("raw", "aki", "qcow2"))),
    st.tuples(st.just("container_format"), st.sampled_from(("bare", "aki"))),
    st.tuples(st.just("protected"), st.booleans()),
    st.tuples(st.sampled_from(("min_ram", "min_disk")), st.sampled_from(_NUMBERS)),
    st.tuples(st.just("size"), st.sampled_from((0, 1, 10, 2000))),
    st.tuples(st.sampled_from(("p", "q/r", "ü")), st.sampled_from(_TEXTS)),
)
_bounds = st.tuples(st.sampled_from(("size", "min_ram", "min_disk")), st.sampled_from((0, 1, 2, 1000)))
_sorts = st.lists(
    st.tuples(st.sampled_from(lists.SORT_KEYS), st.sampled_from(("asc", "desc"))),
    max_size=3, unique_by=lambda pair: pair[0],
).map(tuple)


def _few(one: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    """Return a strategy of nothing, or one of what is drawn."""
    return st.one_of(st.just(()), st.just(()), st.just(()), one.map(lambda value: (value,)))


queries = st.builds(
    Query,
    visibility=st.sampled_from((None, None, "all", *fields.VISIBILITIES)),
    member_status=st.sampled_from((None, None, "all", *MEMBER_STATUSES)),
    os_hidden=st.sampled_from((None, None, None, False, True)),
    owner=st.sampled_from((*(None,) * 6, "alice", "bob")),
    match=_few(_matches),
    tags=st.sampled_from(((), (), (), ("t",), ("T",), ("t", "T"), ("ü🏷",), ("a/b",))),
    least=_few(_bounds), most=_few(_bounds), sort=_sorts, classic=st.booleans(),
    limit=st.sampled_from((None, None, 0, 1, 2, 5, 1000)),
)
"""Lists; ``owner`` is the name of an actor, whose project has another name in each life."""

wrong_queries = st.sampled_from((
    "limit=x", "limit=-1", "marker=nonsense", "sort_key=owner", "sort=name:up", "sort=name:asc&sort_key=id",
    "sort_dir=up", "sort_key=name&sort_key=id&sort_dir=asc&sort_dir=asc&sort_dir=asc", "visibility=hidden",
    "member_status=maybe", "os_hidden=perhaps", "protected=TRUE", "name=x:y", "size_min=x", "unknown_min=1",
    "created_at=gt:yesterday", "created_at=around:2020-01-01T00:00:00Z", "name=in:%22a", "changes-since=2020-01-01",
))
"""Query strings that no list takes (API sections 6, 6.2 and 6.3)."""
