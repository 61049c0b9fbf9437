"""The service with a pool of a Ceph cluster, beside a file store: every way of data, clones, a pool that vanishes."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from tests.e2e.calls import RAW, Caller
from tests.e2e.leftovers import files, rows, wait_until_purged
from tests.servers.rbd import Administrator, RbdPool
from tests.support.daemons import Services
from tests.support.image_client import identity
from tests.support.raw_data import random_bytes
from tests.support.waiting import wait_for

from glance_common.stores.ceph_modules import bindings

pytestmark = pytest.mark.timeout(900)

MIB = 1024 * 1024
DATA = random_bytes(13 * MIB)


class Cloud:
    """The daemons and what is in their stores."""

    def __init__(self, services: Services, disk: Path, pool: RbdPool) -> None:
        self.services = services
        self.caller = Caller(services.api.url)
        self.disk = disk
        self.pool = pool

    def uploaded(self, data: bytes, store: str = "main", **properties: str) -> str:
        """Create an image with data in a store."""
        image = str(self.caller.create(**properties)["id"])
        self.caller.upload(image, data, headers={"X-Image-Meta-Store": store})
        return image

    def stores_of(self, image: str) -> set[str]:
        """Return the stores that have the image."""
        return set(self.caller.show(image).get("stores", "").split(","))

    def copied(self, image: str, store: str) -> None:
        """Copy an image to one more store."""
        wanted = self.stores_of(image) | {store}
        document = {"method": {"name": "copy-image"}, "stores": [store]}
        self.caller.call("POST", f"/v2/images/{image}/import", 202, json=document)
        wait_for(lambda: self.stores_of(image) == wanted, f"the copy in {store}")

    def wait_until_gone(self, image: str) -> None:
        """Wait until the scrubber has removed the data of a deleted image, and said so."""
        wait_until_purged(self.services, image, "main")
        assert image not in self.pool.images()


@pytest.fixture(scope="module")
def cloud(
    deploy: Callable[..., Services], rbd: Administrator, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cloud]:
    """The daemons with a pool and a file store."""
    disk, folder = tmp_path_factory.mktemp("disk"), tmp_path_factory.mktemp("rbd")
    with rbd.pool() as pool:
        services = deploy(
            shared={
                "DEFAULT": {"enabled_backends": "main:rbd, disk:file"},
                "glance_store": {"default_backend": "main"},
                "main": pool.options(folder, rbd_thin_provisioning="true"),
                "disk": {"filesystem_store_datadir": disk},
            },
            api={"DEFAULT": {
                "workers": 2, "threads": 8, "show_multiple_locations": "true", "show_image_direct_url": "true",
            }},
            scrubber={"DEFAULT": {"wakeup_time": 1}},
        )
        yield Cloud(services, disk, pool)


def test_upload_download_and_delete(cloud: Cloud):
    caller = cloud.caller
    for data in (b"", DATA[: 2 * MIB], DATA):
        for form in (data, (data[at : at + 99_999] for at in range(0, len(data), 99_999))):
            image = str(caller.create()["id"])
            caller.upload(image, form)
            shown = caller.show(image)
            assert (shown["status"], shown["size"]) == ("active", len(data))
            assert shown["os_hash_value"] == hashlib.sha512(data).hexdigest()
            assert caller.download(image) == data
            assert image in cloud.pool.images()
            caller.delete(image)
            cloud.wait_until_gone(image)


def test_ranges(cloud: Cloud):
    image = cloud.uploaded(DATA)
    for begin, end in ((0, 0), (8 * MIB - 2, 8 * MIB + 2), (len(DATA) - 3, len(DATA) - 1)):
        headers = {"Range": f"bytes={begin}-{end}"}
        answer = cloud.caller.call("GET", f"/v2/images/{image}/file", 206, headers=headers)
        assert answer.content == DATA[begin : end + 1]
    cloud.caller.delete(image)


def test_the_url_is_the_one_that_nova_and_cinder_take_apart(cloud: Cloud):
    image = cloud.uploaded(DATA[:MIB])
    shown = cloud.caller.show(image)
    url = f"rbd://{cloud.pool.fsid}/{cloud.pool.name}/{image}/snap"
    assert (shown["direct_url"], [place["url"] for place in shown["locations"]]) == (url, [url])
    assert rows(cloud.services, "SELECT store, key FROM locations WHERE image_id = %s", image) == [("main", image)]
    cloud.caller.delete(image)


def test_only_services_see_where_the_data_are(cloud: Cloud, tmp_path: Path):
    """As the page says: an internal API shows the URLs as its policy allows; a public one shows none."""
    policy = tmp_path / "policy.yaml"
    policy.write_text('"get_image_location": "role:service"\n')
    hidden = {"show_multiple_locations": "false", "show_image_direct_url": "false"}
    trusted: dict[str, dict[str, object]] = {
        "paste_deploy": {"flavor": "trusted-auth"}, "oslo_policy": {"policy_file": policy},
    }
    public = cloud.services.new_api("public-api", {**trusted, "DEFAULT": hidden})
    internal = cloud.services.new_api("internal-api", {**trusted, "DEFAULT": {"show_image_direct_url": "false"}})
    cloud.services.start(public, internal)
    image = str(cloud.caller.create(visibility="public")["id"])
    cloud.caller.upload(image, DATA[:1000])
    for api, roles, sees in (
        (public, "member,reader,service", False), (internal, "member,reader", False),
        (internal, "member,reader,service", True),
    ):
        caller = Caller(api.url, identity("nova", roles))
        for document in (caller.show(image), caller.call("GET", "/v2/images", 200).json()):
            assert (f"rbd://{cloud.pool.fsid}" in json.dumps(document)) is sees, (api.url, roles)
        assert caller.download(image) == DATA[:1000]
    for api in (public, internal):
        api.stop()
    cloud.caller.delete(image)


def test_a_disk_is_cloned_from_an_image(cloud: Cloud):
    """What Nova and Cinder do. The image can be deleted; its data stay as long as the clone."""
    image = cloud.uploaded(DATA)
    source = cloud.caller.show(image)["direct_url"].removeprefix("rbd://").split("/")
    assert source[:2] == [cloud.pool.fsid, cloud.pool.name]
    cloud.pool.owner.cluster.command("rbd", "clone", f"{source[1]}/{source[2]}@{source[3]}", f"{source[1]}/disk-1")
    with cloud.pool.image("disk-1") as clone:
        assert clone.read(0, clone.size()) == DATA
        assert clone.parent_info() == (cloud.pool.name, image, "snap")
        clone.write(b"of the guest", 0)
    assert cloud.caller.download(image) == DATA
    cloud.caller.call("DELETE", f"/v2/images/{image}", 204)
    cloud.caller.call("GET", f"/v2/images/{image}", 404)
    wait_for(lambda: f"{image} has clones" in cloud.services.scrubber.log.read_text(), "the first try to delete")
    with cloud.pool.image("disk-1") as clone:
        assert clone.read(12, clone.size() - 12) == DATA[12:]
    assert image in cloud.pool.images()
    bindings().rbd.RBD().remove(cloud.pool.io, "disk-1")
    cloud.wait_until_gone(image)


def test_copies_between_kinds(cloud: Cloud):
    caller = cloud.caller
    image = cloud.uploaded(DATA, "disk")
    # Of other tests there may be something that is being removed.
    wait_for(lambda: files(cloud.disk) == {image}, "the image alone")
    cloud.copied(image, "main")
    caller.call("DELETE", f"/v2/stores/disk/{image}", 204)
    wait_for(lambda: files(cloud.disk) == set(), "the end of the first copy")
    assert caller.download(image) == DATA
    cloud.copied(image, "disk")
    caller.call("DELETE", f"/v2/stores/main/{image}", 204)
    wait_until_purged(cloud.services, image, "main")
    assert image not in cloud.pool.images()
    assert caller.download(image) == DATA
    caller.delete(image)


def test_v1(cloud: Cloud):
    headers = {f"x-image-meta-{name}": value for name, value in {"name": "old", **RAW}.items()}
    headers["Content-Type"] = "application/octet-stream"
    answer = cloud.caller.call("POST", "/v1/images", 201, headers=headers, data=DATA)
    image = answer.json()["image"]["id"]
    assert cloud.caller.call("GET", f"/v1/images/{image}", 200).content == DATA
    cloud.caller.call("DELETE", f"/v1/images/{image}", 200)
    cloud.wait_until_gone(image)


def test_locations_that_are_registered(cloud: Cloud):
    """Nova writes a snapshot into the pool by itself and registers it; what is elsewhere is refused."""
    caller, pool = cloud.caller, cloud.pool
    image = str(caller.create()["id"])
    bindings().rbd.RBD().create(pool.io, image, MIB)
    with pool.image(image) as made:
        made.write(DATA[:MIB], 0)
        made.create_snap("snap")
        made.protect_snap("snap")

    def add(url: str, status: int) -> str:
        change = [{"op": "add", "path": "/locations/-", "value": {"url": url, "metadata": {}}}]
        headers = {"Content-Type": "application/openstack-images-v2.1-json-patch"}
        return str(caller.call("PATCH", f"/v2/images/{image}", status, json=change, headers=headers).text)

    for url in (
        f"rbd://{pool.fsid[::-1]}/{pool.name}/{image}/snap", f"rbd://{pool.fsid}/vms/{image}/snap",
        f"rbd://{pool.fsid}/{pool.name}/{image};x/snap", f"rbd://{pool.fsid}/{pool.name}/volume-1/snap",
    ):
        assert "another server or place, or a name" in add(url, 400)
    disk = str(uuid4())
    bindings().rbd.RBD().create(pool.io, disk, MIB)
    assert "finds no data" in add(f"rbd://{pool.fsid}/{pool.name}/{disk}/snap", 400), "it has no snapshot: a disk"
    add(f"rbd://{pool.fsid}/{pool.name}/{image}/snap", 200)
    assert caller.show(image)["status"] == "active"
    assert caller.download(image) == DATA[:MIB]
    caller.delete(image)
    cloud.wait_until_gone(image)
    assert disk in pool.images()
    bindings().rbd.RBD().remove(pool.io, disk)


def test_an_image_that_cannot_be_cloned_is_told(cloud: Cloud, tmp_path: Path):
    """Clones need raw data."""
    disk = tmp_path / "disk.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", disk, "8M"], check=True, timeout=60)
    image = cloud.uploaded(disk.read_bytes(), disk_format="qcow2", container_format="bare")
    raw = cloud.uploaded(DATA[:1000])
    assert f"image {image} in store main has the format qcow2: only raw images can be cloned" in (
        cloud.services.api.log.read_text()
    )
    assert f"image {raw} in store main has the format" not in cloud.services.api.log.read_text()
    for each in (image, raw):
        cloud.caller.delete(each)


def test_a_pool_that_vanishes_and_comes_back(cloud: Cloud):
    """503 and a line for the operator; nothing is lost, and no daemon is started again."""
    caller, pool = cloud.caller, cloud.pool
    image = cloud.uploaded(DATA)
    pool.owner.command("osd pool rename", srcpool=pool.name, destpool=f"{pool.name}-away")
    try:
        wait_for(lambda: caller.call("GET", f"/v2/images/{image}/file").status_code == 503, "the loss")
        queued = str(caller.create()["id"])
        answer = caller.upload(queued, b"data", 503)
        assert pool.name not in answer.text
        assert caller.show(queued)["status"] == "queued"
    finally:
        pool.owner.command("osd pool rename", srcpool=f"{pool.name}-away", destpool=pool.name)
    wait_for(lambda: caller.call("GET", f"/v2/images/{image}/file").status_code == 200, "the pool's return")
    assert caller.download(image) == DATA
    for each in (image, queued):
        caller.delete(each)
    cloud.wait_until_gone(image)


def test_kep01_kep04_what_is_gone_is_found_and_replaced(cloud: Cloud):
    data = DATA[:MIB]
    good, gone = (cloud.uploaded(data) for _ in range(2))
    cloud.copied(gone, "disk")
    with cloud.pool.image(gone) as image:
        image.unprotect_snap("snap")
        image.remove_snap("snap")
    bindings().rbd.RBD().remove(cloud.pool.io, gone)
    found = cloud.services.scrub_once("--reconcile", "--fix", "--store", "main")
    assert (found.returncode, found.stderr) == (0, "")
    differences = [line.split()[:3] for line in found.stdout.splitlines()]
    assert ["missing", "main", gone] in differences
    assert not [line for line in differences if good in line]
    assert cloud.services.scrub_once("--verify", "--store", "main").returncode == 0
    assert cloud.stores_of(gone) == {"main", "disk"}
    assert f"{gone}.1" in cloud.pool.images()
    for image in (good, gone):
        assert cloud.caller.download(image) == data
        cloud.caller.delete(image)
        cloud.wait_until_gone(image)
