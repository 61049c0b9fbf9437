"""Quotas as users meet them: one option for all, and unified limits from a real Keystone (QUO-01 to QUO-03)."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.e2e.calls import MIB, RAW, Caller
from tests.e2e.people import People, keystone_options, limit_options
from tests.servers.keystone import Keystone
from tests.support.clients import Clients, openstack_address
from tests.support.daemons import Services
from tests.support.raw_data import random_bytes
from tests.support.waiting import wait_for

pytestmark = pytest.mark.timeout(900)

QUOTA = 8 * MIB
UNIFIED = {"image_size_total": 8, "image_stage_total": 8, "image_count_total": 5, "image_count_uploading": 2}


@pytest.fixture(scope="module")
def bounded(deploy: Callable[..., Services]) -> Services:
    """A deployment in which every owner may have 8 MiB."""
    return deploy(api={"DEFAULT": {"user_storage_quota": "8MB"}})


@pytest.fixture
def caller(bounded: Services) -> Iterator[Caller]:
    """Its one project, without any image."""
    caller = Caller(bounded.api.url)
    yield caller
    for image in caller.call("GET", "/v2/images?limit=1000", 200).json()["images"]:
        caller.delete(image["id"])
    wait_for(lambda: bounded.files() == [], "the removal of all files")


@pytest.fixture(scope="module")
def cloud(deploy: Callable[..., Services], keystone: Keystone) -> People:
    """The users of a deployment with unified limits."""
    services = deploy(api={**keystone_options(keystone), **limit_options(keystone)})
    keystone.set_image_endpoint(services.api.url)
    keystone.set_registered_limits(**UNIFIED)
    return People(keystone, services.api.url)


@pytest.fixture
def people(cloud: People, keystone: Keystone) -> Iterator[People]:
    """The people of the cloud, without any image and with the limits that hold for all projects."""
    yield cloud
    keystone.set_project_limits("demo")
    for image in cloud.admin.call("GET", "/v2/images?limit=1000", 200).json()["images"]:
        cloud.admin.delete(image["id"])
    wait_for(lambda: not any(used(user) for user in (cloud.demo, cloud.alt_demo)), "the end of all usage")


def used(user: Caller) -> int:
    """Return what a project uses of everything, added up."""
    return sum(each["usage"] for each in user.call("GET", "/v2/info/usage", 200).json()["usage"].values())


def pieces(data: bytes) -> Iterator[bytes]:
    """Give the data as a client that does not know how much it will be."""
    for start in range(0, len(data), 256 * 1024):
        yield data[start : start + 256 * 1024]


def test_dat08_the_clients_are_told_of_a_storage_quota(
    bounded: Services, caller: Caller, clients: Clients, tmp_path: Path
):
    caller.uploaded(random_bytes(5 * MIB))
    large = tmp_path / "large.raw"
    large.write_bytes(random_bytes(4 * MIB))
    create = ("image", "create", "--file", large, "--disk-format", "raw", "--container-format", "bare", "large")
    refused = clients.openstack(*create, env=openstack_address(bounded.api.url))
    assert refused.code
    assert "413" in refused.output + refused.errors
    assert len(bounded.files()) == 1
    large.write_bytes(random_bytes(3 * MIB))
    clients.openstack(*create, env=openstack_address(bounded.api.url)).check()


@pytest.mark.parametrize("announced", [True, False])
def test_dat08_no_race_of_uploads_exceeds_the_quota(bounded: Services, caller: Caller, announced: bool):
    data = random_bytes(MIB + MIB // 2)
    images = [caller.create()["id"] for _ in range(16)]

    def upload(image: str) -> int:
        body = data if announced else pieces(data)
        return Caller(bounded.api.url).upload(image, body, 204, 413, 503).status_code

    with ThreadPoolExecutor(len(images)) as pool:
        codes = list(pool.map(upload, images))
    stored = sum(caller.show(image)["size"] or 0 for image in images)
    assert stored == codes.count(204) * len(data) <= QUOTA
    assert codes.count(413) > 0
    if announced:
        assert codes.count(204) == QUOTA // len(data)
    wait_for(lambda: {caller.show(image)["status"] for image in images} <= {"active", "queued"}, "the refused uploads")
    wait_for(lambda: len(bounded.files()) == codes.count(204), "as many files as images with data")


def test_s08_a_chunked_body_beyond_the_quota_leaves_nothing(bounded: Services, caller: Caller):
    image = caller.create()["id"]
    answer = caller.upload(image, pieces(random_bytes(9 * MIB)), 413)
    assert "user_storage_quota" in answer.text
    assert (caller.show(image)["status"], caller.show(image)["size"]) == ("queued", None)
    wait_for(lambda: bounded.files() == [], "the removal of what had come")
    caller.upload(image, pieces(random_bytes(QUOTA)))


def test_s11_a_delete_under_an_upload_frees_what_the_upload_has_removed(bounded: Services, caller: Caller):
    image, later = caller.create()["id"], caller.create()["id"]
    with caller.begin_upload(image, length=QUOTA) as wire:
        wire.send(random_bytes(MIB))
        wait_for(lambda: caller.show(image)["status"] == "saving", "the upload's begin")
        caller.delete(image)
        caller.upload(later, b"\x01", 413)
    wait_for(lambda: caller.upload(later, b"\x01", 204, 413).status_code == 204, "the room of the ended upload")
    assert bounded.files() == [later]


def test_quo02_unified_limits_hold_for_the_image_s_project(people: People, keystone: Keystone):
    image = people.demo.uploaded(random_bytes(6 * MIB))
    second = people.demo.create()["id"]
    answer = people.demo.upload(second, random_bytes(3 * MIB), 413)
    assert "image_size_total is exceeded: the limit is 8 MiB, 6 are used and 3 more are wanted" in answer.text
    keystone.set_project_limits("demo", image_size_total=9)
    people.demo.upload(second, random_bytes(3 * MIB))
    # An administrator who writes for a project uses that project's room.
    third = people.demo.create()["id"]
    people.admin.upload(third, b"\x01", 413)
    people.alt_demo.uploaded(b"\x01")
    owner = {"op": "replace", "path": "/owner", "value": people.project("alt_demo")}
    people.admin.patch(image, owner)
    answer = people.admin.patch(second, owner, expected=413)
    assert "image_size_total" in answer.text
    people.demo.upload(third, b"\x01")


def test_quo02_s26_images_are_counted(people: People):
    made = [people.demo.create()["id"] for _ in range(5)]
    answer = people.demo.call("POST", "/v2/images", 413, json=RAW)
    assert "image_count_total is exceeded: the limit is 5 images" in answer.text
    people.alt_demo.create()
    people.demo.delete(made[0])
    people.demo.create()


def test_quo02_uploads_are_counted(people: People):
    demo = people.demo
    images = [demo.create()["id"] for _ in range(3)]
    with demo.begin_upload(images[0], length=2) as first, demo.begin_upload(images[1], length=2) as second:
        for wire in (first, second):
            wire.send(b"\x01")
        wait_for(lambda: {demo.show(image)["status"] for image in images[:2]} == {"saving"}, "both uploads")
        assert "image_count_uploading" in demo.upload(images[2], b"\x01", 413).text
        first.send(b"\x01")
        assert first.answer()[0] == 204
        demo.upload(images[2], b"\x01")


def test_quo03_the_client_shows_usage_and_limits(people: People, keystone: Keystone, clients: Clients):
    people.demo.uploaded(random_bytes(3 * MIB))
    people.demo.create()
    keystone.set_project_limits("demo", image_count_total=-1, image_size_total=20)
    assert people.demo.call("GET", "/v2/info/usage", 200).json() == {
        "usage": {
            "image_size_total": {"usage": 3, "limit": 20},
            "image_stage_total": {"usage": 0, "limit": 8},
            "image_count_total": {"usage": 2, "limit": -1},
            "image_count_uploading": {"usage": 0, "limit": 2},
        }
    }
    table = clients.glance("usage", env=people.demo_env).check().output
    rows = [tuple(cell.strip() for cell in line.split("|")[1:-1]) for line in table.splitlines() if "image_" in line]
    assert ("image_size_total", "20", "3") in rows or ("image_size_total", "3", "20") in rows, table
    assert people.reader.call("GET", "/v2/info/usage", 200).json()["usage"]["image_size_total"]["usage"] == 3


def test_quo02_what_is_not_registered_may_not_be_used(people: People, keystone: Keystone):
    image = people.demo.create()["id"]
    keystone.set_registered_limits(image_count_total=5)
    try:
        assert "image_size_total" in people.demo.upload(image, b"\x01", 413).text, "what is not registered is 0"
    finally:
        keystone.set_registered_limits(**UNIFIED)
    people.demo.upload(image, b"\x01")
