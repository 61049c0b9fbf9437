"""A real Cinder with images in Ceph: volumes that are clones of images, and images that are made of volumes."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.calls import MIB, Caller
from tests.e2e.leftovers import wait_until_purged
from tests.e2e.people import People, keystone_options
from tests.servers.cinder import Cinder
from tests.servers.keystone import DEMO, Keystone
from tests.servers.rbd import Administrator, RbdPool
from tests.support.daemons import Services
from tests.support.raw_data import random_bytes
from tests.support.waiting import wait_for

pytestmark = pytest.mark.timeout(900)

DATA = random_bytes(9 * MIB)
GIB = 1024 * MIB
SECONDS = 180
"""For a volume, or an image of one."""


@dataclass(frozen=True, slots=True)
class Cloud:
    """The daemons, Cinder, a user of both, and their pools."""

    services: Services
    user: Caller
    volumes: Caller
    project: str
    images: RbdPool
    disks: RbdPool

    def made(self, image: str, **fields: Any) -> dict[str, Any]:
        """Make a volume of an image and return what Cinder says of it."""
        body = {"volume": {"size": 1, "imageRef": image, **fields}}
        made = self.volumes.call("POST", f"/v3/{self.project}/volumes", 202, json=body).json()["volume"]["id"]
        wait_for(lambda: self.state(made) == "available", "the volume", seconds=SECONDS)
        return self.shown(made)

    def shown(self, volume: str) -> dict[str, Any]:
        """Return what Cinder says of a volume."""
        return dict(self.volumes.call("GET", f"/v3/{self.project}/volumes/{volume}", 200).json()["volume"])

    def state(self, volume: str) -> str:
        """Return the status of a volume. Asserts that it is no error."""
        status = str(self.shown(volume)["status"])
        assert not status.startswith("error"), status
        return status

    def uploaded(self, volume: str, **fields: Any) -> dict[str, Any]:
        """Make an image of a volume and return it when it is active."""
        what = {"os-volume_upload_image": {"image_name": "of a volume", "container_format": "bare", **fields}}
        path = f"/v3/{self.project}/volumes/{volume}/action"
        image = self.volumes.call("POST", path, 202, json=what).json()["os-volume_upload_image"]["image_id"]
        wait_for(lambda: self.user.show(image)["status"] == "active", "the image of the volume", seconds=SECONDS)
        wait_for(lambda: self.state(volume) == "available", "the volume", seconds=SECONDS)
        return self.user.show(image)

    def begins_with(self, volume: str, data: bytes) -> bool:
        """Say whether a volume holds these data, and zeros behind them up to a MiB."""
        with self.disks.image(f"volume-{volume}") as disk:
            assert disk.size() == GIB
            return bool(disk.read(0, len(data) + MIB) == data + bytes(MIB))

    def parent(self, volume: str) -> tuple[str, str, str] | None:
        """Return of what a volume is a clone: pool, image, snapshot; None when it is none."""
        return self.disks.parent(f"volume-{volume}")

    def remove(self, volume: str) -> None:
        """Delete a volume."""
        path = f"/v3/{self.project}/volumes/{volume}"
        self.volumes.call("DELETE", path, 202)
        wait_for(lambda: self.volumes.call("GET", path).status_code == 404, "the end of the volume", seconds=SECONDS)


@pytest.fixture(scope="module")
def cloud(
    deploy: Callable[..., Services], rbd: Administrator, cinder: Cinder, keystone: Keystone,
    people: Callable[[Services], People], tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Cloud]:
    """The daemons, which show no user where data are. The catalog tells Cinder of them."""
    disk, folder = tmp_path_factory.mktemp("disk"), tmp_path_factory.mktemp("rbd")
    with rbd.pool() as images, rbd.foreign_pool(cinder.pool) as disks:
        services = deploy(
            shared={
                "DEFAULT": {"enabled_backends": "ceph:rbd, disk:file"},
                "glance_store": {"default_backend": "ceph"},
                "ceph": images.options(folder, rbd_thin_provisioning="true"),
                "disk": {"filesystem_store_datadir": disk},
            },
            api=keystone_options(keystone),
            scrubber={"DEFAULT": {"wakeup_time": 1}},
        )
        user = people(services).demo
        volumes = Caller(cinder.url, {**user.headers, "OpenStack-API-Version": "volume 3.70"})
        yield Cloud(services, user, volumes, keystone.project_ids[DEMO.project], images, disks)


def test_a_volume_is_a_clone_of_an_image_and_outlives_it(cloud: Cloud):
    image = cloud.user.uploaded(DATA, name="root", os_distro="debian", hw_disk_bus="scsi", min_disk=1)
    volume = cloud.made(image)
    assert cloud.parent(volume["id"]) == (cloud.images.name, image, "snap")
    assert cloud.begins_with(volume["id"], DATA)
    assert f"GET /v2/images/{image}/file" not in cloud.services.api.log.read_text(), "not a byte passes the service"
    assert volume["bootable"] == "true"
    known = volume["volume_image_metadata"]
    assert {name: known[name] for name in ("image_id", "image_name", "os_distro", "hw_disk_bus", "checksum")} == {
        "image_id": image, "image_name": "root", "os_distro": "debian", "hw_disk_bus": "scsi",
        "checksum": hashlib.md5(DATA, usedforsecurity=False).hexdigest(),
    }
    cloud.user.delete(image)
    cloud.user.call("GET", f"/v2/images/{image}", 404)
    wait_for(lambda: f"{image} has clones" in cloud.services.scrubber.log.read_text(), "the first try to delete")
    assert image in cloud.images.images()
    assert cloud.begins_with(volume["id"], DATA)
    cloud.remove(volume["id"])
    wait_until_purged(cloud.services, image, "ceph")
    assert image not in cloud.images.images()


def test_what_cannot_be_cloned_is_copied(cloud: Cloud, tmp_path: Path):
    """A qcow2 in the pool is converted; a raw image of another store is written into the pool."""
    raw, qcow2 = tmp_path / "raw", tmp_path / "qcow2"
    raw.write_bytes(DATA)
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, qcow2], check=True, timeout=60)
    elsewhere = str(cloud.user.create()["id"])
    cloud.user.upload(elsewhere, DATA, headers={"X-Image-Meta-Store": "disk"})
    for image in (cloud.user.uploaded(qcow2.read_bytes(), disk_format="qcow2"), elsewhere):
        volume = cloud.made(image)
        assert volume["bootable"] == "true"
        assert cloud.begins_with(volume["id"], DATA)
        assert cloud.parent(volume["id"]) is None
        cloud.remove(volume["id"])
        cloud.user.delete(image)


def test_a_volume_becomes_an_image(cloud: Cloud, tmp_path: Path):
    source = cloud.user.uploaded(DATA, os_distro="debian")
    volume = cloud.made(source)["id"]
    image = cloud.uploaded(volume, disk_format="raw")
    whole = hashlib.sha512(DATA)
    for _ in range((GIB - len(DATA)) // MIB):
        whole.update(bytes(MIB))
    assert (image["size"], image["os_hash_value"], image["os_distro"]) == (GIB, whole.hexdigest(), "debian")
    assert cloud.images.bytes_written(image["id"]) < len(DATA) + MIB, "zeros take no space"
    begin = cloud.user.call("GET", f"/v2/images/{image['id']}/file", 206, headers={"Range": f"bytes=0-{10 * MIB - 1}"})
    assert begin.content == DATA + bytes(MIB)
    small = cloud.uploaded(volume, disk_format="qcow2")
    (tmp_path / "qcow2").write_bytes(cloud.user.download(small["id"]))
    subprocess.run(
        ["qemu-img", "convert", "-f", "qcow2", "-O", "raw", tmp_path / "qcow2", tmp_path / "raw"], check=True,
        timeout=60,
    )
    with (tmp_path / "raw").open("rb") as data:
        assert data.read(10 * MIB) == DATA + bytes(MIB)
    # A volume of the image of a volume is a clone again.
    again = cloud.made(image["id"])
    assert cloud.parent(again["id"]) == (cloud.images.name, image["id"], "snap")
    assert cloud.begins_with(again["id"], DATA)
    for each in (again["id"], volume):
        cloud.remove(each)
    images = {image["id"], small["id"], source}
    for each in images:
        cloud.user.delete(each)
        wait_until_purged(cloud.services, each, "ceph")
    assert images.isdisjoint(cloud.images.images())
