"""Pages of 25 images from a large database against the same pages from a small one, both filled by fill.py.

    python tests/benchmarks/scale.py --small postgresql://…/thousand --large postgresql://…/million

Asks the registry's list function for every sort and filter of the API, as an owner, a member, an administrator and a
stranger, at the start of the list and far behind it. The databases take turns; a figure is the median of the rounds, in
milliseconds of processor time of the registry and its database session. PostgreSQL has to run on this machine.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import orjson
import sqlalchemy as sa
from fill import BIG, PARTNER, STRANGER

from glance_common.model.context import RequestContext
from glance_common.model.pages import MAX_PAGE_ROWS
from glance_registry.db.session import EngineSettings, make_engine, read
from glance_registry.images.filters import Filter
from glance_registry.images.listing import ListingQuery, list_images
from glance_registry.records.documents import row_fields

DEPTHS = (0, 1_000, 100_000)
SETTLED = 6
"""Runs after which PostgreSQL has chosen between a plan for each call and one for all."""

CALLERS = {
    "owner": RequestContext("owner", project_id=BIG),
    "member": RequestContext("member", project_id=PARTNER),
    "admin": RequestContext("admin", project_id="admins", is_admin=True),
    "stranger": RequestContext("stranger", project_id=STRANGER),
}
SORT_KEYS = ("created_at", "updated_at", "name", "size", "id", "status", "disk_format", "container_format")
ROW = 507
"""A number of fill.py whose image every database has."""


@dataclass(frozen=True, slots=True)
class Case:
    """One kind of list."""

    name: str
    query: ListingQuery


def cases(large: sa.Engine) -> Iterator[Case]:
    """Give every list to measure; values are those of one image, or such that many or few images have."""
    yield Case("default", ListingQuery(25))
    for key in SORT_KEYS:
        for direction in ("desc", "asc"):
            order = tuple((name, direction) for name in dict.fromkeys([key, "created_at", "id"]))
            yield Case(f"sort={key}:{direction}", ListingQuery(25, sort=order))
    with large.connect() as connection:
        connection.execute(sa.text("SET LOCAL statement_timeout = 0"))
        one = connection.execute(sa.text(f"SELECT * FROM images WHERE id = md5('image {ROW}')::uuid")).mappings().one()
        edges = connection.execute(sa.text(
            "SELECT percentile_disc(ARRAY[0.0001, 0.5, 0.9999]) WITHIN GROUP (ORDER BY updated_at) AS updated_at,"
            " percentile_disc(ARRAY[0.0001, 0.5, 0.9999]) WITHIN GROUP (ORDER BY created_at) AS created_at,"
            " percentile_disc(ARRAY[0.0001, 0.5, 0.9999]) WITHIN GROUP (ORDER BY size) AS size FROM images WHERE listed"
        )).mappings().one()
    yield from _filters(one, edges)
    for visibility in ("public", "private", "shared", "community", "all"):
        yield Case(f"visibility={visibility}", ListingQuery(25, visibility=visibility))
    for status in ("accepted", "pending", "rejected", "all"):
        yield Case(f"shared, member_status={status}", ListingQuery(25, visibility="shared", member_status=status))
    yield Case("os_hidden=true", ListingQuery(25, os_hidden=True))
    for tags in (["daily"], [f"batch-{ROW // 100}"], ["daily", f"batch-{ROW // 100}"], ["no such tag"]):
        yield Case(f"tag={'+'.join(tags)}", ListingQuery(25, tags=tags))
    build = {"build": str(ROW)}
    for properties in ({"os_distro": "debian"}, {"hw_disk_bus": "scsi"}, {"batch": "5"}, build, {"none": "such"}):
        yield Case(f"property {orjson.dumps(properties).decode()}", ListingQuery(25, properties=properties))
    few = {"batch": "5", "os_distro": "debian"}
    yield Case("two properties, a tag, a status", ListingQuery(
        25, properties=few, tags=["daily"], filters=(Filter("status", "eq", "active"),)
    ))
    yield Case("restorable", ListingQuery(
        25, deleted="restorable", filters=(Filter("status", "eq", "pending_delete"),)
    ))
    yield Case("v1 changes-since", ListingQuery(
        25, deleted="too", filters=(Filter("updated_at", "gte", edges["updated_at"][2].isoformat()),)
    ))


def _filters(one: Any, edges: Any) -> Iterator[Case]:
    wanted: list[tuple[str, str, Any]] = [
        ("id", "eq", str(one["id"])), ("id", "in", [str(one["id"])]),
        ("name", "eq", one["name"]), ("name", "eq", "ubuntu-24.04"), ("name", "eq", "no such name"),
        ("name", "in", [one["name"], "image-7"]),
        ("status", "eq", "active"), ("status", "eq", "queued"), ("status", "eq", "saving"),
        ("status", "in", ["saving", "deactivated"]),
        ("container_format", "eq", "bare"), ("container_format", "eq", "ova"),
        ("disk_format", "eq", "raw"), ("disk_format", "eq", "vdi"), ("disk_format", "in", ["vdi", "iso"]),
        ("checksum", "eq", str(one["checksum"])), ("os_hash_value", "eq", one["os_hash_value"]),
        ("os_hash_algo", "eq", "sha512"), ("os_hash_algo", "eq", "sha256"),
        ("owner", "eq", BIG), ("owner", "eq", one["owner"]), ("owner", "eq", "project-299"),
        ("owner", "eq", "nobody"),
        ("size", "eq", one["size"]), ("virtual_size", "eq", one["virtual_size"]),
        ("min_ram", "eq", 512), ("min_ram", "eq", 65536), ("min_ram", "gte", 4096), ("min_disk", "eq", 10),
        ("protected", "eq", True), ("protected", "eq", False),
    ]
    for name, operator in (("created_at", "gte"), ("created_at", "lte"), ("updated_at", "gte"), ("updated_at", "lte")):
        wanted += [(name, operator, time.isoformat()) for time in edges[name]]
    wanted += [("created_at", "eq", one["created_at"].isoformat()), ("updated_at", "eq", one["updated_at"].isoformat())]
    for operator in ("gte", "lte"):
        wanted += [("size", operator, size) for size in edges["size"]]
    for name, operator, value in wanted:
        text = str(value)
        yield Case(f"{name} {operator} {text if len(text) < 40 else text[:12] + '…'}", ListingQuery(
            25, filters=(Filter(name, operator, value),)
        ))


def marker_at(engine: sa.Engine, caller: RequestContext, query: ListingQuery, depth: int) -> str | None:
    """Return the id of the image that has ``depth`` images up to itself in the list; None when it is shorter."""
    marker: str | None = None
    while depth > 0:
        page = read(engine, list_images, caller, replace(query, limit=min(depth, MAX_PAGE_ROWS), marker=marker))
        if not page.has_more:
            return None
        depth -= len(page.rows)
        marker = str(orjson.loads(page.rows[-1])[row_fields(query.locations).index("id")])
    return marker


def timed(engine: sa.Engine, caller: RequestContext, query: ListingQuery) -> tuple[float, int]:
    """Return the processor milliseconds of one page, here and in the database's process, and its number of rows."""
    session = Path(f"/proc/{_session(engine)}/schedstat")
    began = time.process_time_ns() + int(session.read_text().split()[0])
    page = read(engine, list_images, caller, query).rows
    return (time.process_time_ns() + int(session.read_text().split()[0]) - began) / 1e6, len(page)


