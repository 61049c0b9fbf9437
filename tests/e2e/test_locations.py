"""Locations on a web server and copies in two stores, driven by the commands people use; the scrubber works beside."""

import json
from collections.abc import Callable, Iterator
from hashlib import sha512
from pathlib import Path

import pytest
from tests.e2e.calls import Caller
from tests.e2e.leftovers import rows
from tests.support.clients import Clients, glance_address, openstack_address
from tests.support.daemons import Services
from tests.support.waiting import wait_for
from tests.support.web import Page, WebServer, web_server

pytestmark = pytest.mark.timeout(900)

DATA = b"\x01" + b"a disk on a mirror " * 1000
SECRET = "0123456789abcdef0123456789abcdef"


@pytest.fixture(scope="module")
def mirror() -> Iterator[WebServer]:
    """A web server with two equal files."""
    with web_server() as server:
        server.pages = {"/one.img": Page(DATA), "/two.img": Page(DATA)}
        yield server


@pytest.fixture(scope="module")
def disks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of both file stores."""
    folder = tmp_path_factory.mktemp("disks")
    for name in ("fast", "slow"):
        (folder / name).mkdir()
    return folder


@pytest.fixture(scope="module")
def services(deploy: Callable[..., Services], disks: Path, mirror: WebServer) -> Services:
    """Two file stores and one on the web, whose URLs are encrypted in the database."""
    return deploy(
        shared={
            "DEFAULT": {"enabled_backends": "fast:file, slow:file, web:http", "metadata_encryption_key": SECRET},
            "glance_store": {"default_backend": "fast"},
            "fast": {"filesystem_store_datadir": disks / "fast"},
            "slow": {"filesystem_store_datadir": disks / "slow"},
            "import_filtering_opts": {"allowed_hosts": "[127.0.0.1]", "allowed_ports": f"[{mirror.port}]"},
        },
        scrubber={"DEFAULT": {"wakeup_time": 1}},
        api={"DEFAULT": {"show_multiple_locations": "true", "show_image_direct_url": "true"}},
    )


@pytest.fixture(scope="module")
def caller(services: Services) -> Caller:
    """A caller without a token: without Keystone every caller is an administrator."""
    return Caller(services.api.url)


@pytest.fixture
def glance(services: Services, clients: Clients) -> Callable[..., str]:
    """The command ``glance`` of this deployment; returns what it printed."""
    return lambda *arguments: clients.glance(*glance_address(services.api.url), *arguments).check().output


def test_location_commands(glance: Callable[..., str], caller: Caller, mirror: WebServer, services: Services):
    image = caller.create(name="elsewhere")["id"]
    one, two = mirror.url("/one.img"), mirror.url("/two.img")
    digest = sha512(DATA).hexdigest()
    glance("location-add", "--url", one, "--metadata", '{"rack": "4"}', "--checksum", "0" * 32,
           "--hash-algo", "sha512", "--hash-value", digest, image)
    shown = caller.show(image)
    assert (shown["status"], shown["size"], shown["os_hash_value"]) == ("active", len(DATA), digest)
    assert shown["direct_url"] == one
    assert caller.download(image) == DATA
    glance("location-add", "--url", two, image)
    glance("location-update", "--url", two, "--metadata", '{"rack": "5"}', image)
    assert caller.show(image)["locations"] == [
        {"url": one, "metadata": {"rack": "4", "store": "web"}},
        {"url": two, "metadata": {"rack": "5", "store": "web"}},
    ]
    glance("location-delete", "--url", one, image)
    assert [place["url"] for place in caller.show(image)["locations"]] == [two]
    wait_for(lambda: _statuses(services, image) == ["deleted", "active"], "the row's end")
    assert caller.download(image) == DATA
    caller.delete(image)
    wait_for(lambda: _statuses(services, image) == ["deleted", "deleted"], "the rows' end")
    assert mirror.pages["/two.img"].body == DATA


def _statuses(services: Services, image: str) -> list[str]:
    """Return the statuses of an image's locations, and see on the way that no URL stands in the database."""
    found = rows(services, "SELECT status, key FROM locations WHERE image_id = %s ORDER BY position", image)
    assert all(key.startswith("sealed:1:") for _, key in found)
    return [status for status, _ in found]


