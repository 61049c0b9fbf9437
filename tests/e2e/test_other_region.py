"""glance-download from a region that the original image service serves, with one Keystone for both (IMP-05, S-22)."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pytest
from deploy.local.embedded_postgres import PostgresServer
from tests.e2e.calls import MIB, Caller
from tests.e2e.people import People, keystone_options
from tests.servers.keystone import ALT_DEMO, DEMO, Keystone
from tests.servers.original import Original
from tests.servers.postgres import drop_database
from tests.support.daemons import Services
from tests.support.files import files_below, size_of
from tests.support.raw_data import random_bytes
from tests.support.waiting import wait_for

pytestmark = pytest.mark.timeout(900)

REGION = "elsewhere"
DATA = random_bytes(3 * MIB)


@dataclass(frozen=True)
class Half:
    """A download that has begun: the image here, the image there, and the pipe that its data come through."""

    image: str
    remote: str
    pipe: IO[bytes]


@pytest.fixture(scope="module")
def original(
    keystone: Keystone, postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Original]:
    """The other region's image service."""
    postgres.create_database("elsewhere")
    service = Original(tmp_path_factory.mktemp("original"), postgres.url("elsewhere"), {
        "paste_deploy": {"flavor": "keystone"}, "keystone_authtoken": keystone.middleware_options(),
    })  # fmt: skip
    keystone.set_image_endpoint(service.url, REGION)
    try:
        service.start()
        yield service
    finally:
        service.stop()
        keystone.remove_endpoints(region_id=REGION)
        drop_database(postgres, "elsewhere")


@pytest.fixture(scope="module")
def services(deploy: Callable[..., Services], keystone: Keystone) -> Services:
    """Our region, which may download from the other one."""
    importing = {"DEFAULT": {"enabled_import_methods": "[glance-direct,glance-download]"}}
    return deploy(api={**keystone_options(keystone), **importing})


@pytest.fixture(scope="module")
def here(services: Services, people: Callable[[Services], People]) -> Caller:
    """The user demo in our region."""
    return people(services).demo


@pytest.fixture(scope="module")
def there(original: Original, keystone: Keystone) -> Caller:
    """The same user in the other region."""
    return Caller(original.url, {"X-Auth-Token": keystone.token(DEMO)})


def download(here: Caller, image: str, remote: str, expected: int = 202, **fields: str) -> str:
    """Ask for the data of an image there, and return the text of the answer."""
    method = {"name": "glance-download", "glance_region": REGION, "glance_image_id": remote, **fields}
    return here.call("POST", f"/v2/images/{image}/import", expected, json={"method": method}).text


def ended(here: Caller, image: str, status: str) -> dict[str, Any]:
    """Wait for the end of the import of an image, and return its task, which must have this status."""

    def task() -> dict[str, Any] | None:
        (only,) = here.call("GET", f"/v2/images/{image}/tasks", 200).json()["tasks"]
        return only if only["status"] in ("success", "failure") else None

    found = wait_for(task, "the end of the import")
    assert found["status"] == status, found
    return found


def staged(services: Services) -> list[Path]:
    return [path for path in files_below(services.staging) if size_of(path) >= MIB]


def test_imp05_data_and_properties_arrive(here: Caller, there: Caller):
    fields = {"hw_disk_bus": "scsi", "os_distro": "debian", "trait:CUSTOM_FAST": "required", "left_there": "yes"}
    remote = there.uploaded(DATA, name="there", min_disk=3, **fields)
    image = here.call("POST", "/v2/images", 201, json={"name": "here"}).json()["id"]
    download(here, image, remote)
    ended(here, image, "success")
    shown, known = here.show(image), there.show(remote)
    assert here.download(image) == DATA
    for name in ("status", "size", "checksum", "os_hash_algo", "os_hash_value", "disk_format", "container_format",
                 "owner", "hw_disk_bus", "os_distro", "trait:CUSTOM_FAST"):
        assert shown[name] == known[name], name
    assert (shown["name"], shown["min_disk"]) == ("here", 0)
    assert "left_there" not in shown