@cache
def _session(engine: sa.Engine) -> int:
    """Return the process of the only connection of ``engine``."""
    with engine.connect() as connection:
        return int(connection.scalar(sa.text("SELECT pg_backend_pid()")))


@dataclass(frozen=True, slots=True)
class Figure:
    """The median milliseconds of a page and its number of rows."""

    milliseconds: float
    rows: int


def measure(
    small: sa.Engine, large: sa.Engine, caller: RequestContext, case: Case, depths: list[int], rounds: int
) -> list[Figure | None]:
    """Return the figures of the first page and of one behind a marker of the small database, then of the large one's
    page at each depth; None where the list is shorter.
    """
    pages: list[tuple[sa.Engine, ListingQuery] | None] = []
    for engine, depth in [(small, 0), (small, 25), *((large, depth) for depth in depths)]:
        marker = marker_at(engine, caller, case.query, depth)
        pages.append((engine, replace(case.query, marker=marker)) if depth == 0 or marker is not None else None)
    times: list[list[tuple[float, int]]] = [[] for _ in pages]
    for number in range(SETTLED + rounds):
        for page, found in zip(pages, times, strict=True):
            if page is not None:
                found += [timed(page[0], caller, page[1])] * (number >= SETTLED)
    return [
        Figure(statistics.median(milliseconds for milliseconds, _ in found), found[0][1]) if found else None
        for found in times
    ]


def _cell(figure: Figure | None, base: Figure | None, limit: float) -> str:
    if figure is None:
        return "-"
    if base is None:
        return f"{figure.milliseconds:.2f}"
    ratio = figure.milliseconds / base.milliseconds
    more = "" if figure.rows == base.rows else f", {figure.rows} rows"
    return f"{figure.milliseconds:.2f} ({ratio:.2f}{more}){' **>**' if ratio > limit else ''}"


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", required=True, help="URL of the database with few images")
    parser.add_argument("--large", required=True, help="URL of the one with many")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--limit", type=float, default=1.3, help="ratios above this are marked")
    parser.add_argument("--only", default="", help="only lists with this text in their name")
    parser.add_argument("--depths", nargs="+", type=int, default=list(DEPTHS))
    parser.add_argument("--callers", nargs="+", default=list(CALLERS), choices=list(CALLERS))
    arguments = parser.parse_args()
    settings = EngineSettings(pool_size=1, statement_timeout=60)
    small, large = make_engine(arguments.small, settings), make_engine(arguments.large, settings)
    heads = ["list", "caller", "rows", "small, ms", "small behind 25, ms"]
    heads += [f"large behind {depth}, ms" for depth in arguments.depths]
    sys.stdout.write(f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}\n")
    for case in cases(large):
        for name in arguments.callers if arguments.only in case.name else ():
            first, behind, *figures = measure(small, large, CALLERS[name], case, arguments.depths, arguments.rounds)
            bases = [behind if depth else first for depth in arguments.depths]
            assert first is not None, "a first page there always is"
            cells = [str(first.rows), f"{first.milliseconds:.2f}", _cell(behind, None, 0)]
            cells += [_cell(figure, base, arguments.limit) for figure, base in zip(figures, bases, strict=True)]
            sys.stdout.write(f"| {case.name} | {name} | {' | '.join(cells)} |\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
