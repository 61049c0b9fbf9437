"""A disk that fails under the services: the client is told so, nothing is left over, and the next try works.

Power that goes keeps what was acknowledged.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
from deploy.local.processes import wait_until
from tests.support.deployment import Deployment, Layout
from tests.support.faulty_disk import Fault, FaultyDisk, Operation
from tests.support.image_client import Answer, HeldBody, ImageClient
from tests.support.ledger import FAILURE, SUCCESS, Ledger, Outcome
from tests.support.promises import check_promises

MIB = 1024 * 1024
DATA = bytes(range(251)) * 10_000
"""A few pieces, and no two of them alike."""
LARGE = DATA * 4
"""More than the file store leaves to the sync at the end."""
EDGES = (0, 1, MIB - 1, MIB, MIB + 1, len(DATA) // 2, len(DATA) - 1)
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
