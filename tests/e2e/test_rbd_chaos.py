"""The service while its Ceph hangs or is full, and while the API dies in the middle of what it does there.

The cluster of this file keeps its data on disk, so that its parts can be killed and started again.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator

import pytest
from tests.e2e.calls import Caller
from tests.e2e.hanging_store import *  # noqa: F403 - a test of every kind of store
from tests.e2e.hanging_store import Way
from tests.e2e.leftovers import hasten, left_behind, wait_until_purged
from tests.e2e.store_lives import LEASE, MIB, TIMEOUT
from tests.servers.ceph import Ceph
from tests.servers.rbd import Administrator, RbdPool
from tests.support.daemons import Services
from tests.support.raw_data import random_bytes
from tests.support.waiting import wait_for

pytestmark = pytest.mark.timeout(900)

DATA = random_bytes(48 * MIB)
SENT = 24 * MIB
"""More than what is under way at a time, so that some of it is in the pool."""


class CephWay(Way):
    """The cluster, which can be made to hang. Its OSD is started again then, as an operator does with one that hung.

    One that merely runs on may keep requests waiting for good, when its read lease ran out while it stood still.
    """

    def __init__(self, cluster: Ceph) -> None:
        self._cluster = cluster

    def shut(self) -> None:
        self._cluster.freeze()

    def reopen(self) -> None:
        self._cluster.thaw()
        self._cluster.kill("osd.0")
        self._cluster.start_daemon("osd.0")


class Cloud:
    """The daemons and their pool."""

    def __init__(self, services: Services, pool: RbdPool) -> None:
        self.services = services
        self.caller = Caller(services.api.url)
        self.pool = pool
        self.gate: Way = CephWay(pool.owner.cluster)

    def uploaded_to(self, store: str, data: bytes) -> str:
        """Create an image with data in this store."""
        image = str(self.caller.create()["id"])
        self.caller.upload(image, data, headers={"X-Image-Meta-Store": store})
        return image

    def kept(self, image: str) -> list[str]:
        """Return what the pool has of an image, in the trash too."""
        return [name for name in [*self.pool.images(), *self.pool.trash()] if name.startswith(image)]

    def kill_workers(self) -> None:
        """Kill -9 the workers of the API; their master makes new ones."""
        for pid in self.services.api.workers():
            os.kill(pid, signal.SIGKILL)
        self.caller = Caller(self.services.api.url)  # the kept connections are broken

    def wait_queued(self, image: str) -> None:
        """Wait until an image can be given data again."""
        wait_for(lambda: self.caller.show(image)["status"] == "queued", "the end of the upload that died", 180)

    def remove(self, image: str) -> None:
        """Delete an image, and wait until nothing of it is left."""
        self.caller.delete(image)
        wait_until_purged(self.services, image, "slow")
        assert self.kept(image) == []


@pytest.fixture(scope="module")
def cloud(deploy: Callable[..., Services], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """The daemons with a cluster of their own and a file store."""
    folder, disk = tmp_path_factory.mktemp("rbd"), tmp_path_factory.mktemp("disk")
    cluster = Ceph(tmp_path_factory.mktemp("ceph"), store="bluestore", gateway=False)
    try:
        cluster.start()
        owner = Administrator(cluster)
        with owner.pool() as pool:
            limits = {"rbd_store_operation_timeout": int(TIMEOUT), "rados_connect_timeout": int(TIMEOUT)}
            services = deploy(
                shared={
                    "DEFAULT": {"enabled_backends": "slow:rbd, disk:file"},
                    "glance_store": {"default_backend": "slow"},
                    "slow": pool.options(folder, **limits),
                    "disk": {"filesystem_store_datadir": disk},
                },
                api={"DEFAULT": {"workers": 1, "threads": 32}, "upload": {"lease": LEASE}},
                scrubber={"DEFAULT": {"wakeup_time": 1}},
            )
            yield Cloud(services, pool)
            services.stop()
        owner.close()
    finally:
        cluster.stop()


def test_a_worker_that_dies_in_mid_upload_leaves_nothing(cloud: Cloud):
    """A client that died keeps the image open for ``osd_client_watch_timeout``; then what it wrote is removed."""
    image = str(cloud.caller.create()["id"])
    with cloud.caller.begin_upload(image, length=len(DATA)) as wire:
        wire.send(DATA[:SENT])
        wait_for(lambda: cloud.kept(image) == [image], "the begin of the upload")
        cloud.kill_workers()
        assert wire.answer()[0] == 0
    cloud.wait_queued(image)
    cloud.caller.upload(image, DATA)
    assert cloud.caller.download(image) == DATA

    def only_the_second_is_left() -> bool:
        hasten(cloud.services, image)
        return cloud.kept(image) == [f"{image}.1"]

    wait_for(only_the_second_is_left, "the end of what the first upload left", seconds=180)
    cloud.remove(image)


def test_a_worker_that_dies_in_mid_download_hinders_nothing(cloud: Cloud):
    image = cloud.uploaded_to("slow", DATA)
    with cloud.caller.begin("GET", f"/v2/images/{image}/file", receive_buffer=65536) as wire:
        wire.read(MIB)
        cloud.kill_workers()
        assert len(wire.rest()) < len(DATA) - MIB
    assert cloud.caller.download(image) == DATA
    cloud.remove(image)


def test_a_full_cluster_is_413_and_can_be_emptied(cloud: Cloud):
    image, late = cloud.uploaded_to("slow", DATA), str(cloud.caller.create()["id"])
    try:
        cloud.pool.fill()
        for form in (DATA, iter([DATA])):
            cloud.caller.upload(late, form, 413)
            assert left_behind(cloud.services, late) == []
        assert cloud.caller.download(image) == DATA
        cloud.remove(image)
    finally:
        cloud.pool.give_room()
    cloud.caller.upload(late, DATA)
    cloud.remove(late)
