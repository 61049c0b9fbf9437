"""Edits of locations, from the client through the protocol to the rows and back."""

from __future__ import annotations

from dataclasses import replace
from uuid import uuid4

import pytest
from tests.support.registry_rows import ADMIN, OWNER
from tests.support.wsgi_adapter import LOST, WsgiAdapter

from glance_common.model import errors
from glance_common.model.image import Image, NewLocation
from glance_common.model.operation import OperationKind
from glance_common.model.status import ImageStatus, OperationStatus
from glance_common.registry_client import RegistryClient
from glance_common.registry_client.locations import HashingOperation, LocationEdit

DATA = {"size": 5, "checksum": "c" * 32, "os_hash_algo": "sha512", "os_hash_value": "h" * 128}
RAW = {"visibility": "private", "owner": "own", "disk_format": "raw", "container_format": "bare"}


def new_id() -> str:
    return str(uuid4())


def create(client: RegistryClient) -> Image:
    document = {"id": new_id(), "name": "one", **RAW, "properties": {}, "tags": []}
    return client.images.create(OWNER, new_id(), document)


def on_the_web(**values: object) -> NewLocation:
    fields: dict[str, object] = {
        "id": new_id(), "store": "web", "key": "https://host/image", "size": 5, "metadata": {}, "external": True,
    }
    return NewLocation(**{**fields, **values})  # type: ignore[arg-type]  # a test's shorthand


def first(location: NewLocation) -> LocationEdit:
    return LocationEdit(order=[location.id], add=[location], data=DATA)


def test_the_life_of_locations(client: RegistryClient) -> None:
    image, one, two = create(client), on_the_web(metadata={"rack": {"row": "4"}}), on_the_web(key="https://other/x")
    edit = replace(first(one), changes={"name": "two"})
    active = client.locations.edit(OWNER, image.id, new_id(), image.row_version, edit)
    assert (active.status, active.name, active.size, active.os_hash_value) == (
        ImageStatus.ACTIVE, "two", 5, DATA["os_hash_value"],
    )
    edit = LocationEdit(order=[two.id, one.id], add=[two], metadata={one.id: {"a": "b"}})
    both = client.locations.edit(OWNER, image.id, new_id(), active.row_version, edit)
    assert [(place.key, place.metadata) for place in both.locations] == [(two.key, {}), (one.key, {"a": "b"})]
    edit = LocationEdit(order=[one.id], remove=[two.id])
    rest = client.locations.edit(OWNER, image.id, new_id(), both.row_version, edit)
    assert [place.id for place in rest.locations] == [one.id]
    assert client.images.get(OWNER, image.id, locations=True) == rest
    assert client.deletions.due(ADMIN, limit=10).locations == (two.id,)


def test_an_edit_whose_answer_was_lost_is_done_once(client: RegistryClient, adapter: WsgiAdapter) -> None:
    image, location = create(client), on_the_web()
    adapter.faults = [LOST]
    active = client.locations.edit(OWNER, image.id, new_id(), image.row_version, first(location))
    assert [place.id for place in active.locations] == [location.id]


def test_errors_keep_their_classes(client: RegistryClient) -> None:
    image, location = create(client), on_the_web(store="disks", external=False, key="k")
    active = client.locations.edit(OWNER, image.id, new_id(), image.row_version, first(location))
    with pytest.raises(errors.VersionConflict):
        client.locations.edit(OWNER, image.id, new_id(), image.row_version, LocationEdit(order=[location.id]))
    gone = LocationEdit(order=[], remove=[location.id])
    with pytest.raises(errors.Forbidden):
        client.locations.edit(OWNER, image.id, new_id(), active.row_version, gone)
    other, stolen = create(client), on_the_web(store="disks", external=False, key="k")
    with pytest.raises(errors.Duplicate):
        client.locations.edit(OWNER, other.id, new_id(), other.row_version, first(stolen))
    with pytest.raises(errors.NotFound):
        client.locations.edit(OWNER, new_id(), new_id(), 1, first(stolen))


@pytest.mark.parametrize(("before_active", "is_done"), [(True, False), (False, False), (False, True)])
def test_a_location_with_its_hashing(
    client: RegistryClient, adapter: WsgiAdapter, before_active: bool, is_done: bool
) -> None:
    image, location = create(client), on_the_web()
    hashing = HashingOperation(new_id(), {"loc_url": "https://host/image"}, 48, before_active, is_done)
    edit = LocationEdit(order=[location.id], add=[location], data={"size": 5}, hashing=hashing)
    adapter.faults = [LOST]
    begun = client.locations.edit(OWNER, image.id, new_id(), image.row_version, edit)
    assert begun.status is (ImageStatus.IMPORTING if before_active else ImageStatus.ACTIVE)
    assert [place.id for place in begun.locations] == [location.id]
    (operation,) = client.operations.of_image(OWNER, image.id)
    assert (operation.id, operation.kind, operation.input) == (
        hashing.id, OperationKind.LOCATION_IMPORT, hashing.input,
    )
    assert operation.status is (OperationStatus.SUCCESS if is_done else OperationStatus.PENDING)


def test_nothing_that_is_done_comes_before_the_image_is_active(client: RegistryClient) -> None:
    image, location = create(client), on_the_web()
    hashing = HashingOperation(new_id(), {}, 48, before_active=True, is_done=True)
    edit = LocationEdit(order=[location.id], add=[location], data={"size": 5}, hashing=hashing)
    with pytest.raises(errors.BadRequest, match="before_active"):
        client.locations.edit(OWNER, image.id, new_id(), image.row_version, edit)
