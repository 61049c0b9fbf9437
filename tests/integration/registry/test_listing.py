"""Pages of images: order, markers and filters against plain Python, and what a page costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import uuid4

import orjson
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.registry_rows import ADMIN, OWNER, clear, insert_image, insert_members, page

from glance_common.model import errors
from glance_common.model.context import RequestContext
from glance_registry.db.session import read
from glance_registry.db.tables import images as image_rows
from glance_registry.images import crud
from glance_registry.images.filters import Filter
from glance_registry.images.listing import ListingQuery

START = datetime(2026, 1, 1, tzinfo=UTC)
KEYS = ("name", "status", "container_format", "disk_format", "size", "id", "created_at", "updated_at")
FEWER = settings(
    max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)

image = st.fixed_dictionaries({
    "name": st.sampled_from([None, "", "a", "B", "ä", "a b", "z%_", "\U0001f600"]),
    "status": st.sampled_from(["active", "queued", "saving"]),
    "disk_format": st.sampled_from([None, "raw", "qcow2"]),
    "container_format": st.sampled_from([None, "bare"]),
    "size": st.sampled_from([None, 0, 1, 2**40]),
    "visibility": st.sampled_from(["public", "private", "shared", "community"]),
    "owner": st.sampled_from(["own", "other"]),
    "created_at": st.integers(0, 3).map(lambda seconds: START + timedelta(seconds=seconds)),
    "updated_at": st.integers(0, 3).map(lambda seconds: START + timedelta(seconds=seconds)),
})
worlds = st.lists(image, min_size=1, max_size=25)
sorts = st.lists(st.tuples(st.sampled_from(KEYS), st.sampled_from(["asc", "desc"])), max_size=4).map(
    lambda keys: tuple({**dict(keys), "id": dict(keys).get("id", "desc")}.items())
)


def write(engine: sa.Engine, world: list[dict[str, Any]]) -> list[dict[str, Any]]:
    clear(engine)
    rows = [{**row, "id": str(uuid4()), "create_attempt": str(uuid4())} for row in world]
    with engine.begin() as connection:
        connection.execute(image_rows.insert(), rows)
    return rows


def listed(engine: sa.Engine, caller: RequestContext, query: ListingQuery) -> list[str]:
    return [str(image["id"]) for image in page(engine, caller, query)]


def in_order(rows: list[dict[str, Any]], sort: Sequence[tuple[str, str]]) -> list[str]:
    """Sort bytewise, null as the empty text or 0: the last key first, because sorting is stable."""
    for key, direction in reversed(sort):
        rows = sorted(rows, key=partial(sort_value, key), reverse=direction == "desc")
    return [row["id"] for row in rows]


def sort_value(key: str, row: dict[str, Any]) -> Any:
    value = row[key]
    if value is None:
        value = 0 if key == "size" else ""
    return value.encode() if isinstance(value, str) else value


@FEWER
@given(world=worlds, sort=sorts, limit=st.integers(1, 7), everything=st.booleans())
def test_pages_put_together_are_the_whole_list_in_order(
    engine: sa.Engine, world: list[dict[str, Any]], sort: tuple[tuple[str, str], ...], limit: int, everything: bool
) -> None:
    rows = write(engine, world)
    for row in rows:
        if row["owner"] == "other" and row["visibility"] == "shared":
            insert_members(engine, row["id"], {"own": "accepted"})
    visible = [row for row in rows if row["owner"] == "own" or row["visibility"] in ("public", "shared") or (
        everything and row["visibility"] == "community"
    )]
    query = ListingQuery(limit, sort=sort, visibility="all" if everything else None)
    found: list[str] = []
    while page := listed(engine, OWNER, query):
        found += page
        assert len(page) <= limit
        assert len(found) <= len(rows), "a page that was shown already"
        query = replace(query, marker=page[-1])
    assert found == in_order(visible, sort)


COMPARE: dict[str, Any] = {
    "eq": lambda a, b: a == b, "neq": lambda a, b: a != b,
    "gt": lambda a, b: a is not None and a > b, "gte": lambda a, b: a is not None and a >= b,
    "lt": lambda a, b: a is not None and a < b, "lte": lambda a, b: a is not None and a <= b,
    "in": lambda a, b: a in b,
}
filters = st.one_of(
    st.tuples(
        st.sampled_from(["name", "disk_format", "status", "owner"]), st.sampled_from(["eq", "neq"]),
        st.sampled_from(["", "a", "B", "raw", "active", "own", "' OR 1=1 --", "%", "$1", "%(project)s"]),
    ),
    st.tuples(
        st.sampled_from(["name", "disk_format", "status"]), st.just("in"),
        st.lists(st.sampled_from(["", "a", "raw", "active", "a,b", '"', "{}"]), max_size=3),
    ),
    st.tuples(
        st.sampled_from(["size", "min_ram"]), st.sampled_from(["eq", "neq", "gt", "gte", "lt", "lte"]),
        st.sampled_from([0, 1, 2**40, 2**62]),
    ),
    st.tuples(st.just("size"), st.just("in"), st.lists(st.sampled_from([0, 1, 5]), max_size=2)),
)


@FEWER
@given(world=worlds, wanted=st.lists(filters, max_size=3), sort=sorts, limit=st.integers(1, 7))
def test_filters_are_all_met_and_what_they_find_is_in_order(
    engine: sa.Engine, world: list[dict[str, Any]], wanted: list[tuple[str, str, Any]],
    sort: tuple[tuple[str, str], ...], limit: int,
) -> None:
    rows = write(engine, world)
    query = ListingQuery(limit, sort=sort, visibility="all", filters=tuple(Filter(*one) for one in wanted))
    expected = in_order([
        row for row in rows if all(COMPARE[op](row.get(field, 0), value) for field, op, value in wanted)
    ], sort)
    found = listed(engine, ADMIN, query)
    assert found == expected[:limit]
    if found:
        assert listed(engine, ADMIN, replace(query, marker=found[-1])) == expected[limit:2 * limit]


def test_a_marker_of_another_name_starts_where_its_name_stands(engine: sa.Engine) -> None:
    first, second = insert_image(engine, name="b"), insert_image(engine, name="b")
    before, behind = insert_image(engine, name="a"), insert_image(engine, name="c")
    query = ListingQuery(
        9, sort=(("name", "asc"), ("created_at", "asc"), ("id", "asc")), filters=(Filter("name", "eq", "b"),)
    )
    assert listed(engine, OWNER, query) == [first, second]
    assert listed(engine, OWNER, replace(query, marker=before)) == [first, second]
    assert listed(engine, OWNER, replace(query, marker=first)) == [second]
    assert listed(engine, OWNER, replace(query, marker=behind)) == []


@pytest.mark.parametrize(
    ("op", "expected"), [("eq", "b"), ("neq", "acd"), ("gt", "cd"), ("gte", "bcd"), ("lt", "a"), ("lte", "ab")]
)
def test_a_time_in_whole_seconds_stands_for_that_second(engine: sa.Engine, op: str, expected: str) -> None:
    """Clients see seconds and rows hold microseconds."""
    for name, offset in (("a", -0.5), ("b", 0.25), ("c", 1.0), ("d", 2.0)):
        insert_image(engine, name=name, created_at=START + timedelta(seconds=offset))
    for written in ("2026-01-01T00:00:00Z", "2026-01-01T01:00:00+01:00", "2026-01-01 00:00:00"):
        found = page(engine, OWNER, ListingQuery(9, filters=(Filter("created_at", op, written),)))
        assert "".join(sorted(image["name"] for image in found)) == expected


def test_what_is_not_set_differs_from_every_value(engine: sa.Engine) -> None:
    unset, other = insert_image(engine, name=None, size=None), insert_image(engine, name="b", size=2)
    insert_image(engine, name="a", size=1)
    for condition in (Filter("name", "neq", "a"), Filter("size", "neq", 1)):
        assert set(listed(engine, OWNER, ListingQuery(9, filters=(condition,)))) == {unset, other}
    assert listed(engine, OWNER, ListingQuery(9, filters=(Filter("name", "eq", ""),))) == []


def test_properties_and_tags_must_all_be_there(engine: sa.Engine) -> None:
    both = insert_image(engine, properties={"a": "1", "b": "2"}, tags=["x", "y,z"])
    one = insert_image(engine, properties={"a": "1"}, tags=["x"])
    insert_image(engine, properties={"b": "1"}, tags=["y"])
    assert set(listed(engine, OWNER, ListingQuery(9, properties={"a": "1"}))) == {both, one}
    assert listed(engine, OWNER, ListingQuery(9, properties={"a": "1", "b": "2"})) == [both]
    assert listed(engine, OWNER, ListingQuery(9, properties={"a": "2"})) == []
    assert set(listed(engine, OWNER, ListingQuery(9, tags=["x"]))) == {both, one}
    assert listed(engine, OWNER, ListingQuery(9, tags=["x", "y,z"], properties={"a": "1"})) == [both]


def test_ids_are_compared_whatever_their_case_and_what_is_none_equals_none(engine: sa.Engine) -> None:
    image_id = insert_image(engine)
    assert listed(engine, OWNER, ListingQuery(9, filters=(Filter("id", "eq", image_id.upper()),))) == [image_id]
    assert listed(engine, OWNER, ListingQuery(9, filters=(Filter("id", "in", ["no id", image_id]),))) == [image_id]
    assert listed(engine, OWNER, ListingQuery(9, filters=(Filter("id", "eq", "no id"),))) == []


WAITING = [
    # Deleted with a delay, the status before, and what is shown (lifecycle sections 2 and 4).
    (True, "active", "pending_delete"), (True, "deactivated", "pending_delete"), (True, "saving", "deleted"),
    (True, "uploading", "deleted"), (True, "importing", "deleted"), (True, "killed", "deleted"),
    (False, "active", "deleted"), (False, "deactivated", "deleted"),
]


def test_only_data_that_are_kept_make_a_deleted_image_wait(engine: sa.Engine) -> None:
    """What a scrubber has still to remove is no business of clients: in documents, filters, order and markers."""
    shown = {
        insert_image(
            engine, status="pending_delete", delayed=delayed, status_before_delete=before, deleted_at=START,
            properties={"x": "y" * size},
        ): status
        for delayed, before, status in WAITING for size in (1, 40_000)
    }
    shown[insert_image(engine, status="deleted", deleted_at=START)] = "deleted"
    shown[insert_image(engine)] = "active"
    everything = ListingQuery(99, sort=(("status", "asc"), ("id", "asc")), deleted="too")
    rows = page(engine, ADMIN, everything)
    assert {row["id"]: row["status"] for row in rows} == shown
    assert [(row["status"], row["id"]) for row in rows] == sorted((status, each) for each, status in shown.items())
    for status in ("deleted", "pending_delete", "active"):
        wanted = [each for each in sorted(shown) if shown[each] == status]
        found = replace(everything, filters=(Filter("status", "eq", status),))
        assert listed(engine, ADMIN, found) == wanted
        others = replace(everything, filters=(Filter("status", "neq", status),))
        assert len(listed(engine, ADMIN, others)) == len(shown) - len(wanted)
        inside = replace(everything, filters=(Filter("status", "in", [status]),))
        assert listed(engine, ADMIN, inside) == wanted
    paged, marker = list[str](), None
    while part := listed(engine, ADMIN, replace(everything, limit=3, marker=marker)):
        paged, marker = paged + part, part[-1]
    assert paged == [row["id"] for row in rows]
    for image_id, status in shown.items():
        document = orjson.loads(read(engine, crud.get, ADMIN, image_id, deleted=True))
        assert document["status"] == status


def test_a_marker_must_exist_and_be_visible(engine: sa.Engine) -> None:
    deleted, foreign = insert_image(engine, status="deleted"), insert_image(engine, owner="other")
    for marker in (str(uuid4()), deleted):
        with pytest.raises(errors.BadRequest, match="marker"):
            listed(engine, OWNER, ListingQuery(9, marker=marker))
    with pytest.raises(errors.Forbidden, match="marker"):
        listed(engine, OWNER, ListingQuery(9, marker=foreign))
    with pytest.raises(errors.Forbidden, match="marker"):
        listed(engine, OWNER, ListingQuery(0, marker=foreign))
    assert listed(engine, ADMIN, ListingQuery(9, marker=foreign)) == []


def test_a_limit_of_zero_is_an_empty_page(engine: sa.Engine) -> None:
    insert_image(engine)
    assert listed(engine, OWNER, ListingQuery(0)) == []


def test_the_document_is_whole(engine: sa.Engine) -> None:
    image_id = insert_image(
        engine, name='quote " and \\ and \U0001f600', properties={"k": "v", "empty": ""}, tags=["t"], min_ram=5,
        created_at=START, updated_at=START, size=2**60,
    )
    [document] = page(engine, OWNER, ListingQuery(1, locations=True))
    assert document == {
        "id": image_id, "name": 'quote " and \\ and \U0001f600', "status": "active", "visibility": "private",
        "owner": "own", "disk_format": None, "container_format": None, "size": 2**60, "virtual_size": None,
        "min_disk": 0, "min_ram": 5, "protected": False, "os_hidden": False, "checksum": None, "os_hash_algo": None,
        "os_hash_value": None, "row_version": 1, "properties": {"k": "v", "empty": ""}, "tags": ["t"],
        "created_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-01T00:00:00Z", "deleted_at": None,
        "member": None, "locations": [],
    }


@pytest.mark.parametrize(
    "arguments",
    [
        ("nothing", "eq", "x"), ("id; DROP TABLE images", "eq", "x"), (["id"], "eq", "x"), ("properties", "eq", "x"),
        ("name", "like", "x"), ("name", ["eq"], "x"), ("name", "in", "x"), ("created_at", "in", []),
    ],
)
def test_s63_only_known_columns_and_operators(arguments: tuple[Any, Any, Any]) -> None:
    with pytest.raises(errors.BadRequest, match="filters"):
        Filter(*arguments)


@pytest.mark.parametrize(
    ("field", "op", "value"),
    [
        ("name", "eq", 5), ("name", "eq", None), ("size", "eq", "5"), ("size", "eq", True), ("protected", "eq", "true"),
        ("created_at", "eq", "soon"), ("created_at", "eq", 5), ("size", "in", ["1"]), ("name", "in", [None]),
        ("created_at", "eq", "9999-12-31T23:59:59Z"),
    ],
)
def test_values_of_the_wrong_kind_are_refused(field: str, op: str, value: Any) -> None:
    with pytest.raises(errors.BadRequest, match="filters"):
        Filter(field, op, value).values(0)


@pytest.mark.parametrize(
    "sort", [(("nothing", "asc"), ("id", "asc")), (("id", "up"),), ((["id"], "asc"),), (("name", "asc"),)]
)
def test_s63_only_known_sort_keys_and_a_complete_order(sort: Any) -> None:
    with pytest.raises(errors.BadRequest, match="sort"):
        ListingQuery(1, sort=sort)


def test_numbers_out_of_range_are_refused(engine: sa.Engine) -> None:
    with pytest.raises(errors.BadRequest, match="range"):
        listed(engine, OWNER, ListingQuery(1, filters=(Filter("min_ram", "eq", 2**70),)))
