"""Whose data a caller may register in a store that deletes them together with the image."""

from types import SimpleNamespace

import pytest
from tests.unit.api.fake_registry import make_image

from glance_api.permits import RemoteChecks
from glance_api.services.registration import find
from glance_common.context import RequestContext
from glance_common.errors import BadRequest, Forbidden, Unavailable
from glance_common.stores.contract import BlobNotFound, Capabilities, StoreUnavailable

IMAGE = make_image()
OTHER = "22222222-2222-4222-8222-222222222222"
OWNER = RequestContext("req-1", project_id="own", roles=("member", "reader"))
SERVICE = RequestContext("req-1", project_id="services", roles=("service",))
ADMIN = RequestContext("req-1", project_id="admins", roles=("admin",), is_admin=True)


class Pool:
    """A store of ours that users may name: every key has four bytes."""

    id, kind = "pool", "rbd"
    capabilities = Capabilities(schemes=("rbd",), add=True, delete=True, ranges=True)
    error: Exception | None = None

    def size(self, key: str) -> int:
        if self.error is not None:
            raise self.error
        return 4


@pytest.fixture
def pool() -> Pool:
    return Pool()


@pytest.fixture
def glance(pool):
    """A service with that store, where what follows rbd:// is the key."""
    stores = SimpleNamespace(user_location=lambda url: (pool, url.removeprefix("rbd://")))
    return SimpleNamespace(
        stores=stores, settings=SimpleNamespace(image_size_cap=100), remote_checks=RemoteChecks(1, 15.0)
    )


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
