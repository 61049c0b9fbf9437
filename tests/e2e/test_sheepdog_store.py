"""The service with a Sheepdog cluster beside a file store: upload, range, download, delete, scrub, copies."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.e2e.calls import Caller
from tests.e2e.leftovers import files, wait_until_purged
from tests.servers.sheepdog import Sheepdog, install_dog, running
from tests.support.daemons import Services
from tests.support.raw_data import random_bytes
from tests.support.waiting import wait_for

from glance_common.stores.place_mark import NAME

pytestmark = pytest.mark.timeout(600)

MIB = 1024 * 1024
DATA = random_bytes(5 * MIB + 7)


class Cloud:
    """The daemons and what is in their stores."""

    def __init__(self, services: Services, disk: Path, cluster: Sheepdog) -> None:
        self.services = services
        self.caller = Caller(services.api.url)
        self.disk = disk
        self.cluster = cluster

    def uploaded_to(self, store: str, data: bytes) -> str:
        """Create an image with data in this store."""
        image = str(self.caller.create()["id"])
        self.caller.upload(image, data, headers={"X-Image-Meta-Store": store})
        return image

    def deleted(self, image: str) -> None:
        """Delete an image and wait until the scrubber has removed its data."""
        self.caller.delete(image)
        wait_until_purged(self.services, image)
        assert set(self.cluster.names()) == {NAME}
        assert files(self.disk) == set()


@pytest.fixture(scope="module")
def cloud(deploy: Callable[..., Services], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """The daemons with a sheepdog and a file store."""
    folder = tmp_path_factory.mktemp("sheepdog")
    disk = tmp_path_factory.mktemp("disk")
    with running(folder / "cluster") as cluster:
        services = deploy(
            shared={
                "DEFAULT": {"enabled_backends": "herd:sheepdog, disk:file"},
                "glance_store": {"default_backend": "herd"},
                "herd": {
                    "sheepdog_store_address": "127.0.0.1", "sheepdog_store_port": cluster.port,
                    "sheepdog_store_chunk_size": 2, "sheepdog_store_program": install_dog(folder),
                },
                "disk": {"filesystem_store_datadir": disk},
            },
            api={"DEFAULT": {"workers": 1, "show_multiple_locations": "true", "show_image_direct_url": "true"}},
            scrubber={"DEFAULT": {"wakeup_time": 1}},
        )
        yield Cloud(services, disk, cluster)


@pytest.mark.parametrize("size", [0, 1, len(DATA)])
def test_upload_range_download_and_delete(cloud: Cloud, size: int):
    caller, data = cloud.caller, DATA[:size]
    for form in (data, (data[at : at + 99_999] for at in range(0, size, 99_999))):
        image = str(caller.create()["id"])
        caller.upload(image, form)
        shown = caller.show(image)
        assert (shown["status"], shown["size"], shown["stores"]) == ("active", size, "herd")
        assert shown["os_hash_value"] == hashlib.sha512(data).hexdigest()
        assert shown["direct_url"] == f"sheepdog://127.0.0.1:{cloud.cluster.port}:{image}"
        assert caller.download(image) == data
        if size > 2 * MIB:
            headers = {"Range": f"bytes={2 * MIB - 2}-{2 * MIB + 2}"}
            answer = caller.call("GET", f"/v2/images/{image}/file", 206, headers=headers)
            assert answer.content == data[2 * MIB - 2 : 2 * MIB + 3]
        assert set(cloud.cluster.names()) == {NAME, image}
        cloud.deleted(image)


def test_copies_between_the_stores(cloud: Cloud):
    caller = cloud.caller
    image = cloud.uploaded_to("disk", DATA)
    document = {"method": {"name": "copy-image"}, "stores": ["herd"]}
    caller.call("POST", f"/v2/images/{image}/import", 202, json=document)
    wait_for(lambda: set(caller.show(image)["stores"].split(",")) == {"disk", "herd"}, "the copy")
    caller.call("DELETE", f"/v2/stores/disk/{image}", 204)
    wait_for(lambda: files(cloud.disk) == set(), "the end of the first copy")
    assert caller.download(image) == DATA
    cloud.deleted(image)


def test_no_location_can_be_registered(cloud: Cloud):
    """The scheme is none of those that callers may register, and the answer says so."""
    caller = cloud.caller
    held = cloud.uploaded_to("herd", DATA[:1000])
    image, place = str(caller.create()["id"]), f"127.0.0.1:{cloud.cluster.port}"

    def add(url: str) -> str:
        change = [{"op": "add", "path": "/locations/-", "value": {"url": url, "metadata": {}}}]
        headers = {"Content-Type": "application/openstack-images-v2.1-json-patch"}
        return str(caller.call("PATCH", f"/v2/images/{image}", 400, json=change, headers=headers).text)

    for rest in (f"{place}:{held}", f"{place}:guest-disk", f"{place}:--snapshot", f"{place}:{held};x", held):
        assert "cannot be registered" in add(f"sheepdog://{rest}")
    caller.delete(image)
    cloud.deleted(held)


def test_a_full_cluster_answers_413_and_a_cluster_that_is_away_503(cloud: Cloud):
    caller, vdis = cloud.caller, cloud.cluster.vdis
    image = cloud.uploaded_to("herd", DATA[:1000])
    room, vdis.room = vdis.room, 1
    caller.upload(str(caller.create()["id"]), DATA[:1000], 413)
    vdis.room, vdis.is_formatted = room, False
    try:
        answer = caller.upload(str(caller.create()["id"]), DATA[:1000], 503)
        assert "dog" not in answer.text
    finally:
        vdis.is_formatted = True
    wait_for(lambda: caller.call("GET", f"/v2/images/{image}/file").content == DATA[:1000], "the cluster's return")
    cloud.deleted(image)