def failed(here: Caller, services: Services, image: str) -> str:
    """Wait for the import of an image to fail, and return why; the image is as it was before."""
    message = str(ended(here, image, "failure")["message"])
    wait_for(lambda: here.show(image)["status"] == "queued", "the image as it was")
    shown = here.show(image)
    assert [shown[name] for name in ("size", "checksum", "os_hash_value")] == [None, None, None]
    assert "os_distro" not in shown
    wait_for(lambda: not staged(services), "an empty staging directory")
    assert not [name for name in services.files() if image in name]
    return message


def test_what_the_caller_may_not_see_there_is_not_downloaded(
    here: Caller, original: Original, keystone: Keystone, services: Services
):
    foreign = Caller(original.url, {"X-Auth-Token": keystone.token(ALT_DEMO)}).uploaded(DATA, visibility="private")
    image = here.create()["id"]
    download(here, image, foreign)
    assert "404" in failed(here, services, image)


def test_an_image_that_is_deleted_there_before_the_download(here: Caller, there: Caller, services: Services):
    remote = there.uploaded(DATA)
    image = here.create()["id"]
    services.api.arm("api.operation.claimed", "wait")
    download(here, image, remote)
    services.api.wait_fired("api.operation.claimed")
    there.delete(remote)
    services.api.release("api.operation.claimed")
    assert "404" in failed(here, services, image)


def test_an_image_without_data_there(here: Caller, there: Caller, services: Services):
    remote = there.create()["id"]
    image = here.create()["id"]
    download(here, image, remote)
    assert "not active" in failed(here, services, image)


@pytest.mark.parametrize("change", ["other bytes", "fewer bytes"])
def test_damaged_data_are_not_taken(here: Caller, there: Caller, original: Original, services: Services, change: str):
    remote = there.uploaded(DATA, os_distro="debian")
    (original.images / remote).write_bytes(DATA[:-1] + b"!" if change == "other bytes" else DATA[:-MIB])
    image = here.create()["id"]
    download(here, image, remote)
    failed(here, services, image)
    # What failed once is asked for again, from an image whose data are as they were.
    (original.images / remote).write_bytes(DATA)
    download(here, image, remote)
    wait_for(lambda: here.show(image)["status"] == "active", "an active image")
    assert here.download(image) == DATA


@pytest.fixture
def half(here: Caller, there: Caller, original: Original, services: Services) -> Iterator[Half]:
    """A download that has got the first half of the data and waits for the rest."""
    remote = there.uploaded(DATA, os_distro="debian")
    (original.images / remote).unlink()
    os.mkfifo(original.images / remote)
    image = here.create()["id"]
    # For reading as well: the open does not wait for the service there, and a write does not fail without it.
    with os.fdopen(os.open(original.images / remote, os.O_RDWR), "r+b", buffering=0) as pipe:
        download(here, image, remote)
        begin = memoryview(DATA)[: 2 * MIB]
        while begin:
            begin = begin[pipe.write(begin) :]
        wait_for(lambda: staged(services), "the first half of the data")
        yield Half(image, remote, pipe)


def test_an_image_that_is_deleted_there_in_the_middle(here: Caller, there: Caller, services: Services, half: Half):
    there.delete(half.remote)
    half.pipe.close()
    failed(here, services, half.image)


def test_a_region_that_dies_in_the_middle(here: Caller, services: Services, original: Original, half: Half):
    original.kill()
    try:
        message = failed(here, services, half.image)
    finally:
        original.start()
    assert original.url not in message


def test_s22_the_task_shows_neither_token_nor_address(
    here: Caller, there: Caller, original: Original, services: Services
):
    remote = there.uploaded(DATA)
    image = here.create()["id"]
    download(here, image, remote)
    task = ended(here, image, "success")
    for secret in (here.headers["X-Auth-Token"], original.url):
        assert secret not in str(task)
        assert secret not in str(here.show(image))
    assert here.headers["X-Auth-Token"] not in services.api.said()
