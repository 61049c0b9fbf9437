"""Operations through the registry client: made, claimed, worked on, ended."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa
from tests.support.registry_rows import ADMIN, OWNER, insert_image

from glance_common.context import RequestContext
from glance_common.image import Image, Upload
from glance_common.operation import Held, Operation, OperationKind
from glance_common.registry_client import RegistryClient
from glance_common.status import ImageStatus, OperationStatus

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
        return self.client.operations.create(
            USER, operation_id or new_id(), image_id=image_id, **{**wanted, **options}
        )

    def claim(self, host: str = "a") -> Held:
        operation = self.client.operations.claim(ADMIN, token := new_id(), host=host, lease=60)
        assert operation is not None
        return Held(operation.id, token)

    def copy(self, image_id: str, held: Held, store: str = "fast", *, activate: bool = True, **content: Any) -> Image:
        begun = self.start(image_id, store, operation=held)
        return self.client.uploads.commit(
            USER, begun.attempt, operation=held, activate=activate, **{**CONTENT, **content}
        )

    def start(self, image_id: str, store: str, **options: Any) -> Upload:
        return self.client.uploads.start(USER, image_id, new_id(), store=store, size=None, lease=60, **options)

    def show(self, image_id: str) -> Image:
        return self.client.images.get(OWNER, image_id, locations=True)

    def finish(self, held: Held, success: bool = True, message: str = "Import finished") -> Operation:
        return self.client.operations.finish(ADMIN, held, success=success, message=message)


@pytest.fixture
def imports(client: RegistryClient, engine: sa.Engine) -> Imports:
    return Imports(client, engine)


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
