"""The service with a datastore of a vCenter, beside a file store, from the configuration of the documentation."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from uuid import uuid4

import pytest
from tests.e2e.calls import Caller
from tests.e2e.leftovers import rows, wait_until_purged
from tests.e2e.pages import documented
from tests.servers import vcsim
from tests.servers.vcsim import DATACENTER, DATASTORES, PASSWORD, USER, VCenterSimulator
from tests.support.daemons import Services
from tests.support.raw_data import random_bytes
from tests.support.waiting import wait_for

from glance_common.stores.drivers.vmware.window import WINDOW
from glance_common.stores.place_mark import NAME

pytestmark = pytest.mark.timeout(600)

DATA = random_bytes(WINDOW + 3 * 1024 * 1024)


class Cloud:
    """The daemons and what is in their stores."""

    def __init__(self, services: Services, server: VCenterSimulator, directory: str) -> None:
        self.services = services
        self.caller = Caller(services.api.url)
        self.server = server
        self.directory = directory

    def objects(self) -> set[str]:
        """Return the names of the files in the directory of the store."""
        folder = self.server.datastore(DATASTORES[0]) / self.directory
        return {path.name for path in folder.glob("*")} - {NAME}

    def wait_until_gone(self, image: str) -> None:
        """Wait until the scrubber has removed the file of a deleted image, and said so."""
        wait_until_purged(self.services, image, "main")
        assert image not in self.objects()


@pytest.fixture(scope="module")
def cloud(deploy: Callable[..., Services], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """The daemons with the documented store and a file store."""
    shared = documented("vmware")
    assert shared["DEFAULT"].pop("enabled_backends") == "main:vmware"
    shared["DEFAULT"]["enabled_backends"] = "main:vmware, disk:file"
    shared["disk"] = {"filesystem_store_datadir": tmp_path_factory.mktemp("disk")}
    with vcsim.running(tmp_path_factory.mktemp("vcsim")) as server:
        for option, value in (
            ("server_host", server.address), ("server_username", USER), ("server_password", PASSWORD),
            ("datastores", f"{DATACENTER}:{DATASTORES[0]}"), ("ca_file", server.ca),
        ):
            assert f"vmware_{option}" in shared["main"], "the page has what is required"
            shared["main"][f"vmware_{option}"] = value
        services = deploy(
            shared=shared,
            api={"DEFAULT": {"workers": 1, "show_multiple_locations": "true", "show_image_direct_url": "true"}},
            scrubber={"DEFAULT": {"wakeup_time": 1}},
        )
        yield Cloud(services, server, "openstack_glance")


def test_upload_range_download_and_scrub(cloud: Cloud):
    caller = cloud.caller
    for form in (DATA[:1000], DATA, (DATA[at : at + 99_999] for at in range(0, len(DATA), 99_999))):
        data = form if isinstance(form, bytes) else DATA
        image = str(caller.create()["id"])
        caller.upload(image, form)
        shown = caller.show(image)
        assert (shown["status"], shown["size"]) == ("active", len(data))
        assert shown["os_hash_value"] == hashlib.sha512(data).hexdigest()
        assert caller.download(image) == data
        headers = {"Range": f"bytes=7-{len(data) - 2}"}
        assert caller.call("GET", f"/v2/images/{image}/file", 206, headers=headers).content == data[7:-1]
        assert cloud.objects() == {image}
        caller.delete(image)
        cloud.wait_until_gone(image)


def test_locations_name_the_datastore_and_hold_no_credentials(cloud: Cloud):
    image = str(cloud.caller.create()["id"])
    cloud.caller.upload(image, DATA[:1000])
    shown = cloud.caller.show(image)
    url = (
        f"vsphere://{cloud.server.address}/folder/{cloud.directory}/{image}"
        f"?dcPath={DATACENTER}&dsName={DATASTORES[0]}"
    )
    assert (shown["direct_url"], [place["url"] for place in shown["locations"]]) == (url, [url])
    assert rows(cloud.services, "SELECT store, key FROM locations WHERE image_id = %s", image) == [("main", image)]
    detail = cloud.caller.call("GET", "/v2/info/stores/detail", 200).text
    logs = cloud.services.api.log.read_text()
    for secret in (PASSWORD, USER, "vmware_soap_session"):
        assert secret not in detail
        assert secret not in logs
    cloud.caller.delete(image)
    cloud.wait_until_gone(image)


def test_locations_that_are_registered(cloud: Cloud):
    """A file of the directory is taken in; what is elsewhere is refused, with the reason."""
    caller, server = cloud.caller, cloud.server
    image, missing = str(caller.create()["id"]), str(uuid4())
    (server.datastore(DATASTORES[0]) / cloud.directory / image).write_bytes(DATA[:1000])

    def add(status: int, **changed: str) -> str:
        names = {
            "host": server.address, "directory": cloud.directory, "key": image, "datacenter": DATACENTER,
            "datastore": DATASTORES[0], **changed,
        }
        url = "vsphere://{host}/folder/{directory}/{key}?dcPath={datacenter}&dsName={datastore}".format(**names)
        change = [{"op": "add", "path": "/locations/-", "value": {"url": url, "metadata": {}}}]
        headers = {"Content-Type": "application/openstack-images-v2.1-json-patch"}
        return str(caller.call("PATCH", f"/v2/images/{image}", status, json=change, headers=headers).text)

    for changed in (
        {"datastore": "none"}, {"datacenter": "DC1"}, {"host": "vc.example.org"}, {"directory": "other"},
        {"key": "../x"}, {"key": f"{image}%0d%0aX: y"}, {"key": f"{image};x"}, {"datastore": f"{DATASTORES[0]}&x=y"},
        {"datastore": f"{DATASTORES[0]}%0a"},
    ):
        assert "another server or place, or a name" in add(400, **changed)
    assert "finds no data" in add(400, key=missing)
    add(200)
    assert caller.show(image)["status"] == "active"
    assert caller.download(image) == DATA[:1000]
    caller.delete(image)
    cloud.wait_until_gone(image)


def test_a_copy_of_an_image_in_a_file_store(cloud: Cloud):
    caller = cloud.caller
    image = str(caller.create()["id"])
    caller.upload(image, DATA, headers={"X-Image-Meta-Store": "disk"})
    document = {"method": {"name": "copy-image"}, "stores": ["main"]}
    caller.call("POST", f"/v2/images/{image}/import", 202, json=document)
    wait_for(lambda: set(caller.show(image)["stores"].split(",")) == {"disk", "main"}, "the copy")
    caller.call("DELETE", f"/v2/stores/disk/{image}", 204)
    assert caller.download(image) == DATA
    caller.delete(image)
    cloud.wait_until_gone(image)
