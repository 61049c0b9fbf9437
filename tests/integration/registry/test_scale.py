"""What lists and sweeps read of a table with many images: rows are counted, not milliseconds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa
from deploy.local.embedded_postgres import PostgresServer
from tests.benchmarks.fill import BIG, PARTNER, STRANGER, TABLES, fill
from tests.support.registry_rows import ADMIN, PATIENT, page

from glance_common.model.context import RequestContext
from glance_common.model.pages import MAX_PAGE_ROWS
from glance_registry.db.connections import reading
from glance_registry.db.prepared import Prepared
from glance_registry.db.session import make_engine
from glance_registry.images import listing
from glance_registry.images.filters import Filter, property_values
from glance_registry.images.listing import ListingQuery, Shape
from glance_registry.locations import purge
from glance_registry.operations import lifecycle
from glance_registry.quota import usage
from glance_registry.records.visibility import kind_of

IMAGES = 11_000
OWNER, MEMBER = RequestContext("owner", project_id=BIG), RequestContext("member", project_id=PARTNER)
NOBODY = RequestContext("nobody", project_id=STRANGER)
CALLERS = {"owner": OWNER, "member": MEMBER, "admin": ADMIN, "stranger": NOBODY}


@pytest.fixture(scope="module")
def many(postgres: PostgresServer, migrated_template: str) -> Iterator[sa.Engine]:
    """A database with ``IMAGES`` images and as many deleted ones."""
    postgres.create_database("many_images", template=migrated_template)
    engine = make_engine(postgres.url("many_images"), PATIENT)
    fill(engine, IMAGES)
    with engine.begin() as connection:
        for table in TABLES:
            # The plans are to be those of what is known now, and not of when the server looks again by itself.
            connection.execute(sa.text(f"ALTER TABLE {table} SET (autovacuum_enabled = false)"))
    yield engine
    engine.dispose()


def page_plan(engine: sa.Engine, caller: RequestContext, query: ListingQuery) -> dict[str, Any]:
    """Return how PostgreSQL made a page, once it has settled on a plan."""
    page = listing._page(kind_of(caller), Shape.of(query))
    with reading(engine) as connection:
        marker = () if query.marker is None else listing._marker_values(connection, caller, query)
        values = {"project": caller.project_id, "tags": list(query.tags)} | property_values(query.properties)
        values |= {f"marker{number}": value for number, value in enumerate(marker)}
        for number, condition in enumerate(query.filters):
            values |= condition.values(number)
        for _ in range(7):
            page.run(connection, values)
        [[plan]] = connection.exec_driver_sql(f"EXPLAIN (ANALYZE, FORMAT JSON) {page.command}", values).all()
    return dict(plan[0]["Plan"])


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", []):
        yield from nodes(child)


def rows_read(plan: dict[str, Any]) -> int:
    """Return how many rows were read from tables and indexes."""
    return sum(
        int((node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"])
        for node in nodes(plan) if "Relation Name" in node or node["Node Type"] == "Bitmap Index Scan"
    )


def scanned_whole(plan: dict[str, Any]) -> set[str]:
    """Return the tables that were read without an index."""
    return {node["Relation Name"] for node in nodes(plan) if node["Node Type"] == "Seq Scan" and node["Actual Loops"]}


def sorted_by(key: str, direction: str = "desc") -> ListingQuery:
    return ListingQuery(25, sort=tuple((name, direction) for name in dict.fromkeys([key, "created_at", "id"])))


@pytest.mark.parametrize("caller", CALLERS)
@pytest.mark.parametrize("key", ["created_at", "updated_at", "name", "size"])
@pytest.mark.parametrize("depth", [0, 2000])
def test_a_page_reads_a_handful_of_rows_at_any_depth(many: sa.Engine, caller: str, key: str, depth: int) -> None:
    query = sorted_by(key)
    if depth:
        query = replace(query, marker=page(many, CALLERS[caller], replace(query, limit=depth))[-1]["id"])
    plan = page_plan(many, CALLERS[caller], query)
    assert scanned_whole(plan) == set()
    if caller != "member" or key == "created_at":
        # A project's shares are indexed in the order of creation only: in any other all of them may be read.
        assert rows_read(plan) <= 250


@pytest.mark.parametrize("key", ["id", "disk_format", "container_format"])
@pytest.mark.parametrize("direction", ["asc", "desc"])
def test_an_order_of_few_values_is_walked_not_sorted(many: sa.Engine, key: str, direction: str) -> None:
    query = sorted_by(key, direction)
    query = replace(query, marker=page(many, ADMIN, replace(query, limit=2000))[-1]["id"])
    plan = page_plan(many, ADMIN, query)
    assert scanned_whole(plan) == set()
    assert rows_read(plan) <= 250


NAME_FIRST = (("name", "asc"), ("created_at", "desc"), ("id", "desc"))
FILTERS: dict[str, dict[str, Any]] = {
    "id": {"filters": (Filter("id", "in", ["00000000-0000-0000-0000-000000000000"]),)},
    "name": {"filters": (Filter("name", "eq", "image-507"),)},
    "name, in order of names": {"filters": (Filter("name", "eq", "image-507"),), "sort": NAME_FIRST},
    "names": {"filters": (Filter("name", "in", ["image-507", "image-7"]),)},
    "common name": {"filters": (Filter("name", "eq", "ubuntu-24.04"),)},
    "status": {"filters": (Filter("status", "eq", "saving"),)},
    "disk_format": {"filters": (Filter("disk_format", "eq", "vdi"),)},
    "container_format": {"filters": (Filter("container_format", "eq", "ova"),)},
    "checksum": {"filters": (Filter("checksum", "eq", "0123"),)},
    "os_hash_value": {"filters": (Filter("os_hash_value", "eq", "0123"),)},
    "owner": {"filters": (Filter("owner", "eq", "project-299"),)},
    "os_hash_algo": {"filters": (Filter("os_hash_algo", "eq", "sha256"),)},
    "virtual_size": {"filters": (Filter("virtual_size", "eq", 1),)},
    "min_ram": {"filters": (Filter("min_ram", "eq", 65536),)},
    "min_disk": {"filters": (Filter("min_disk", "eq", 30),)},
    "protected": {"filters": (Filter("protected", "eq", True),)},
    "size": {"filters": (Filter("size", "gte", 10**14),)},
    "small size": {"filters": (Filter("size", "lte", 600_000_000),)},
    "created_at": {"filters": (Filter("created_at", "lte", "2023-01-01T01:00:00Z"),)},
    "updated_at": {"filters": (Filter("updated_at", "lte", "2023-01-01T01:00:00Z"),)},
    "half of updated_at": {"filters": (Filter("updated_at", "lte", "2023-01-15T00:00:00Z"),)},
    "tag": {"tags": ["batch-7"]},
    "property": {"properties": {"build": "507"}},
    "common property": {"properties": {"os_distro": "debian"}},
    "os_hidden": {"os_hidden": True},
    "visibility": {"visibility": "public"},
    "member_status": {"visibility": "shared", "member_status": "pending"},
}


@pytest.mark.parametrize("caller", CALLERS)
@pytest.mark.parametrize("name", FILTERS)
def test_a_filter_reads_little_more_than_it_finds(many: sa.Engine, caller: str, name: str) -> None:
    plan = page_plan(many, CALLERS[caller], ListingQuery(25, **FILTERS[name]))
    assert scanned_whole(plan) == set()
    # Of what is shared with a project all may be read, to find what few images have.
    assert rows_read(plan) <= (1000 if caller != "member" else 6000)


@pytest.mark.parametrize("caller", ["owner", "stranger", "admin"])
@pytest.mark.parametrize("key", ["created_at", "updated_at", "name"])
def test_a_list_of_restorable_images_reads_no_others(many: sa.Engine, caller: str, key: str) -> None:
    query = replace(sorted_by(key), filters=(Filter("status", "eq", "pending_delete"),), deleted="restorable")
    found = page(many, CALLERS[caller], query)
    assert bool(found) == (caller != "stranger")
    plan = page_plan(many, CALLERS[caller], query)
    assert scanned_whole(plan) == set()
    # Of a thousand deleted images one was deleted with a delay; each is looked up with its locations.
    assert rows_read(plan) <= 4 * IMAGES // 1000


def test_a_plan_of_all_values_is_used_only_where_values_do_not_matter() -> None:
    default, filtered = ListingQuery(25), ListingQuery(25, filters=(Filter("status", "eq", "saving"),))
    for caller in CALLERS.values():
        assert isinstance(listing._page(kind_of(caller), Shape.of(default)), Prepared)
        assert not isinstance(listing._page(kind_of(caller), Shape.of(filtered)), Prepared)
    named = ListingQuery(25, sort=NAME_FIRST, filters=(Filter("name", "eq", "image-507"),))
    assert isinstance(listing._page(kind_of(ADMIN), Shape.of(named)), Prepared), "creation orders what has one name"
    for visibility in ("private", "shared"):
        shape = Shape.of(ListingQuery(25, visibility=visibility))
        assert not isinstance(listing._page(kind_of(OWNER), shape), Prepared)


@pytest.mark.parametrize("limit", [1, 32, 33, 1024, 1025, MAX_PAGE_ROWS])
def test_every_page_size_is_met_exactly(many: sa.Engine, limit: int) -> None:
    assert len(page(many, ADMIN, ListingQuery(limit, visibility="all"))) == limit


WORK = {
    "due": lambda connection: purge.due(connection, 100, None, 0),
    "backlog": purge.backlog,
    "abandoned": purge.abandoned,
    "failed": lambda connection: purge.failed(connection, 100, None),
    "usage": lambda connection: usage.of_owner(connection, "project-299"),
    "claim": lambda connection: lifecycle.claim(connection, lifecycle.OperationClaim(
        token="00000000-0000-0000-0000-000000000001", host="here", lease=60.0
    )),
    "hopeless": lambda connection: lifecycle.hopeless(connection, "here"),
    "bound": lambda connection: lifecycle.bound_to(connection, "here"),
}


@pytest.mark.parametrize("name", WORK)
def test_no_sweep_or_sum_reads_a_whole_table(many: sa.Engine, name: str) -> None:
    counted = "SELECT relname, seq_scan FROM pg_stat_xact_user_tables WHERE relname = ANY(:tables)"
    tables = {"tables": ["images", "locations", "members", "operations"]}
    with many.connect() as connection:
        before: dict[str, int] = dict(connection.execute(sa.text(counted), tables).all())
        WORK[name](connection)
        after: dict[str, int] = dict(connection.execute(sa.text(counted), tables).all())
        connection.rollback()
    assert after == before


def test_rows_of_the_far_future_cost_a_sweep_nothing(many: sa.Engine) -> None:
    waiting = """
        UPDATE locations SET status = 'pending_delete', not_before = now() + interval '1 year', lease_until = NULL
        WHERE id IN (SELECT id FROM locations WHERE status = 'active' LIMIT 3000)
    """
    statements: list[tuple[str, Any]] = []
    with many.connect() as connection:
        due = purge.due(connection, 100, None, 0)[0]
        assert connection.execute(sa.text(waiting)).rowcount == 3000
        connection.execute(sa.text("ANALYZE locations"))
        sa.event.listen(connection, "before_cursor_execute", lambda *told: statements.append((told[2], told[3])))
        assert purge.due(connection, 100, None, 0)[0] == due
        command, values = statements[0]
        [[plan]] = connection.exec_driver_sql(f"EXPLAIN (ANALYZE, FORMAT JSON) {command}", values).all()
        connection.rollback()
    assert rows_read(plan[0]["Plan"]) <= 4 * len(due) + 100


@pytest.mark.parametrize("key", ["id", "status", "disk_format", "container_format"])
def test_nothing_of_ones_own_in_any_order_is_found_without_a_search(many: sa.Engine, key: str) -> None:
    assert rows_read(page_plan(many, NOBODY, replace(sorted_by(key), visibility="private"))) == 0
