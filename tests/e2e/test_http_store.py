"""A store on the web beside a file store: it takes no data, and disturbs nothing else."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.e2e.calls import Caller
from tests.e2e.leftovers import files, left_behind
from tests.support.daemons import Services
from tests.support.waiting import wait_for

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def disks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the file store."""
    return tmp_path_factory.mktemp("disks")


@pytest.fixture(scope="module")
def services(deploy: Callable[..., Services], disks: Path) -> Services:
    """A file store and an http store."""
    stores: dict[str, dict[str, object]] = {
        "DEFAULT": {"enabled_backends": "disks:file, web:http"},
        "glance_store": {"default_backend": "disks"},
        "disks": {"filesystem_store_datadir": disks},
    }
    return deploy(shared=stores)


@pytest.fixture(scope="module")
def caller(services: Services) -> Caller:
    """A caller without a token."""
    return Caller(services.api.url, {"Accept": "application/json"})


def test_both_stores_are_named(caller: Caller):
    made = caller.call("POST", "/v2/images", 201, json={"name": "x"})
    assert made.headers["OpenStack-image-store-ids"] == "disks,web"


def test_a_read_only_store_takes_no_data(caller: Caller, services: Services, disks: Path):
    image = caller.create()["id"]
    before = files(disks)
    assert "web" in caller.upload(image, b"\x01x", 410, headers={"X-Image-Meta-Store": "web"}).text
    assert not left_behind(services, image)
    assert files(disks) == before
    caller.upload(image, b"\x01x")
    assert caller.show(image)["stores"] == "disks"


def test_an_unknown_store_is_refused(caller: Caller, services: Services):
    image = caller.create()["id"]
    assert "absent" in caller.upload(image, b"\x01x", 400, headers={"X-Image-Meta-Store": "absent"}).text
    assert not left_behind(services, image)


def test_the_file_store_works_beside_it(caller: Caller, disks: Path, iso: Path):
    image = caller.create(disk_format="iso")["id"]
    caller.upload(image, iso.read_bytes(), headers={"X-Image-Meta-Store": "disks"})
    assert caller.download(image) == iso.read_bytes()
    caller.delete(image)
    wait_for(lambda: image not in files(disks), "the file's removal")


def test_a_read_only_default_store_is_a_choice(services: Services):
    api = services.new_api("web-first", {"glance_store": {"default_backend": "web"}})
    services.start(api)
    only_web = Caller(api.url)
    image = only_web.create()["id"]
    only_web.upload(image, b"\x01x", 410)
    only_web.upload(image, b"\x01x", headers={"X-Image-Meta-Store": "disks"})


def test_s09_nobody_registers_a_location(caller: Caller, services: Services):
    """Neither of a file nor of a web server: locations are off unless an operator opens them."""
    image = caller.create()["id"]
    for url in ("file:///etc/passwd", "filesystem:///etc/passwd", "FILE:///etc/passwd", "http://127.0.0.1/x"):
        place = {"url": url, "metadata": {}}
        caller.patch(image, {"op": "add", "path": "/locations/-", "value": place}, expected=403)
        caller.patch(image, {"op": "replace", "path": "/locations", "value": [place]}, expected=403)
        caller.call("POST", "/v2/images", 403, json={"locations": [place]})
    assert caller.show(image)["status"] == "queued"
