"""Images, tags and lists through the client."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa
from tests.support.registry_rows import ADMIN, ANONYMOUS, MEMBER, OWNER, STRANGER, insert_image, insert_members

from glance_common.model import errors
from glance_common.model.image import Image, ImageLocation
from glance_common.model.status import ImageStatus
from glance_common.registry_client import RegistryClient
from glance_common.registry_client.uploads import UploadResult, UploadStart
from glance_registry.db.tables import images as image_rows
from glance_registry.db.tables import locations as location_rows

AWKWARD = ("a/b", "//", "/", ".", "..", "a b+c%20", "ä\U0001f600", "?x=1&y#z", "new\nline", '"\\', "%2F", "x" * 255)
"""Texts that a path, a query or a JSON document could stumble over."""


def attempt() -> str:
    return str(uuid4())


def create(client: RegistryClient, **document: Any) -> Image:
    return client.images.create(
        OWNER, attempt(), {"id": attempt(), "owner": "own", "visibility": "private", **document}
    )


def test_create_and_get(client: RegistryClient) -> None:
    made = create(
        client, name="ä\U0001f600", disk_format="raw", container_format="bare", min_disk=1, min_ram=2**31 - 1,
        protected=True, os_hidden=True, properties={"a": "1", "b": None}, tags=["t", "t", "u"],
    )
    assert made == client.images.get(OWNER, made.id)
    assert made == made._replace(
        name="ä\U0001f600", status=ImageStatus.QUEUED, disk_format="raw", min_ram=2**31 - 1, protected=True,
        os_hidden=True, properties={"a": "1", "b": None}, tags=["t", "u"], row_version=1, size=None, member=None,
    )


def test_a_minimal_image_has_defaults(client: RegistryClient) -> None:
    made = create(client)
    assert (made.min_disk, made.min_ram, made.protected, made.os_hidden) == (0, 0, False, False)
    assert (made.properties, made.tags, made.name, made.checksum, made.locations) == ({}, [], None, None, ())


def test_repeating_a_create_answers_the_image(client: RegistryClient) -> None:
    document, same = {"id": attempt(), "visibility": "private", "owner": "own"}, attempt()
    first = client.images.create(OWNER, same, document)
    client.images.update(OWNER, first.id, attempt(), 1, {"name": "changed since"})
    assert client.images.create(OWNER, same, document).name == "changed since"
    with pytest.raises(errors.Duplicate, match=first.id):
        client.images.create(OWNER, attempt(), document)


@pytest.mark.parametrize("status", ["active", "pending_delete", "deleted"])
def test_s25_the_id_of_a_deleted_image_stays_taken(client: RegistryClient, engine: sa.Engine, status: str) -> None:
    image_id = insert_image(engine, status=status, owner="somebody")
    with pytest.raises(errors.Duplicate):
        create(client, id=image_id)


@pytest.mark.parametrize(
    "column", ["status", "size", "virtual_size", "checksum", "os_hash_value", "created_at", "row_version", "listed"]
)
def test_s15_columns_of_the_server_are_refused(client: RegistryClient, column: str) -> None:
    image = create(client)
    for call in (lambda: create(client, **{column: "1"}),
                 lambda: client.images.update(OWNER, image.id, attempt(), 1, {column: "1"})):
        with pytest.raises(errors.BadRequest, match=column):
            call()
    assert client.images.get(OWNER, image.id) == image


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("id", "no uuid"), ("id", None), ("name", 5), ("name", "x" * 256), ("name", "a\0b"), ("visibility", "secret"),
        ("visibility", None), ("min_disk", -1), ("min_disk", 2**31), ("min_ram", True), ("min_ram", 1.5),
        ("protected", "true"), ("properties", []), ("properties", {"a": 1}), ("properties", {"": "x"}),
        ("properties", {"x" * 256: ""}), ("properties", {"a\0": "b"}), ("properties", {"a": "b\0"}), ("tags", "t"),
        ("tags", [1]), ("tags", ["x" * 256]), ("tags", ["\0"]), ("owner", "x" * 256),
    ],
)
def test_s54_values_of_the_wrong_kind_are_refused_by_name(client: RegistryClient, field: str, value: Any) -> None:
    with pytest.raises(errors.BadRequest) as caught:
        create(client, **{field: value})
    assert field in caught.value.message or "NUL" in caught.value.message


@pytest.mark.parametrize("name", ["os_glance_import_task", "os_glancefoo", "os_hash_x", "checksum", "location"])
def test_s47_s68_the_registry_refuses_reserved_names_too(client: RegistryClient, name: str) -> None:
    with pytest.raises(errors.Forbidden, match=name):
        create(client, properties={name: "x"})
    image = create(client, properties={"a": "1"})
    if not name.startswith("os_glance_"):
        with pytest.raises(errors.Forbidden, match=name):
            client.images.update(OWNER, image.id, attempt(), 1, {"properties": {name: "x"}})
    assert client.images.get(OWNER, image.id) == image


def test_s68_what_the_service_wrote_into_properties_stays(client: RegistryClient, engine: sa.Engine) -> None:
    own = {"os_glance_import_task": "t", "os_glance_stage_host": "h"}
    image = insert_image(engine, properties={"a": "1", **own})
    forged = {"b": "2", "os_glance_import_task": "forged", "os_glance_failed_import": "forged"}
    for version, properties in enumerate((forged, {"b": "2"}, {}), 1):
        changed = client.images.update(OWNER, image, attempt(), version, {"properties": properties})
        kept = {name: value for name, value in properties.items() if name == "b"}
        assert changed.properties == {**kept, **own}


def test_text_that_looks_like_an_escaped_nul_is_text(client: RegistryClient) -> None:
    assert create(client, name="back\\u0000slash").name == "back\\u0000slash"


def test_update_moves_version_and_time(client: RegistryClient, engine: sa.Engine) -> None:
    made = create(client, properties={"a": "1"}, tags=["t"])
    with engine.begin() as connection:
        connection.execute(sa.update(image_rows).values(updated_at=sa.text("now() - interval '1 day'")))
    before = client.images.get(OWNER, made.id)
    changed = client.images.update(OWNER, made.id, attempt(), 1, {"name": "n", "properties": {"b": "2"}})
    assert (changed.name, changed.properties, changed.tags, changed.row_version) == ("n", {"b": "2"}, ["t"], 2)
    assert changed.updated_at > before.updated_at
    assert changed.created_at == before.created_at


def test_an_update_of_an_older_row_is_refused_unless_it_is_the_same_update(client: RegistryClient) -> None:
    image, mine = create(client), attempt()
    first = client.images.update(OWNER, image.id, mine, 1, {"name": "mine"})
    assert client.images.update(OWNER, image.id, mine, 1, {"name": "mine"}) == first
    with pytest.raises(errors.VersionConflict):
        client.images.update(OWNER, image.id, attempt(), 1, {"name": "other"})
    assert client.images.get(OWNER, image.id) == first


def test_s43_what_is_invisible_cannot_be_changed(client: RegistryClient) -> None:
    image = create(client)
    calls = (
        lambda: client.images.update(STRANGER, image.id, attempt(), 1, {"name": "x"}),
        lambda: client.images.set_status(
            STRANGER, image.id, attempt(), [ImageStatus.ACTIVE], ImageStatus.DEACTIVATED
        ),
        lambda: client.images.add_tag(STRANGER, image.id, "t", attempt()),
        lambda: client.images.remove_tag(STRANGER, image.id, "t", attempt()),
        lambda: client.members.list(STRANGER, image.id),
        lambda: client.members.add(STRANGER, image.id, "m", attempt(), quota=-1),
        lambda: client.images.get(STRANGER, image.id),
        lambda: client.images.get(STRANGER, "no-uuid"),
    )
    for call in calls:
        with pytest.raises(errors.NotFound):
            call()
    assert client.images.get(OWNER, image.id) == image


def test_anonymous_callers_change_nothing(client: RegistryClient, engine: sa.Engine) -> None:
    public = insert_image(engine, visibility="public")
    assert client.images.get(ANONYMOUS, public).id == public
    named = {"limit": 5, "filters": [["id", "in", [public, *(str(uuid4()) for _ in range(200))]]]}
    assert [image.id for image in client.images.list(ANONYMOUS, named).images] == [public]
    with pytest.raises(errors.Forbidden):
        client.images.add_tag(ANONYMOUS, public, "t", attempt())


def test_deactivate_and_reactivate(client: RegistryClient, engine: sa.Engine) -> None:
    image_id = insert_image(engine)
    active, deactivated = ImageStatus.ACTIVE, ImageStatus.DEACTIVATED
    for target, source in ((deactivated, active), (deactivated, active), (active, deactivated), (active, deactivated)):
        assert client.images.set_status(OWNER, image_id, attempt(), [source], target).status == target
    assert client.images.get(OWNER, image_id).row_version == 3
    queued = insert_image(engine, status="queued")
    with pytest.raises(errors.StatusConflict) as caught:
        client.images.set_status(OWNER, queued, attempt(), [active], deactivated)
    assert caught.value.details["status"] == "queued"


def test_s15_no_status_that_comes_with_bytes_is_set_by_name(client: RegistryClient, engine: sa.Engine) -> None:
    """No caller makes a queued image active without an upload, unless it is to have no data at all."""
    plain = {("active", "deactivated"), ("deactivated", "active"), ("queued", "killed"), ("queued", "active")}
    for source in ImageStatus:
        image_id = insert_image(engine, status=source)
        for target in ImageStatus:
            if (source, target) not in plain:
                with pytest.raises(errors.BadRequest):
                    client.images.set_status(ADMIN, image_id, attempt(), [source], target)
    empty = insert_image(engine, status="queued", size=None)
    done = client.images.set_status(OWNER, empty, attempt(), [ImageStatus.QUEUED], ImageStatus.ACTIVE)
    assert (done.status, done.size) == ("active", 0)


@pytest.mark.parametrize("tag", AWKWARD)
def test_tags_may_hold_any_character(client: RegistryClient, tag: str) -> None:
    image = create(client)
    assert client.images.add_tag(OWNER, image.id, tag, attempt()).tags == [tag]
    assert client.images.add_tag(OWNER, image.id, tag, attempt()).row_version == 2
    assert [found.id for found in client.images.list(OWNER, {"limit": 5, "tags": [tag]}).images] == [image.id]
    assert client.images.remove_tag(OWNER, image.id, tag, attempt()).tags == []
    with pytest.raises(errors.NotFound):
        client.images.remove_tag(OWNER, image.id, tag, attempt())


def test_tags_too_long_or_with_nul_are_refused(client: RegistryClient) -> None:
    image = create(client)
    for tag in ("x" * 256, "a\0b"):
        with pytest.raises(errors.BadRequest):
            client.images.add_tag(OWNER, image.id, tag, attempt())


def test_the_tag_quota_counts_what_is_there(client: RegistryClient) -> None:
    image = create(client, tags=["a", "b"])
    assert client.images.add_tag(OWNER, image.id, "b", attempt(), quota=2).tags == ["a", "b"]
    with pytest.raises(errors.TooLarge):
        client.images.add_tag(OWNER, image.id, "c", attempt(), quota=2)
    assert client.images.add_tag(OWNER, image.id, "c", attempt(), quota=-1).tags == ["a", "b", "c"]


def test_repeating_a_tag_removal_answers_the_image(client: RegistryClient) -> None:
    image, same = create(client, tags=["t"]), attempt()
    first = client.images.remove_tag(OWNER, image.id, "t", same)
    assert client.images.remove_tag(OWNER, image.id, "t", same) == first


def test_active_locations_come_when_asked_in_their_order(client: RegistryClient, engine: sa.Engine) -> None:
    image_id = insert_image(engine)
    ids = [attempt() for _ in range(4)]
    with engine.begin() as connection:
        for number, status in enumerate(("active", "deleting", "active", "writing")):
            connection.execute(location_rows.insert().values(
                id=ids[number], image_id=image_id, store="s", key=f"key {number}", status=status, attempt=attempt(),
                metadata={"number": number},
            ))
    expected = (
        ImageLocation(ids[0], "s", "key 0", {"number": 0}), ImageLocation(ids[2], "s", "key 2", {"number": 2})
    )
    assert client.images.get(OWNER, image_id, locations=True).locations == expected
    assert client.images.get(OWNER, image_id).locations == ()
    [listed] = client.images.list(OWNER, {"limit": 1, "locations": True}).images
    assert listed.locations == expected


def test_list(client: RegistryClient, engine: sa.Engine) -> None:
    names = [create(client, name=f"image {number}", properties={"n": str(number % 2)}).name for number in range(5)]
    query: dict[str, Any] = {"limit": 2, "sort": [["name", "asc"], ["id", "asc"]]}
    first = client.images.list(OWNER, query).images
    second = client.images.list(OWNER, {**query, "marker": first[-1].id}).images
    assert [image.name for image in first + second] == names[:4]
    assert [image.name for image in client.images.list(OWNER, {**query, "properties": {"n": "1"}}).images] == [
        "image 1", "image 3"
    ]
    named = {**query, "filters": [["name", "in", ["image 4", "nothing"]]]}
    assert [image.name for image in client.images.list(OWNER, named).images] == ["image 4"]
    assert client.images.list(STRANGER, query).images == []
    shared = insert_image(engine, visibility="shared")
    insert_members(engine, shared, {"member": "pending"})
    assert client.images.list(MEMBER, {"limit": 5}).images == []
    [found] = client.images.list(MEMBER, {"limit": 5, "member_status": "pending", "visibility": "shared"}).images
    assert (found.id, found.member) == (shared, "member")


@pytest.mark.parametrize(
    "query",
    [
        {"limit": -1}, {"limit": "5"}, {"limit": 10**9}, {"limit": 1, "marker": "x"}, {"limit": 1, "marker": 5},
        {"limit": 1, "sort": "name"}, {"limit": 1, "sort": [["name"]]}, {"limit": 1, "sort": [["password", "asc"]]},
        {"limit": 1, "filters": [["name", "eq"]]}, {"limit": 1, "filters": [[{}, "eq", 1]]},
        {"limit": 1, "filters": [["size", "eq", "1"]]}, {"limit": 1, "filters": {"name": "x"}},
        {"limit": 1, "properties": []}, {"limit": 1, "tags": "t"}, {"limit": 1, "tags": [5]},
        {"limit": 1, "visibility": "secret"}, {"limit": 1, "visibility": 5}, {"limit": 1, "member_status": "none"},
        {"limit": 1, "os_hidden": "true"}, {"limit": 1, "owner": "x"}, {"limit": 1, "tags": ["\0"]},
        {"limit": 1, "sort": []},
    ],
)
def test_s54_a_malformed_query_is_refused(client: RegistryClient, query: dict[str, Any]) -> None:
    with pytest.raises(errors.BadRequest):
        client.images.list(OWNER, query)


def test_what_can_be_restored_is_listed_and_restored_by_its_owner(client: RegistryClient) -> None:
    image = create(client, disk_format="raw", container_format="bare").id
    begun = client.uploads.start(OWNER, image, attempt(), UploadStart("fast", None, 60))
    content = UploadResult(1, {}, checksum="c" * 32, os_hash_algo="sha512", os_hash_value="h" * 128)
    client.uploads.commit(OWNER, begun.attempt, content, activate=True)
    client.images.delete(OWNER, image, attempt(), delayed=True, scrub_time=600)
    query = {"limit": 5, "deleted": "restorable"}
    [shown] = client.images.list(OWNER, query).images
    assert (shown.id, shown.status) == (image, "pending_delete")
    assert shown.deleted_at is not None
    assert shown.restorable_until is not None
    assert client.images.list(STRANGER, query).images == []
    with pytest.raises(errors.NotFound):
        client.images.restore(STRANGER, image, attempt())
    assert client.images.restore(OWNER, image, attempt()).status == "active"
    with pytest.raises(errors.Conflict):
        client.images.restore(OWNER, image, attempt())
