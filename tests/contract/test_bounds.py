"""The bounds of documents and pages through the client (S-59), with a registry whose bounds are small."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa
from tests.contract.conftest import SIGNER
from tests.support.registry_rows import ADMIN, OWNER, insert_image, insert_members
from tests.support.wsgi_adapter import WsgiAdapter

from glance_common.model.context import RequestContext
from glance_common.model.errors import BadRequest, TooLarge
from glance_common.model.image import Image, NewLocation
from glance_common.model.metadef import NamespaceQuery
from glance_common.model.operation import Held, OperationKind
from glance_common.model.pages import MAX_PAGE_ROWS
from glance_common.model.status import ImageStatus
from glance_common.registry_client import RegistryClient, over
from glance_common.registry_client.http import RegistryHttp, Timeouts
from glance_common.registry_client.locations import HashingOperation, LocationEdit
from glance_common.registry_client.operations import NewOperation, OperationQuery
from glance_registry.app import create_app
from glance_registry.db.tables import operations as operation_rows
from glance_registry.images import members
from glance_registry.metadefs import content
from glance_registry.records.bounds import Bounds

LARGEST, PAGE = 5000, 70_000
USER = RequestContext("req-user", user_id="user", project_id="own", roles=("member",))


def new_id() -> str:
    return str(uuid4())


@pytest.fixture
def bounded(engine: sa.Engine) -> Iterator[RegistryClient]:
    app = create_app(engine, SIGNER, Bounds(image_document=LARGEST, page=PAGE))
    made = over(RegistryHttp(WsgiAdapter(app), SIGNER, timeouts=Timeouts(read_deadline=60, write_deadline=60)))
    yield made
    made.close()


def create(client: RegistryClient, **document: Any) -> Image:
    return client.images.create(OWNER, new_id(), {
        "id": new_id(), "owner": "own", "visibility": "private", "disk_format": "raw", "container_format": "bare",
        **document,
    })


def begin(client: RegistryClient, image: str | None, **options: Any) -> None:
    wanted: dict[str, Any] = {
        "kind": OperationKind.API_IMAGE_IMPORT, "input": {}, "ttl": 1, "allowed": [ImageStatus.QUEUED],
        "image_status": ImageStatus.IMPORTING,
    }
    client.operations.create(USER, new_id(), NewOperation(image_id=image, **{**wanted, **options}))


def claim(client: RegistryClient) -> Held:
    operation = client.operations.claim(ADMIN, token := new_id(), host="a", lease=60)
    assert operation is not None
    return Held(operation.id, token)


def test_s59_every_way_into_an_image_is_bounded(bounded: RegistryClient) -> None:
    image = create(bounded, properties={"p": "x" * (LARGEST - 200)})
    location = new_id()
    added = NewLocation(location, "web", location, 1, {"m": "x" * 300}, external=True)
    edit = LocationEdit([location], add=[added])
    hashing = HashingOperation(new_id(), {}, 1, before_active=True)
    ways = [
        lambda: create(bounded, properties={"p": "x" * LARGEST}),
        lambda: create(bounded, name="n" * 255, tags=[f"{number:0250}" for number in range(20)]),
        lambda: bounded.images.update(OWNER, image.id, new_id(), 1, {"tags": ["t" * 250]}),
        lambda: bounded.images.update(OWNER, image.id, new_id(), 1, {"name": "n" * 250}),
        lambda: bounded.images.add_tag(OWNER, image.id, "t" * 250, new_id()),
        lambda: bounded.locations.edit(OWNER, image.id, new_id(), 1, edit),
        lambda: bounded.locations.edit(OWNER, image.id, new_id(), 1, replace(edit, hashing=hashing)),
    ]
    for way in ways:
        with pytest.raises(TooLarge, match="max_image_document") as refused:
            way()
        assert refused.value.details["limit"] == "max_image_document"
    begin(bounded, image.id)
    held = claim(bounded)
    with pytest.raises(TooLarge, match="max_image_document"):
        bounded.operations.update(ADMIN, held, {"properties": {"injected": "x" * 300}})
    # What the service notes itself is never refused, and does not keep the import from its end.
    bounded.operations.finish(ADMIN, held, success=False, message="")
    assert bounded.images.get(OWNER, image.id).properties == image.properties


def test_s59_a_page_says_that_more_follow(bounded: RegistryClient, engine: sa.Engine) -> None:
    made = [insert_image(engine, name=str(number), properties={"p": "x" * 20_000}) for number in range(10)]
    shown, marker = [], None
    for _ in range(len(made)):
        query = {"limit": 100} if marker is None else {"limit": 100, "marker": marker}
        page = bounded.images.list(OWNER, query)
        assert 0 < len(page.images) <= 3
        shown += [image.id for image in page.images]
        marker = shown[-1]
        if not page.has_more:
            break
    assert shown == made[::-1]


def test_a_full_page_may_be_followed_by_another(client: RegistryClient) -> None:
    for _ in range(3):
        create(client)
    assert [client.images.list(OWNER, {"limit": limit}).has_more for limit in (0, 2, 3, 4)] == [
        False, True, True, False
    ]


def test_s59_a_list_of_tasks_carries_no_documents(bounded: RegistryClient) -> None:
    begin(bounded, create(bounded).id, input={"secret": "x" * 3000}, signature={"s": "x"})
    bounded.operations.finish(ADMIN, claim(bounded), success=False, message="why", result={"r": "x"})
    [listed] = bounded.operations.list(USER, OperationQuery(limit=5))
    assert (listed.input, listed.signature, listed.result, listed.message, listed.roles) == ({}, None, None, "", ())
    shown = bounded.operations.get(USER, listed.id)
    assert (shown.input, shown.message, shown.result) == ({"secret": "x" * 3000}, "why", {"r": "x"})
    assert (listed.id, listed.owner, listed.expires_at) == (shown.id, shown.owner, shown.expires_at)


def test_s59_the_tasks_of_an_image_are_bounded_in_bytes(bounded: RegistryClient, engine: sa.Engine) -> None:
    image = create(bounded).id
    with engine.begin() as connection:
        for number in range(12):
            at = sa.text(f"now() - interval '{20 - number} minutes'")
            connection.execute(sa.insert(operation_rows).values(
                id=new_id(), kind="api_image_import", image_id=image, owner="own", status="success", ttl=1,
                input={"import_req": "x" * 20_000}, message=str(number), on_fail="queued", deadline=at, created_at=at,
            ))
    assert [task.message for task in bounded.operations.of_image(USER, image)] == ["9", "10", "11"]
    with engine.begin() as connection:
        connection.execute(sa.update(operation_rows).values(input={"import_req": "x" * 100_000}))
    assert [task.message for task in bounded.operations.of_image(USER, image)] == ["11"]


@pytest.mark.parametrize("options", [
    {"input": {"junk": "x" * 30_000}}, {"signature": {"certificate": "x" * 100_000}},
], ids=["input", "signature"])
def test_s59_what_is_kept_of_a_request_is_bounded(bounded: RegistryClient, options: dict[str, Any]) -> None:
    with pytest.raises(TooLarge, match="takes at most"):
        begin(bounded, create(bounded).id, **options)


def test_s59_the_result_of_a_task_is_bounded(bounded: RegistryClient) -> None:
    begin(bounded, create(bounded).id)
    held = claim(bounded)
    with pytest.raises(TooLarge, match="result takes at most"):
        bounded.operations.finish(ADMIN, held, success=False, message="", result={"r": "x" * 20_000})


def test_s59_a_message_names_few_of_many_unknown_fields(bounded: RegistryClient) -> None:
    junk = {f"{number}-" + "x" * 1000: 1 for number in range(1000)}
    with pytest.raises(BadRequest, match=r"unknown fields: .*and 990 more") as refused:
        create(bounded, **junk)
    assert len(str(refused.value)) < 1000


def test_s59_a_page_of_namespaces_is_bounded_and_says_that_more_follow(bounded: RegistryClient) -> None:
    for number in range(6):
        bounded.metadefs.create_namespace(ADMIN, new_id(), {
            "namespace": f"n{number}", "visibility": "public",
            "resource_type_associations": [{"name": f"{each}" + "x" * 70} for each in range(120)],
        })
    shown: list[str] = []
    for _ in range(6):
        marker = shown[-1] if shown else None
        page = bounded.metadefs.list_namespaces(ADMIN, NamespaceQuery(limit=100, marker=marker))
        assert 0 < len(page.namespaces) < 4
        shown += [each.namespace for each in page.namespaces]
        if not page.has_more:
            break
    assert shown == [f"n{number}" for number in reversed(range(6))]


def test_s59_what_is_in_a_namespace_is_bounded(bounded: RegistryClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content, "MAX_NAMESPACE", 3000)
    metadefs = bounded.metadefs
    metadefs.create_namespace(ADMIN, new_id(), {"namespace": "n"})

    def item(size: int) -> dict[str, Any]:
        return {"name": "one", "description": "x" * size, "properties": {}}

    metadefs.create_object(ADMIN, "n", new_id(), item(2500))
    with pytest.raises(TooLarge, match="at most 3000 bytes"):
        metadefs.update_object(ADMIN, "n", "one", new_id(), item(3000))
    with pytest.raises(TooLarge, match="at most 3000 bytes"):
        metadefs.create_tags(ADMIN, "n", new_id(), [f"tag {number:070}" for number in range(10)], append=True)
    with pytest.raises(TooLarge, match="at most 3000 bytes"):
        metadefs.create_namespace(ADMIN, new_id(), {"namespace": "m", "objects": [item(3000)]})
    monkeypatch.setattr(content, "MAX_NAMESPACE", 1000)
    metadefs.update_object(ADMIN, "n", "one", new_id(), item(2000))
    with pytest.raises(TooLarge):
        metadefs.create_tag(ADMIN, "n", new_id(), "t")


def test_s59_of_very_many_memberships_the_newest_are_told(
    bounded: RegistryClient, engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(members, "MAX_SHARED", 3)
    made = [insert_image(engine, visibility="shared") for _ in range(5)]
    for image in made:
        insert_members(engine, image, {"friend": "accepted"})
    assert [member.image_id for member in bounded.members.shared_with(OWNER, "friend")] == made[2:]


@pytest.mark.parametrize("most", [2, 3])
def test_a_page_has_at_most_the_rows_that_the_registry_allows(engine: sa.Engine, most: int) -> None:
    app = create_app(engine, SIGNER, Bounds(rows=most, default_rows=1))
    client = over(RegistryHttp(WsgiAdapter(app), SIGNER, timeouts=Timeouts(read_deadline=60, write_deadline=60)))
    made = [insert_image(engine) for _ in range(5)]
    query: dict[str, Any] = {"limit": 1000, "sort": [["created_at", "asc"], ["id", "asc"]]}
    page = client.images.list(OWNER, query)
    found = [image.id for image in page.images]
    assert (len(found), page.has_more) == (most, True)
    while page.has_more:
        page = client.images.list(OWNER, {**query, "marker": found[-1]})
        found += [image.id for image in page.images]
    assert sorted(found) == sorted(made)
    del query["limit"]
    assert len(client.images.list(OWNER, query).images) == 1
    client.close()


def test_a_page_of_tasks_may_be_as_long_as_one_of_images(bounded: RegistryClient) -> None:
    assert bounded.operations.list(OWNER, OperationQuery(limit=MAX_PAGE_ROWS)) == []
