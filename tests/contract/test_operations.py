"""Operations through the registry client: made, claimed, worked on, ended."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

import pytest
import sqlalchemy as sa
from tests.support.registry_rows import ADMIN, OWNER, STRANGER, insert_image

from glance_common import failpoints
from glance_common.model import errors
from glance_common.model.context import RequestContext
from glance_common.model.image import Image, Upload
from glance_common.model.operation import Held, OnFail, Operation, OperationKind, StagedData
from glance_common.model.status import ImageStatus, OperationStatus
from glance_common.registry_client import RegistryClient
from glance_common.registry_client.operations import NewOperation, OperationQuery
from glance_common.registry_client.uploads import UploadResult, UploadStart
from glance_registry.operations.tasks import SORT_KEYS

DIRECTIONS: tuple[Literal["asc", "desc"], ...] = ("asc", "desc")

USER = RequestContext("req-user", user_id="user", project_id="own", roles=("member", "reader"))
CONTENT: dict[str, Any] = {
    "size": 7, "checksum": "c" * 32, "os_hash_algo": "sha512", "os_hash_value": "h" * 128, "virtual_size": None,
    "metadata": {},
}


def new_id() -> str:
    return str(uuid4())


class Imports:
    """One project that imports, and one host that works."""

    def __init__(self, client: RegistryClient, engine: sa.Engine) -> None:
        self.client = client
        self.engine = engine

    def image(self, **columns: Any) -> str:
        values = {"status": "queued", "disk_format": "raw", "container_format": "bare", **columns}
        return insert_image(self.engine, **values)

    def create(self, image_id: str | None, operation_id: str | None = None, **options: Any) -> Operation:
        wanted: dict[str, Any] = {
            "kind": OperationKind.API_IMAGE_IMPORT, "input": {"method": "web-download"}, "ttl": 48,
            "allowed": [ImageStatus.QUEUED, ImageStatus.UPLOADING], "image_status": ImageStatus.IMPORTING,
        }
        new = NewOperation(image_id=image_id, **{**wanted, **options})
        return self.client.operations.create(USER, operation_id or new_id(), new)

    def claim(self, host: str = "a") -> Held:
        operation = self.client.operations.claim(ADMIN, token := new_id(), host=host, lease=60)
        assert operation is not None
        return Held(operation.id, token)

    def copy(self, image_id: str, held: Held, store: str = "fast", *, activate: bool = True, **content: Any) -> Image:
        begun = self.start(image_id, store, operation=held)
        return self.client.uploads.commit(
            USER, begun.attempt, UploadResult(**{**CONTENT, **content}), operation=held, activate=activate
        )

    def start(self, image_id: str, store: str, **options: Any) -> Upload:
        return self.client.uploads.start(USER, image_id, new_id(), UploadStart(store, None, 60, **options))

    def show(self, image_id: str) -> Image:
        return self.client.images.get(OWNER, image_id, locations=True)

    def finish(self, held: Held, success: bool = True, message: str = "Import finished") -> Operation:
        return self.client.operations.finish(ADMIN, held, success=success, message=message)


@pytest.fixture
def imports(client: RegistryClient, engine: sa.Engine) -> Imports:
    return Imports(client, engine)


def test_a_host_learns_what_still_waits_for_it(imports: Imports) -> None:
    made = [imports.create(imports.image(), host="process", patience=60).id for _ in range(2)]
    imports.create(imports.image(), host="another")
    assert imports.client.operations.alive(ADMIN, "process") == set(made)
    held = imports.claim("process")
    imports.finish(held, success=False)
    assert imports.client.operations.alive(ADMIN, "process") == set(made) - {held.operation}


def test_an_import_from_beginning_to_end(imports: Imports) -> None:
    image = imports.image()
    made = imports.create(image, stores=["fast", "slow"])
    assert (made.status, made.image_id, made.expires_at) == (OperationStatus.PENDING, image, None)
    shown = imports.show(image)
    assert shown.status is ImageStatus.IMPORTING
    assert shown.properties == {
        "os_glance_import_task": made.id, "os_glance_importing_to_stores": "fast,slow", "os_glance_failed_import": "",
    }
    held = imports.claim()
    assert held.operation == made.id
    copied = imports.copy(image, held, activate=False)
    assert (copied.status, copied.properties["os_glance_importing_to_stores"]) == (ImageStatus.IMPORTING, "slow")
    assert (copied.size, copied.os_hash_value) == (7, "h" * 128)
    imports.copy(image, held, "slow", activate=False)
    ended = imports.finish(held)
    assert (ended.status, ended.message) == (OperationStatus.SUCCESS, "Import finished")
    assert ended.expires_at is not None
    shown = imports.show(image)
    assert shown.status is ImageStatus.ACTIVE
    assert [location.store for location in shown.locations] == ["fast", "slow"]
    assert shown.properties == {"os_glance_importing_to_stores": "", "os_glance_failed_import": ""}


def test_staged_data_travel_to_the_worker(imports: Imports) -> None:
    image = imports.image(disk_format=None)
    begun = imports.start(image, "staging", staging=True)
    assert begun.image.status is ImageStatus.UPLOADING
    result = UploadResult(**CONTENT, stage_host="http://a:9292")
    staged = imports.client.uploads.commit(USER, begun.attempt, result)
    assert (staged.status, staged.size) == (ImageStatus.UPLOADING, 7)
    assert staged.properties == {"os_glance_stage_host": "http://a:9292"}
    assert imports.show(image).locations == ()
    imports.create(image, host="a")
    assert imports.client.operations.claim(ADMIN, new_id(), host="b", lease=60) is None
    found = imports.client.operations.claim(ADMIN, token := new_id(), host="a", lease=60)
    assert found is not None
    assert found.staged == (StagedData(begun.location.id, "staging", begun.location.key, 7),)
    held = Held(found.id, token)
    updated = imports.client.operations.update(
        ADMIN, held, {"disk_format": "qcow2", "virtual_size": 9, "properties": {"os": "debian"}}
    )
    assert (updated.disk_format, updated.virtual_size, updated.properties["os"]) == ("qcow2", 9, "debian")
    assert "os_glance_stage_host" not in imports.client.operations.unstage(ADMIN, held).properties
    imports.copy(image, held, activate=True)
    assert imports.finish(held).status is OperationStatus.SUCCESS
    assert imports.show(image).properties == {"os": "debian"}


def test_a_worker_acts_in_the_name_of_who_asked(imports: Imports) -> None:
    operation = imports.create(imports.image())
    found = imports.client.operations.claim(ADMIN, new_id(), host="a", lease=60)
    assert found is not None
    assert found.context() == USER
    assert (found.id, found.input, found.attempts) == (operation.id, {"method": "web-download"}, 1)


def test_errors_keep_their_class_and_their_details(imports: Imports) -> None:
    image = imports.image()
    operation = imports.create(image)
    with pytest.raises(errors.Conflict) as caught:
        imports.create(image)
    assert caught.value.details == {"operation": operation.id, "reason": "locked"}


def test_a_lost_operation_is_gone_and_an_ended_one_is_not_wanted(imports: Imports) -> None:
    image = imports.image()
    imports.create(image)
    held = imports.claim()
    operations = imports.client.operations
    assert operations.renew(ADMIN, held, lease=60, message="Copied 1 MiB") is True
    assert operations.get(USER, held.operation).message == "Copied 1 MiB"
    for call in (
        lambda lost: operations.renew(ADMIN, lost, lease=60),
        lambda lost: operations.release(ADMIN, lost),
        lambda lost: operations.store_failed(ADMIN, lost, "fast"),
        lambda lost: imports.copy(image, lost),
        imports.finish,
    ):
        with pytest.raises(errors.Gone):
            call(Held(held.operation, new_id()))
    imports.client.images.delete(OWNER, image, new_id(), delayed=False, scrub_time=0)
    assert operations.renew(ADMIN, held, lease=60) is False
    assert imports.finish(held).cancelled is True


@pytest.mark.parametrize("name", ["os_glance_import_task", "os_glancefoo", "os_hash_x", "owner"])
def test_s47_s68_no_worker_writes_a_reserved_name(imports: Imports, name: str) -> None:
    image = imports.image(properties={"a": "1"})
    held = Held(imports.create(image).id, imports.claim().token)
    with pytest.raises(errors.Forbidden, match=name):
        imports.client.operations.update(ADMIN, held, {"properties": {"b": "2", name: "x"}})
    assert imports.client.images.get(OWNER, image).properties == {"a": "1", "os_glance_import_task": held.operation}


def test_an_operation_without_image_gets_the_one_that_it_made(imports: Imports) -> None:
    imports.create(None, kind=OperationKind.IMPORT, on_fail=OnFail.DELETE)
    held = imports.claim()
    image = imports.image()
    attached = imports.client.operations.attach(ADMIN, held, image, stores=["fast"])
    assert (attached.status, attached.properties["os_glance_import_task"]) == (ImageStatus.IMPORTING, held.operation)
    assert imports.finish(held, success=False).image_id == image
    with pytest.raises(errors.NotFound):
        imports.show(image)


@pytest.mark.parametrize(
    ("call", "place"),
    [
        ("create", "after-create"), ("claim", "after-claim"), ("release", "after-release"),
        ("finish", "before-finish"), ("finish", "after-finish"), ("attach", "after-step"),
        ("store_failed", "after-step"), ("update", "after-step"), ("unstage", "after-step"),
    ],
)
def test_a_lost_answer_is_answered_by_the_repetition(
    imports: Imports, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, call: str, place: str
) -> None:
    """The registry fails around its commit; the client repeats the call, and the result is the same."""
    image, operation, token = imports.image(), new_id(), new_id()
    held, operations = Held(operation, token), imports.client.operations
    if call != "create":
        imports.create(None if call == "attach" else image, operation, stores=["fast"])
    if call not in ("create", "claim"):
        operations.claim(ADMIN, token, host="a", lease=60)
    monkeypatch.setattr(failpoints, "_DIRECTORY", str(tmp_path))
    armed = tmp_path / f"registry.operation.{place}"
    armed.write_text("raise")
    match call:
        case "create":
            assert imports.create(image, operation).id == operation
        case "claim":
            claimed = operations.claim(ADMIN, token, host="a", lease=60)
            assert claimed is not None
            assert (claimed.id, claimed.attempts) == (operation, 1)
        case "release":
            operations.release(ADMIN, held)
        case "finish":
            assert imports.finish(held, success=False).status is OperationStatus.FAILURE
        case "attach":
            assert operations.attach(ADMIN, held, image).status is ImageStatus.IMPORTING
        case "store_failed":
            assert operations.store_failed(ADMIN, held, "fast").properties["os_glance_failed_import"] == "fast"
        case "update":
            assert operations.update(ADMIN, held, {"size": 3}).size == 3
        case "unstage":
            assert operations.unstage(ADMIN, held).status is ImageStatus.IMPORTING
    assert not armed.exists(), "the failpoint was not reached"


def test_tasks_are_seen_by_their_project_and_administrators(imports: Imports) -> None:
    operations, image = imports.client.operations, imports.image(visibility="public")
    mine = imports.create(image)
    other = operations.create(STRANGER, new_id(), NewOperation(OperationKind.IMPORT, None, {}, ttl=1))
    assert operations.get(USER, mine.id) == mine
    assert [task.id for task in operations.list(USER, OperationQuery(limit=9))] == [mine.id]
    assert [task.id for task in operations.list(ADMIN, OperationQuery(limit=9))] == [other.id, mine.id]
    assert [task.id for task in operations.of_image(USER, image)] == [mine.id]
    assert operations.of_image(STRANGER, image) == []
    assert [task.id for task in operations.of_image(ADMIN, image)] == [mine.id]
    for missing in (other.id, new_id(), "no uuid"):
        with pytest.raises(errors.NotFound):
            operations.get(USER, missing)
    with pytest.raises(errors.NotFound):
        operations.of_image(STRANGER, imports.image())


def test_expired_tasks_are_not_shown(imports: Imports) -> None:
    """TSK-03: a task is shown for ``ttl`` hours after its end, a live one for ever."""
    operations, image = imports.client.operations, imports.image()
    imports.create(image, ttl=1)
    ended = imports.finish(imports.claim(), success=False)
    live = imports.create(None)
    assert [task.id for task in operations.of_image(USER, image)] == [ended.id]
    with imports.engine.begin() as connection:
        connection.execute(sa.text("UPDATE operations SET expires_at = expires_at - interval '61 minutes'"))
    assert operations.of_image(USER, image) == []
    assert [task.id for task in operations.list(ADMIN, OperationQuery(limit=9))] == [live.id]
    with pytest.raises(errors.NotFound):
        operations.get(ADMIN, ended.id)


def test_tasks_are_paged_in_every_order(imports: Imports) -> None:
    operations = imports.client.operations
    for _ in range(5):
        imports.create(imports.image())
    imports.finish(imports.claim(), success=False)
    for key in SORT_KEYS:
        asked = {way: OperationQuery(limit=9, sort_key=key, sort_dir=way) for way in DIRECTIONS}
        ways = {way: operations.list(USER, query) for way, query in asked.items()}
        assert list(ways["asc"]) == list(reversed(ways["desc"]))
        for way, expected in ways.items():
            pages: list[Operation] = []
            marker = None
            while page := operations.list(USER, replace(asked[way], limit=2, marker=marker)):
                pages += page
                marker = page[-1].id
            assert pages == list(expected)


def test_tasks_are_filtered(imports: Imports) -> None:
    operations = imports.client.operations
    first = imports.create(None, kind=OperationKind.IMPORT)
    second = imports.create(imports.image())
    imports.claim()
    for query, expected in (
        (OperationQuery(limit=9, status=OperationStatus.PENDING), second.id),
        (OperationQuery(limit=9, status=OperationStatus.PROCESSING), first.id),
        (OperationQuery(limit=9, kind=OperationKind.IMPORT), first.id),
    ):
        assert [task.id for task in operations.list(USER, query)] == [expected]
    with pytest.raises(errors.NotFound):
        operations.list(USER, OperationQuery(limit=9, marker=new_id()))


CREATE: dict[str, Any] = {
    "id": "{id}", "kind": "import", "image_id": None, "input": {}, "ttl": 48, "host": None, "stores": [],
    "patience": 60, "on_fail": "queued", "allowed": [], "image_status": None,
}
BAD: list[tuple[str, dict[str, Any], str]] = [
    ("", {**CREATE, "id": "x"}, "id"),
    ("", {**CREATE, "kind": "other"}, "kind"),
    ("", {**CREATE, "image_id": 7}, "image_id"),
    ("", {**CREATE, "input": []}, "input"),
    ("", {**CREATE, "ttl": -1}, "ttl"),
    ("", {**CREATE, "stores": "fast"}, "stores"),
    ("", {**CREATE, "patience": 1e6}, "patience"),
    ("/alive", {"host": 7}, "host"),
    ("", {**CREATE, "on_fail": "active"}, "on_fail"),
    ("", {**CREATE, "allowed": ["new"]}, "allowed"),
    ("", {**CREATE, "image_status": "active"}, "image_status"),
    ("", {**CREATE, "allowed": ["uploading"]}, "image_status"),
    ("/claim", {"token": "x", "host": "a", "lease": 60}, "token"),
    ("/claim", {"token": "{id}", "host": "", "lease": 60}, "host"),
    ("/claim", {"token": "{id}", "host": "a", "lease": 1e9}, "lease"),
    ("/{id}/renew", {"token": "{id}", "lease": 60, "message": 7}, "message"),
    ("/{id}/finish", {"token": "{id}", "success": "yes"}, "success"),
    ("/{id}/finish", {"token": "{id}", "success": True, "result": 7}, "result"),
    ("/{id}/attach", {"token": "{id}", "image_id": "x", "stores": []}, "image_id"),
    ("/{id}/store_failed", {"token": "{id}", "store": ""}, "store"),
    ("/{id}/image", {"token": "{id}", "changes": {"size": -1}}, "size"),
    ("/{id}/image", {"token": "{id}", "changes": {"properties": {"a": 1}}}, "properties"),
]


@pytest.mark.parametrize(("path", "body", "field"), BAD)
def test_wrong_fields_are_named(client: RegistryClient, path: str, body: dict[str, Any], field: str) -> None:
    identifier = new_id()
    filled = {name: identifier if value == "{id}" else value for name, value in body.items()}
    with pytest.raises(errors.BadRequest, match=field) as caught:
        client.http.call(ADMIN, "POST", f"/v1/operations{path}".format(id=identifier), filled)
    assert caught.value.details == {"field": field}
    assert client.operations.list(ADMIN, OperationQuery(limit=1)) == []


def test_a_claim_leaves_out_the_projects_that_it_names(imports: Imports) -> None:
    operations = imports.client.operations
    mine = imports.create(imports.image())
    new = NewOperation(OperationKind.IMPORT, None, {}, ttl=48)
    theirs = operations.create(RequestContext("req-2", project_id="another"), new_id(), new)
    nobodys = operations.create(RequestContext("req-3", is_admin=True), new_id(), new)
    claimed = [operations.claim(ADMIN, new_id(), host="a", lease=60, without=["own", "third"]) for _ in range(3)]
    assert [operation and operation.id for operation in claimed] == [theirs.id, nobodys.id, None]
    assert imports.claim().operation == mine.id
    with pytest.raises(errors.BadRequest, match="without"):
        operations.claim(ADMIN, new_id(), host="a", lease=60, without=["project"] * 257)
