"""The disk of a store is taken away from under the service."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from deploy.local.processes import wait_until
from tests.support.deployment import Deployment, MountedFolder
from tests.support.image_client import HeldBody
from tests.support.ledger import Ledger, Outcome
from tests.support.promises import check_promises

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")

DATA = b"on the disk" * 200_000
MIB = 1024 * 1024


@pytest.fixture(scope="module")
def disk(make_deployment: Callable[..., Deployment]) -> Iterator[tuple[Deployment, MountedFolder]]:
    """A deployment whose data directory is a mount point."""
    mounted: list[MountedFolder] = []

    def prepare(images: Path) -> None:
        mounted.append(MountedFolder(images, images.with_name("disk")))
        mounted[0].mount()

    deployment = make_deployment(prepare=prepare)
    yield deployment, mounted[0]
    mounted[0].unmount()


@pytest.fixture(scope="module")
def running(disk: tuple[Deployment, MountedFolder]) -> Deployment:
    """Its deployment."""
    return disk[0]


@pytest.fixture
def mount(disk: tuple[Deployment, MountedFolder]) -> Iterator[MountedFolder]:
    """Its mount point; mounted again at the end whatever happened."""
    yield disk[1]
    disk[1].mount()


def tries(deployment: Deployment) -> int:
    return sum(row["attempts"] for row in deployment.query("SELECT attempts FROM locations"))


def test_unmounted(deployment: Deployment, ledger: Ledger, mount: MountedFolder):
    client = deployment.client(ledger)
    kept, deleted, empty = client.created(DATA), client.created(DATA), client.created()
    mount.unmount()
    assert client.delete(deleted).status == 204
    assert client.upload(empty, DATA).status == 503
    assert client.download(kept).status == 503
    wait_until(lambda: tries(deployment) > 0, what="a scrubber that tried", seconds=60)
    assert deployment.status(deleted) == "pending_delete", "no row says deleted"
    assert list(mount.place.iterdir()) == [], "nothing lands on the bare mount point"
    mount.mount()
    assert client.download(kept).body == DATA
    assert client.upload(empty, DATA).status == 204
    deployment.settle()
    assert deployment.status(deleted) == "deleted"
    check_promises(deployment, ledger)


def test_what_lies_under_the_mount_point_is_never_read(
    deployment: Deployment, ledger: Ledger, mount: MountedFolder
):
    client = deployment.client(ledger)
    image = client.created(DATA)
    assert client.download(image).body == DATA
    mount.unmount()
    under = mount.place / image
    under.write_bytes(b"of others  " * 200_000)
    assert client.download(image).status == 503
    under.unlink()
    mount.mount()
    assert client.download(image).body == DATA
    deployment.settle()
    check_promises(deployment, ledger)


def test_unmounted_in_the_middle_of_uploads_and_deletes(deployment: Deployment, ledger: Ledger, mount: MountedFolder):
    # The upload has to live until its disk is away.
    client = deployment.client(ledger, deployment.add_api({"upload": {"lease": 60}}))
    image = client.created()
    deleted = [client.created(DATA) for _ in range(8)]
    body = HeldBody(DATA, MIB)
    upload = deployment.background(client.upload, image, DATA, body)
    deployment.wait_status(image, "saving")
    deletes = [deployment.background(client.delete, each) for each in deleted]
    mount.unmount()
    body.release()
    for each in deletes:
        assert each.result().status == 204
    assert upload.result().outcome in (Outcome.DONE, Outcome.UNCLEAR)
    assert list(mount.place.iterdir()) == [], "nothing lands on the bare mount point"
    mount.mount()
    deployment.settle()
    check_promises(deployment, ledger)


def test_a_service_that_starts_without_its_disk(deployment: Deployment, ledger: Ledger, mount: MountedFolder):
    client = deployment.client(ledger)
    image, deleted = client.created(DATA), client.created(DATA)
    mount.unmount()
    for daemon in (deployment.api, deployment.scrubber):
        daemon.kill()
    deployment.revive()
    assert client.delete(deleted).status == 204
    assert client.download(image).status == 503
    assert client.upload(client.created(), DATA).status == 503
    wait_until(lambda: tries(deployment) > 0, what="a scrubber that tried")
    assert list(mount.place.iterdir()) == [], "not even a sentinel lands on the bare mount point"
    mount.mount()
    assert client.download(image).body == DATA
    deployment.settle()
    assert deployment.status(deleted) == "deleted"
    check_promises(deployment, ledger)
