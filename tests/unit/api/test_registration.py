"""Whose data a caller may register in a store that deletes them together with the image."""

from types import SimpleNamespace

import pytest
from tests.unit.api.fake_registry import make_image

from glance_api.content.formats import FormatRules
from glance_api.services.locations.check import find
from glance_api.transfers.permits import RemoteChecks
from glance_common.model.context import RequestContext
from glance_common.model.errors import BadRequest, Forbidden, Unavailable, UnsupportedMediaType
from glance_common.stores.contract import BlobNotFound, Capabilities, StoreUnavailable

IMAGE = make_image(disk_format="raw", container_format="bare")
OTHER = "22222222-2222-4222-8222-222222222222"
OWNER = RequestContext("req-1", project_id="own", roles=("member", "reader"))
SERVICE = RequestContext("req-1", project_id="services", roles=("service",))
ADMIN = RequestContext("req-1", project_id="admins", roles=("admin",), is_admin=True)


class Pool:
    """A store of ours that users may name: every key has four bytes."""

    id, kind = "pool", "rbd"
    capabilities = Capabilities(schemes=("rbd",), add=True, delete=True, ranges=True)
    error: Exception | None = None
    open_error: Exception | None = None
    data = b"\x01ABC"
    closed = 0

    def size(self, key: str) -> int:
        if self.error is not None:
            raise self.error
        return 4

    def open(self, key: str, offset: int = 0, length: int | None = None) -> "Pool":
        if self.open_error is not None:
            raise self.open_error
        return self

    def __iter__(self):
        yield self.data

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def pool() -> Pool:
    return Pool()


@pytest.fixture
def glance(pool):
    """A service with that store, where what follows rbd:// is the key."""
    stores = SimpleNamespace(user_location=lambda url: (pool, url.removeprefix("rbd://")))
    settings = SimpleNamespace(image_size_cap=100, format_rules=FormatRules())
    return SimpleNamespace(stores=stores, settings=settings, remote_checks=RemoteChecks(1, 15.0))


@pytest.mark.parametrize("key", [IMAGE.id, f"{IMAGE.id}.3"])
def test_data_that_were_made_for_the_image(glance, key):
    found = find(glance, OWNER, IMAGE, f"rbd://{key}")
    assert (found.key, found.size, found.is_external) == (key, 4, False)


@pytest.mark.parametrize("key", [OTHER, f"{OTHER}.1", f"{IMAGE.id}x", ""])
def test_no_owner_has_foreign_data_deleted_with_his_image(glance, key):
    with pytest.raises(Forbidden, match="with the id of this image"):
        find(glance, OWNER, IMAGE, f"rbd://{key}")
    for trusted in (SERVICE, ADMIN):
        assert find(glance, trusted, IMAGE, f"rbd://{key}").key == key


def test_a_store_of_ours_that_is_down_is_no_fault_of_the_caller(glance, pool):
    pool.error = StoreUnavailable("10.0.0.5 does not answer")
    with pytest.raises(Unavailable) as caught:
        find(glance, OWNER, IMAGE, f"rbd://{IMAGE.id}")
    assert "10.0.0.5" not in caught.value.message
    pool.error = BlobNotFound("nothing")
    with pytest.raises(BadRequest):
        find(glance, OWNER, IMAGE, f"rbd://{IMAGE.id}")


def test_s34_data_in_a_store_of_the_cloud_are_inspected_alike(glance, pool):
    url = f"rbd://{IMAGE.id}"
    with pytest.raises(UnsupportedMediaType, match="content of the image is raw"):
        find(glance, SERVICE, IMAGE._replace(disk_format="qcow2"), url)
    assert pool.closed == 1
    pool.data = b"\x01AB"
    with pytest.raises(BadRequest, match="finds no data"):
        find(glance, SERVICE, IMAGE, url)
    pool.open_error = StoreUnavailable("10.0.0.5 does not answer")
    with pytest.raises(Unavailable) as caught:
        find(glance, SERVICE, IMAGE, url)
    assert "10.0.0.5" not in caught.value.message


def test_s34_nothing_is_asked_before_it_is_known_what_to_look_for(glance, pool):
    pool.error = AssertionError("asked")
    for missing in ("disk_format", "container_format"):
        with pytest.raises(BadRequest, match=f"{missing} must be set"):
            find(glance, OWNER, IMAGE._replace(**{missing: None}), f"rbd://{IMAGE.id}")
