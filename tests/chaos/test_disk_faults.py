"""A disk that fails under the services: the client is told so, nothing is left over, and the next try works.

Power that goes keeps what was acknowledged.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

import pytest
from deploy.local.processes import wait_until
from tests.support.deployment import Deployment, Layout
from tests.support.faulty_disk import Fault, FaultyDisk, Operation
from tests.support.image_client import HeldBody, ImageClient
from tests.support.ledger import FAILURE, SUCCESS, Ledger, Outcome
from tests.support.promises import check_promises

MIB = 1024 * 1024
DATA = bytes(range(251)) * 10_000
"""A few pieces, and no two of them alike."""
LARGE = DATA * 4
"""More than the file store leaves to the sync at the end."""
EDGES = (0, 1, MIB - 1, MIB, MIB + 1, len(DATA) // 2, len(DATA) - 1)
SECTORS = (0, 1, MIB, len(DATA) - 1)
FULL, DOWN = 413, 503


@pytest.fixture(scope="module")
def disks() -> list[FaultyDisk]:
    """The disk of the deployment, once that is made."""
    return []


@pytest.fixture(scope="module")
def running(make_deployment: Callable[..., Deployment], disks: list[FaultyDisk]) -> Deployment:
    """A deployment with two stores on a disk that fails."""

    def equip(deployment: Deployment) -> None:
        places = *deployment.stores.values(), *deployment.stagings.values(), deployment.services.folder / "cache"
        disks.append(FaultyDisk(deployment.services.folder / "control", *places, records=True))
        deployment.services.variables.update(disks[0].environment)

    return make_deployment(layout=Layout(stores=("fast", "slow")), equip=equip)


@pytest.fixture
def disk(deployment: Deployment, disks: list[FaultyDisk]) -> Iterator[FaultyDisk]:
    """The disk, without any fault."""
    disks[0].forget()
    yield disks[0]
    disks[0].disarm()


def fails(operation: Operation, number: int = errno.EIO, at: int = 0, status: int = DOWN) -> tuple[Fault, int]:
    """Return a fault of the default store and what an upload is answered."""
    return Fault(operation, number, at=at, part="images"), status


FAILURES = [
    *(fails(Operation.WRITE, errno.ENOSPC, at, FULL) for at in EDGES),
    *(fails(Operation.WRITE, errno.EIO, at) for at in EDGES),
    fails(Operation.WRITE, errno.EDQUOT, MIB, FULL),
    fails(Operation.SYNC),
    fails(Operation.SYNC, errno.ENOSPC, status=FULL),
    fails(Operation.SYNC_DIRECTORY),
    fails(Operation.NAME, errno.EIO),
    fails(Operation.NAME, errno.ENOENT),
    fails(Operation.NAME, errno.ESTALE),
]


def told(fault: Fault) -> str:
    return f"{errno.errorcode[fault.number]} of {fault.operation} at {fault.at}"


def body_of(data: bytes, is_known: bool) -> Iterable[bytes] | None:
    return None if is_known else iter([data[:MIB], data[MIB:]])


@pytest.mark.parametrize("is_known", [True, False], ids=["known size", "unknown size"])
def test_uploads(deployment: Deployment, ledger: Ledger, disk: FaultyDisk, is_known: bool):
    client = deployment.client(ledger)
    for fault, status in FAILURES:
        image = client.created()
        with disk.failing(fault):
            answer = client.upload(image, DATA, body_of(DATA, is_known))
        assert answer.status == status, told(fault)
        assert deployment.status(image) == "queued", told(fault)
        assert client.upload(image, DATA).status == 204, told(fault)
    deployment.settle()
    check_promises(deployment, ledger)


def test_an_upload_that_is_larger_than_what_is_written_behind(
    deployment: Deployment, ledger: Ledger, disk: FaultyDisk
):
    client = deployment.client(ledger)
    image = client.created()
    with disk.failing(Fault(Operation.WRITEBACK, part="images")):
        assert client.upload(image, LARGE).status == DOWN
    assert client.upload(image, LARGE).status == 204
    deployment.settle()
    check_promises(deployment, ledger)


def test_short_writes_are_no_failure(deployment: Deployment, ledger: Ledger, disk: FaultyDisk):
    client = deployment.client(ledger)
    with disk.failing(Fault(Operation.SHORT, most=4097)):
        image, staged = client.created(DATA), client.created()
        assert client.stage(staged, DATA).status == 204
        assert client.copy(image, "slow").status == 202
        assert client.import_staged(staged).status == 202
        wait_ended(client, image, staged)
    assert {*ended(client, image), *ended(client, staged)} == {SUCCESS}
    deployment.settle()
    check_promises(deployment, ledger)


def struck(disk: FaultyDisk, fault: Fault) -> bool:
    return bool(disk.strikes(fault.operation))


def ended(client: ImageClient, image: str) -> list[str]:
    """Return how the tasks of an image have ended; none while one still runs."""
    tasks = list((client.tasks(image) or {}).values())
    return tasks if {*tasks} <= {SUCCESS, FAILURE} else []


def wait_ended(client: ImageClient, *images: str) -> None:
    for image in images:
        wait_until(partial(has_ended, client, image), what=f"the end of the tasks of {image}")


def has_ended(client: ImageClient, image: str) -> bool:
    return bool(ended(client, image))


IN_STAGING = [
    (Fault(Operation.WRITE, errno.ENOSPC, at=0, part="staging"), FULL),
    (Fault(Operation.WRITE, errno.ENOSPC, at=MIB + 1, part="staging"), FULL),
    (Fault(Operation.WRITE, at=len(DATA) - 1, part="staging"), DOWN),
    (Fault(Operation.SYNC, part="staging"), DOWN),
    (Fault(Operation.SYNC_DIRECTORY, part="staging"), DOWN),
    (Fault(Operation.NAME, errno.ESTALE, part="staging"), DOWN),
]


def test_staging(deployment: Deployment, ledger: Ledger, disk: FaultyDisk):
    client = deployment.client(ledger)
    images = []
    for fault, status in IN_STAGING:
        images.append(client.created())
        with disk.failing(fault):
            answer = client.stage(images[-1], DATA)
        assert answer.status == status, told(fault)
        assert deployment.status(images[-1]) == "queued", told(fault)
        assert client.stage(images[-1], DATA).status == 204, told(fault)
        assert client.import_staged(images[-1]).status == 202
    wait_ended(client, *images)
    deployment.settle()
    for image in images:
        assert client.download(image).body == DATA
    check_promises(deployment, ledger)


IN_BACKGROUND = [
    Fault(Operation.WRITE, errno.ENOSPC, at=MIB + 1),
    Fault(Operation.WRITE, at=0),
    Fault(Operation.SYNC),
    Fault(Operation.SYNC_DIRECTORY),
    Fault(Operation.NAME, errno.ESTALE),
]


def in_store(fault: Fault, part: str) -> Fault:
    return Fault(fault.operation, fault.number, fault.at, part=part)


@pytest.mark.parametrize("fault", IN_BACKGROUND, ids=told)
def test_a_copy_to_the_second_store(deployment: Deployment, ledger: Ledger, disk: FaultyDisk, fault: Fault):
    client = deployment.client(ledger)
    image = client.created(DATA)
    with disk.failing(in_store(fault, "slow")):
        assert client.copy(image, "slow").status == 202
        wait_until(partial(struck, disk, fault), what="a copy that fails")
    assert client.download(image).body == DATA
    wait_ended(client, image)
    if ended(client, image) == [FAILURE]:
        assert client.copy(image, "slow").status == 202
        wait_until(lambda: SUCCESS in ended(client, image), what="the second copy")
    deployment.settle()
    assert {row["store"] for row in deployment.locations(image) if row["status"] == "active"} == {"fast", "slow"}
    check_promises(deployment, ledger)


@pytest.mark.parametrize("fault", IN_BACKGROUND, ids=told)
def test_an_import_of_staged_data(deployment: Deployment, ledger: Ledger, disk: FaultyDisk, fault: Fault):
    client = deployment.client(ledger)
    image = client.created()
    assert client.stage(image, DATA).status == 204
    with disk.failing(in_store(fault, "images")):
        assert client.import_staged(image).status == 202
        wait_until(partial(struck, disk, fault), what="an import that fails")
    wait_ended(client, image)
    if ended(client, image) == [FAILURE]:
        deployment.settle()
        assert client.upload(image, DATA).status == 204
    deployment.settle()
    assert client.download(image).body == DATA
    check_promises(deployment, ledger)


def test_a_purge(deployment: Deployment, ledger: Ledger, disk: FaultyDisk):
    client = deployment.client(ledger)
    for number, operation in [(errno.EIO, Operation.SYNC_DIRECTORY), (errno.ESTALE, Operation.NAME)]:
        image = client.created(DATA)
        with disk.failing(Fault(operation, number, part="images")):
            assert client.delete(image).status == 204
            wait_until(partial(has_failed, deployment, image), what="a purge that fails")
            assert deployment.status(image) == "pending_delete", "what may come back is not told as gone"
        deployment.settle()
        assert deployment.status(image) == "deleted"
    check_promises(deployment, ledger)


def has_failed(deployment: Deployment, image: str) -> bool:
    return bool(deployment.locations(image)[0]["attempts"])


@pytest.mark.parametrize("verify_downloads", ["remote", "always"])
def test_a_bad_sector(deployment: Deployment, ledger: Ledger, disk: FaultyDisk, verify_downloads: str):
    node = deployment.add_api({"DEFAULT": {"verify_downloads": verify_downloads, "workers": 1}})
    client = deployment.client(ledger, node)
    image = client.created(DATA)
    for at in SECTORS:
        with disk.failing(Fault(Operation.READ, at=at, part=f"images/{image}")):
            assert client.download(image).status in (None, DOWN), "what is not whole never ends as complete"
    assert client.download(image).body == DATA
    assert client.copy(image, "slow").status == 202
    wait_ended(client, image)
    for at in SECTORS:
        with disk.failing(Fault(Operation.READ, at=at, part=f"images/{image}")):
            assert client.download(image).body == DATA, "the good copy serves the rest"
    with disk.failing(Fault(Operation.READ, at=MIB, part=image)):
        assert client.download(image).status in (None, DOWN), "both copies are bad"
    deployment.settle()
    assert {row["status"] for row in deployment.locations(image)} == {"active"}, "an error proves nothing of the data"
    check_promises(deployment, ledger)


CACHED = [
    Fault(Operation.WRITE, errno.ENOSPC, part="incomplete"),
    Fault(Operation.WRITE, at=MIB + 1, part="incomplete"),
    Fault(Operation.WRITE, at=len(DATA) - 1, part="incomplete"),
    Fault(Operation.SYNC, part="incomplete"),
    Fault(Operation.SYNC_DIRECTORY, part="cache"),
    Fault(Operation.NAME, errno.ESTALE, part="cache"),
]


@pytest.fixture
def cache(deployment: Deployment) -> Path:
    """The directory of the image cache."""
    return deployment.services.folder / "cache"


def cached(client: ImageClient, image: str, folder: Path) -> bool:
    """Download the image and return whether it is in the cache."""
    assert client.download(image).body == DATA
    return (folder / image).exists() and not list((folder / "incomplete").iterdir())


def test_a_fill_of_the_image_cache(deployment: Deployment, ledger: Ledger, disk: FaultyDisk, cache: Path):
    client = deployment.client(ledger, deployment.add_api({"DEFAULT": {"image_cache_dir": cache, "workers": 1}}))
    for fault in CACHED:
        disk.forget()  # earlier strikes are no answer
        image = client.created(DATA)
        with disk.failing(fault):
            assert client.download(image).body == DATA, told(fault)
            wait_until(partial(struck, disk, fault), what="a fill that fails")
        wait_until(partial(cached, client, image, cache), what=f"a copy in the cache after {told(fault)}")
    deployment.settle()
    check_promises(deployment, ledger)


def test_a_bad_sector_of_the_image_cache(deployment: Deployment, ledger: Ledger, disk: FaultyDisk, cache: Path):
    client = deployment.client(ledger, deployment.add_api({"DEFAULT": {"image_cache_dir": cache, "workers": 1}}))
    image = client.created(DATA)
    for at in SECTORS:
        wait_until(partial(cached, client, image, cache), what="a copy in the cache")
        with disk.failing(Fault(Operation.READ, at=at, part=f"cache/{image}")):
            assert client.download(image).body == DATA, "the store serves the rest"
        assert not (cache / image).exists(), "a copy that cannot be read leaves the cache"
    with disk.failing(Fault(Operation.READ, at=MIB, part=f"cache/incomplete/{image}")):
        assert client.download(image).body == DATA, "the store serves the rest of a copy that is being made"
    image = client.created(DATA)
    assert client.copy(image, "slow").status == 202
    wait_ended(client, image)
    with disk.failing(Fault(Operation.READ, at=MIB, part=f"images/{image}")):
        assert client.download(image).body == DATA, "the good copy serves the rest of a fill"
        wait_until(partial(cached, client, image, cache), what="a copy in the cache, from both stores")
    deployment.settle()
    check_promises(deployment, ledger)


# --- loss of power ---


def lose_power(deployment: Deployment, disk: FaultyDisk) -> None:
    """Kill everything that uses the disk, let it forget what was not synced, and start again."""
    for daemon in (deployment.api, deployment.scrubber):
        daemon.kill()
    disk.power_loss()
    deployment.revive()


def test_power_is_lost_after_answers(deployment: Deployment, ledger: Ledger, disk: FaultyDisk):
    client = deployment.client(ledger)
    uploaded, deleted, copied = (client.created(DATA) for _ in range(3))
    staged = client.created()
    assert client.upload(client.created(), DATA, body_of(DATA, False)).status == 204
    assert client.stage(staged, DATA).status == 204
    assert client.copy(copied, "slow").status == 202
    wait_ended(client, copied)
    assert client.delete(deleted).status == 204
    deployment.wait_status(deleted, "deleted")
    lose_power(deployment, disk)
    assert client.download(uploaded).body == DATA
    assert client.import_staged(staged).status == 202
    wait_ended(client, staged)
    deployment.settle()
    assert client.download(staged).body == DATA
    check_promises(deployment, ledger)


def test_power_is_lost_during_uploads(deployment: Deployment, ledger: Ledger, disk: FaultyDisk):
    client = deployment.client(ledger)
    moments = ["api.upload.started", "file.add.before-sync", "file.add.after-sync", "file.add.after-link",
               "file.add.after-dirsync", "api.upload.before-commit", "api.upload.after-commit"]
    images = {}
    for moment in moments:
        images[moment] = client.created()
        deployment.api.arm(moment, "kill")
        assert client.upload(images[moment], DATA).outcome is Outcome.UNCLEAR
        assert deployment.api.fired(moment)
    half = client.created()
    body = HeldBody(DATA, MIB)
    upload = deployment.background(client.upload, half, DATA, body)
    deployment.wait_status(half, "saving")
    lose_power(deployment, disk)
    body.release()
    assert upload.result().outcome is Outcome.UNCLEAR
    deployment.settle()
    assert deployment.status(images.pop("api.upload.after-commit")) == "active"
    for image in [*images.values(), half]:
        assert client.upload(image, DATA).status == 204
    deployment.settle()
    check_promises(deployment, ledger)


def test_power_is_lost_during_purges(deployment: Deployment, ledger: Ledger, disk: FaultyDisk):
    client = deployment.client(ledger)
    for moment in ("file.delete.after-unlink", "purge.delete.after"):
        image = client.created(DATA)
        deployment.scrubber.arm(moment, "kill")
        assert client.delete(image).status == 204
        deployment.scrubber.wait_fired(moment)
        assert deployment.status(image) == "pending_delete", "what may come back is not told as gone"
        lose_power(deployment, disk)
    deployment.settle()
    assert deployment.services.files() == []
    check_promises(deployment, ledger)
