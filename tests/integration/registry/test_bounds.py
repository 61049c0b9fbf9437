"""The bounds of image documents and of pages of images (S-59), where the rows are written and read."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import orjson
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.registry_rows import ADMIN, OWNER, insert_image
from tests.support.waiting import wait_for

from glance_common.model.document_size import document_size
from glance_common.model.errors import TooLarge, VersionConflict
from glance_common.model.image import NewLocation
from glance_registry.db.session import read, read_prepared, run_transaction
from glance_registry.db.tables import images as image_rows
from glance_registry.db.tables import locations as location_rows
from glance_registry.images import crud, listing, tags
from glance_registry.images.listing import ListingQuery, Page, list_images
from glance_registry.images.tags import Room
from glance_registry.locations import edit as locations
from glance_registry.locations.edit import Edit
from glance_registry.records import sizes
from glance_registry.records.bounds import MAX_IMAGE_DOCUMENT
from glance_registry.records.documents import row_fields

LARGEST = 10_000
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)


def size_of(engine: sa.Engine, image: str) -> int:
    return read(engine, sizes.read, image).total


def change(engine: sa.Engine, image: str, version: int, values: dict[str, Any]) -> str:
    wanted = crud.Update(str(uuid4()), version, values, largest=LARGEST)
    return run_transaction(engine, crud.update, OWNER, image, wanted)


def tag(engine: sa.Engine, image: str, word: str) -> str:
    return run_transaction(engine, tags.add_tag, OWNER, image, str(uuid4()), word, Room(largest=LARGEST))


def edit(
    engine: sa.Engine, image: str, version: int, metadata: dict[str, Any], *, largest: int = LARGEST, key: str = "",
    **changes: Any,
) -> str:
    location = str(uuid4())
    added = NewLocation(location, "file", key or location, 1, metadata, external=True)
    with engine.connect() as connection:
        kept = connection.scalars(
            sa.select(location_rows.c.id).where(location_rows.c.image_id == image).order_by(location_rows.c.position)
        ).all()
    wanted = Edit(str(uuid4()), version, changes, {}, (added,), {}, (), (*kept, location), largest=largest)
    return run_transaction(engine, locations.edit, OWNER, image, wanted)


def first_location(metadata: dict[str, Any]) -> Edit:
    location = str(uuid4())
    added = NewLocation(location, "file", location, 1, metadata, external=True)
    return Edit(str(uuid4()), 1, {}, {}, (added,), {}, (), (location,), largest=LARGEST)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(name=st.none() | TEXT, properties=st.dictionaries(TEXT, st.none() | TEXT, max_size=4), words=st.lists(TEXT))
def test_s59_a_document_has_the_same_size_here_and_in_the_database(engine, name, properties, words) -> None:
    image = insert_image(engine, name=name, properties=properties, tags=words)
    assert size_of(engine, image) == document_size(name, properties, words)


@pytest.mark.parametrize("values", [
    {"name": "n" * (LARGEST + 1)},
    {"properties": {"p": "x" * LARGEST}},
    {"properties": {f"{number:0200}": None for number in range(50)}},
    {"tags": [f"{number:0250}" for number in range(50)]},
    {"properties": {"p": "\1" * (LARGEST // 6)}},
    {"name": "n" * 4000, "properties": {"p": "x" * 3000}, "tags": ["t" * 3000]},
], ids=["name", "value", "names", "tags", "escaped", "together"])
def test_s59_an_update_beyond_the_bound_is_refused(engine: sa.Engine, values: dict[str, Any]) -> None:
    image = insert_image(engine, name="before", properties={"old": "1"})
    with pytest.raises(TooLarge, match=f"max_image_document.*at most {LARGEST} bytes") as refused:
        change(engine, image, 1, values)
    assert refused.value.details["limit"] == "max_image_document"
    assert orjson.loads(read_prepared(engine, crud.get, OWNER, image))["name"] == "before"


def test_s59_what_an_update_leaves_counts_too(engine: sa.Engine) -> None:
    image = insert_image(engine, properties={"p": "x" * 6000})
    with pytest.raises(TooLarge):
        change(engine, image, 1, {"tags": [f"{number:0250}" for number in range(16)]})
    change(engine, image, 1, {"tags": ["t" * 250]})


def test_s59_a_document_that_is_too_large_may_become_smaller_only(engine: sa.Engine) -> None:
    image = insert_image(engine, name="n", properties={"p": "x" * 50_000, "q": "x" * 50_000})
    with pytest.raises(TooLarge):
        change(engine, image, 1, {"properties": {"p": "x" * 50_000, "q": "x" * 50_001}})
    with pytest.raises(TooLarge):
        tag(engine, image, "more")
    change(engine, image, 1, {"properties": {"p": "x" * 50_000, "q": "x" * 49_000}})
    change(engine, image, 2, {"min_disk": 5})
    change(engine, image, 3, {"properties": {"p": "x"}})
    tag(engine, image, "more")


def test_s59_a_bound_that_was_met_is_not_mistaken_for_a_conflict(engine: sa.Engine) -> None:
    image = insert_image(engine)
    with pytest.raises(VersionConflict):
        change(engine, image, 7, {"properties": {"p": "x" * LARGEST}})


def test_s59_locations_count(engine: sa.Engine) -> None:
    image = insert_image(engine, properties={"p": "x" * 3000})
    edit(engine, image, 1, {"m": "x" * 3000})
    with pytest.raises(TooLarge):
        edit(engine, image, 2, {}, key="k" * 4000)
    with pytest.raises(TooLarge):
        edit(engine, image, 2, {"m": "x" * 4000})
    with pytest.raises(TooLarge):
        change(engine, image, 2, {"properties": {"p": "x" * 7000}})
    with pytest.raises(TooLarge):
        run_transaction(
            engine, tags.add_tag, OWNER, image, str(uuid4()), "t" * 200, Room(largest=size_of(engine, image) + 100)
        )
    edit(engine, image, 2, {"m": "x" * 4000}, properties={})


def waits_for_a_lock(engine: sa.Engine) -> bool:
    with engine.connect() as connection:
        waiting = sa.text(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        return bool(connection.scalar(waiting))


def refused_while(engine: sa.Engine, first: Callable[[sa.Connection], Any], second: Callable[[], Any]) -> bool:
    """Run ``second`` while ``first`` holds its rows, commit ``first``, and say whether ``second`` was too large."""
    refused: list[bool] = []

    def run() -> None:
        try:
            second()
            refused.append(False)
        except TooLarge:
            refused.append(True)

    thread = threading.Thread(target=run)
    with engine.begin() as connection:
        first(connection)
        thread.start()
        wait_for(lambda: waits_for_a_lock(engine))
    thread.join()
    return refused[0]


def test_s59_a_tag_and_an_update_at_the_same_time_do_not_exceed_the_bound(engine: sa.Engine) -> None:
    image = insert_image(engine)
    wanted = crud.Update(str(uuid4()), 1, {"properties": {"p": "x" * (LARGEST - 100)}}, largest=LARGEST)
    assert refused_while(
        engine, lambda connection: crud.update(connection, OWNER, image, wanted), lambda: tag(engine, image, "t" * 99)
    )
    assert size_of(engine, image) <= LARGEST


def test_s59_two_tags_at_the_same_time_do_not_exceed_the_bound(engine: sa.Engine) -> None:
    image = insert_image(engine, properties={"p": "x" * (LARGEST - 400)})
    first = (OWNER, image, str(uuid4()), "1" * 250, Room(largest=LARGEST))
    assert refused_while(
        engine, lambda connection: tags.add_tag(connection, *first), lambda: tag(engine, image, "2" * 250)
    )
    assert size_of(engine, image) <= LARGEST


def test_s59_a_tag_and_a_location_at_the_same_time_do_not_exceed_the_bound(engine: sa.Engine) -> None:
    image, wanted = insert_image(engine, properties={"p": "x" * 3000}), first_location({"m": "x" * 6700})
    assert refused_while(
        engine, lambda connection: locations.edit(connection, OWNER, image, wanted),
        lambda: tag(engine, image, "t" * 250),
    )
    assert 9700 < size_of(engine, image) <= LARGEST


def test_s59_an_update_that_was_overtaken_is_measured_against_the_row_as_it_is_then(engine: sa.Engine) -> None:
    image = insert_image(engine)
    change(engine, image, 1, {"properties": {"p": "x" * 6000}})
    with pytest.raises(VersionConflict):
        change(engine, image, 1, {"tags": [f"{number:0250}" for number in range(17)]})
    with pytest.raises(TooLarge):
        change(engine, image, 2, {"tags": [f"{number:0250}" for number in range(17)]})


def walk(engine: sa.Engine, query: ListingQuery, largest: int) -> list[Page]:
    """Return the pages of a list, each after the last image of the one before."""
    pages, position = [], row_fields(query.locations).index("id")
    marker: str | None = None
    while True:
        asked = ListingQuery(query.limit, marker=marker, locations=query.locations, deleted=query.deleted)
        pages.append(read_prepared(engine, list_images, OWNER, asked, largest))
        if not pages[-1].has_more:
            return pages
        marker = orjson.loads(pages[-1].rows[-1])[position]


def ids_of(pages: list[Page], query: ListingQuery) -> list[str]:
    position = row_fields(query.locations).index("id")
    return [orjson.loads(row)[position] for page in pages for row in page.rows]


LARGEST_PAGE = 300_000
KINDS: list[dict[str, Any]] = [
    {"name": "small"},
    # What is compressed in the table is as large in an answer as what is not.
    {"name": "compressed", "properties": {"p": "x" * 100_000}},
    {"name": "stored as it is", "properties": {f"p{n}": str(uuid4()) * 20 for n in range(100)}},
    {"name": "escaped", "properties": {"p": "\1" * 15_000}},
    {"name": "tags", "tags": [f"{n:0250}" for n in range(300)]},
]


@pytest.mark.parametrize("with_locations", [False, True])
@pytest.mark.parametrize("deleted", ["no", "too"])
def test_s59_a_page_ends_before_it_is_too_large(engine: sa.Engine, with_locations: bool, deleted: str) -> None:
    made = [insert_image(engine, **KINDS[number % len(KINDS)]) for number in range(40)]
    query = ListingQuery(25, locations=with_locations, deleted=deleted)
    pages = walk(engine, query, LARGEST_PAGE)
    assert ids_of(pages, query) == made[::-1]
    assert all(sum(len(row.encode()) for row in page.rows) < LARGEST_PAGE + 25 * 1000 for page in pages)
    assert all(page.rows for page in pages)
    assert len(pages) >= 8


def test_s59_metadata_of_locations_count_for_the_page(engine: sa.Engine) -> None:
    made = [insert_image(engine) for _ in range(12)]
    for image in made:
        for number in range(2):
            edit(engine, image, number + 1, {"m": "x" * 20_000}, largest=MAX_IMAGE_DOCUMENT)
    query = ListingQuery(10, locations=True)
    pages = walk(engine, query, 100_000)
    assert ids_of(pages, query) == made[::-1]
    assert [len(page.rows) for page in pages] == [2] * 6
    assert len(walk(engine, ListingQuery(10), 100_000)) == 2


def test_s59_an_image_that_is_larger_than_a_page_is_one_of_its_own(engine: sa.Engine) -> None:
    made = [insert_image(engine, properties={"p": "x" * 500_000}) for _ in range(3)]
    query = ListingQuery(10)
    pages = walk(engine, query, LARGEST_PAGE)
    assert [len(page.rows) for page in pages] == [1, 1, 1]
    assert ids_of(pages, query) == made[::-1]


def test_s59_the_database_writes_no_large_image_that_is_not_on_the_page(engine: sa.Engine) -> None:
    for _ in range(50):
        insert_image(engine, properties={"p": "x" * MAX_IMAGE_DOCUMENT})
    statement = listing.select_page(ADMIN, listing.Shape.of(ListingQuery(50)), LARGEST_PAGE // 50)
    with engine.connect() as connection:
        written = connection.execute(statement).scalars().all()
    assert sum(map(len, written)) < 50 * 60


def test_s59_a_large_image_that_goes_away_meanwhile_does_not_end_the_list(
    engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [insert_image(engine, properties={"p": "x" * 200_000}) for _ in range(4)]
    deleted = iter(made[::-1][:1])
    real = listing._large

    def large(*kind: Any) -> Any:
        for image in deleted:
            with engine.begin() as connection:
                connection.execute(sa.update(image_rows).where(image_rows.c.id == image).values(status="deleted"))
        return real(*kind)

    monkeypatch.setattr(listing, "_large", large)
    query = ListingQuery(10)
    assert ids_of(walk(engine, query, LARGEST_PAGE), query) == made[::-1][1:]


def test_s59_a_page_that_is_full_says_so(engine: sa.Engine) -> None:
    for _ in range(4):
        insert_image(engine)
    pages = {limit: read_prepared(engine, list_images, OWNER, ListingQuery(limit)) for limit in (0, 3, 4, 5)}
    has_more = {limit: page.has_more for limit, page in pages.items()}
    assert has_more == {0: False, 3: True, 4: True, 5: False}