def test_stores_commands(
    glance: Callable[..., str], caller: Caller, services: Services, clients: Clients, disks: Path, mirror: WebServer
):
    printed = glance("stores-info")
    assert all(store in printed for store in ("fast", "slow", "web", "read-only"))
    assert str(disks / "slow") in glance("stores-info", "--detail")
    listed = clients.openstack("image", "stores", "list", "-f", "json", env=openstack_address(services.api.url)).json()
    assert {row["ID"] for row in listed} == {"fast", "slow", "web"}
    image = caller.uploaded(DATA)
    digests = {"os_hash_algo": "sha512", "os_hash_value": sha512(DATA).hexdigest()}
    place = {"url": mirror.url("/one.img"), "metadata": {}, "validation_data": digests}
    caller.patch(image, {"op": "add", "path": "/locations/-", "value": place})
    assert caller.show(image)["stores"] == "fast,web"
    glance("stores-delete", "--store", "fast", image)
    assert caller.show(image)["stores"] == "web"
    wait_for(lambda: not (disks / "fast" / image).exists(), "the file's removal")
    refused = clients.glance(*glance_address(services.api.url), "stores-delete", "--store", "web", image)
    assert refused.code != 0
    assert caller.download(image) == DATA


def test_a_preferred_store(caller: Caller, services: Services, clients: Clients, mirror: WebServer, tmp_path: Path):
    image = caller.uploaded(DATA)
    digests = {"os_hash_algo": "sha512", "os_hash_value": sha512(DATA).hexdigest()}
    place = {"url": mirror.url("/two.img"), "metadata": {}, "validation_data": digests}
    caller.patch(image, {"op": "add", "path": "/locations/-", "value": place})
    mirror.seen.clear()
    target = tmp_path / "copy"
    save = ("image", "save", "--file", target, image)
    clients.openstack(*save, env=openstack_address(services.api.url)).check()
    assert mirror.seen == []
    clients.openstack(*save, "--store-preference", "web", env=openstack_address(services.api.url)).check()
    assert [path for method, path, _ in mirror.seen if method == "GET"] == ["/two.img"]
    assert target.read_bytes() == DATA


def test_add_location_command(glance: Callable[..., str], caller: Caller, mirror: WebServer, services: Services):
    """The location API with its workers, and the way it says no."""
    digests = {"os_hash_algo": "sha512", "os_hash_value": sha512(DATA).hexdigest()}
    image, other, wrong = (caller.create()["id"] for _ in range(3))
    glance("add-location", "--url", mirror.url("/one.img"), "--validation-data", json.dumps(digests), image)
    wait_for(lambda: caller.show(image)["status"] == "active", "the digest")
    assert caller.show(image)["os_hash_value"] == digests["os_hash_value"]
    glance("add-location", "--url", mirror.url("/one.img"), other)
    wait_for(lambda: caller.show(other)["os_hash_value"] == digests["os_hash_value"], "the digest that follows")
    assert caller.download(other) == caller.download(image) == DATA
    digests["os_hash_value"] = "a" * 128
    glance("add-location", "--url", mirror.url("/two.img"), "--validation-data", json.dumps(digests), wrong)
    wait_for(lambda: caller.show(wrong)["status"] == "queued", "the refusal")
    wait_for(lambda: _statuses(services, wrong) == ["deleted"], "the row's end")
    places = caller.call("GET", f"/v2/images/{image}/locations", 200).json()
    assert places == [{"url": mirror.url("/one.img"), "metadata": {"store": "web"}}]
