"""Usage and limits on the wire: what every call that may increase an owner's usage brings along."""

from uuid import uuid4

import pytest

from glance_common.model import errors
from glance_common.model.context import RequestContext
from glance_common.model.limits import Limits, Usage
from glance_common.registry_client import RegistryClient
from glance_common.registry_client.uploads import UploadResult, UploadStart

OWNER = RequestContext(request_id="req-1", project_id="own", is_admin=True)
BOUNDS = Limits("own", {"user_storage_quota": 10, "image_count_total": 2})


def new() -> str:
    return str(uuid4())


def queued(client: RegistryClient, owner: str = "own", limits: Limits | None = None) -> str:
    document = {"id": new(), "owner": owner, "visibility": "private", "disk_format": "raw", "container_format": "bare"}
    return client.images.create(OWNER, new(), document, limits=limits).id


def commit(client: RegistryClient, attempt: str, size: int, limits: Limits | None) -> None:
    client.uploads.commit(OWNER, attempt, UploadResult(size, {}), limits=limits)


def start(client: RegistryClient, image: str, attempt: str, *, size: int | None, limits: Limits | None = None) -> None:
    client.uploads.start(OWNER, image, attempt, UploadStart("fast", size, lease=60), limits=limits)


def test_an_upload_of_announced_size(client: RegistryClient) -> None:
    image, attempt = queued(client, limits=BOUNDS), new()
    with pytest.raises(errors.TooLarge) as refused:
        start(client, image, new(), size=11, limits=BOUNDS)
    assert refused.value.details == {"limit": "user_storage_quota"}
    start(client, image, attempt, size=10, limits=BOUNDS)
    assert client.usage.of_owner(OWNER, "own") == Usage(size=10, images=1, uploading=1)
    with pytest.raises(errors.TooLarge):
        commit(client, attempt, 11, BOUNDS)
    commit(client, attempt, 10, BOUNDS)


def test_an_upload_of_unknown_size(client: RegistryClient) -> None:
    attempt = new()
    start(client, queued(client), attempt, size=None, limits=BOUNDS)
    assert client.usage.reserve(OWNER, attempt, at_least=4, at_most=2**40, limits=BOUNDS) == 10
    with pytest.raises(errors.TooLarge):
        client.usage.reserve(OWNER, attempt, at_least=11, at_most=12, limits=BOUNDS)
    with pytest.raises(errors.Gone):
        client.usage.reserve(OWNER, new(), at_least=1, at_most=1, limits=BOUNDS)


def test_create_change_of_owner_and_restore(client: RegistryClient) -> None:
    images = [queued(client, limits=BOUNDS) for _ in range(2)]
    with pytest.raises(errors.TooLarge, match="image_count_total"):
        queued(client, limits=BOUNDS)
    foreign = queued(client, "other")
    with pytest.raises(errors.TooLarge, match="image_count_total"):
        client.images.update(OWNER, foreign, new(), 1, {"owner": "own"}, limits=BOUNDS)
    start(client, images[0], attempt := new(), size=10)
    commit(client, attempt, 10, None)
    client.images.delete(OWNER, images[0], new(), delayed=True, scrub_time=60)
    with pytest.raises(errors.TooLarge, match="user_storage_quota"):
        client.images.restore(OWNER, images[0], new(), limits=Limits("own", {"user_storage_quota": 9}))
    client.images.restore(OWNER, images[0], new(), limits=BOUNDS)


@pytest.mark.parametrize(
    "values",
    [{"image_weight_total": 1}, {"image_size_total": -1}, {"image_size_total": "1"}, {"image_size_total": 1.5}],
)
def test_limits_that_mean_nothing_are_refused(client: RegistryClient, values: dict[str, int]) -> None:
    with pytest.raises(errors.BadRequest, match=r"limits: values|image_size_total must be a whole number"):
        queued(client, limits=Limits("own", values))


def test_an_owner_may_have_any_name(client: RegistryClient) -> None:
    name = "ö /?&%"
    queued(client, name, Limits(name, {"image_count_total": 1}))
    assert client.usage.of_owner(OWNER, name) == Usage(images=1)
    with pytest.raises(errors.BadRequest, match="owner"):
        client.usage.of_owner(OWNER, "")


def test_the_largest_numbers_do_not_overflow(client: RegistryClient) -> None:
    vast = Limits("own", {"image_size_total": 2**63 - 1, "user_storage_quota": 2**63 - 1})
    start(client, queued(client), new(), size=2**62, limits=vast)
    with pytest.raises(errors.TooLarge, match="user_storage_quota"):
        start(client, queued(client), new(), size=2**62, limits=vast)
    assert client.usage.of_owner(OWNER, "own").size == 2**62
