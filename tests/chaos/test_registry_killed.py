"""The registry dies between its commit and its answer, or just before its commit."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from uuid import uuid4

import pytest
from tests.support.deployment import Deployment
from tests.support.image_client import ImageClient
from tests.support.ledger import WEB, Ledger, Outcome
from tests.support.promises import check_promises

from glance_common.model.context import system_context
from glance_common.model.errors import OutcomeUnknown
from glance_common.model.operation import Held, OperationKind
from glance_common.model.status import ImageStatus, OperationStatus
from glance_common.registry_client.operations import NewOperation

DATA = b"registry" * 100_000

Write = Callable[[ImageClient, str], Outcome]

WRITES: dict[str, tuple[str, bytes | None, Write]] = {
    "create": ("create.after-commit", None, lambda client, image: client.create("n")[1].outcome),
    "update": ("update.after-commit", None, lambda client, image: client.rename(image, "new name").outcome),
    "members": ("members.after-commit", None, lambda client, image: client.share(image, "friend").outcome),
    "upload start": ("upload.after-commit", None, lambda client, image: client.upload(image, DATA).outcome),
    "upload commit": ("commit.after-commit", None, lambda client, image: client.upload(image, DATA).outcome),
    "before upload commit": ("commit.before-commit", None, lambda client, image: client.upload(image, DATA).outcome),
    "delete": ("delete.after-commit", DATA, lambda client, image: client.delete(image).outcome),
    "delete without data": ("delete.after-commit", None, lambda client, image: client.delete(image).outcome),
}


@pytest.fixture(scope="module")
def running(make_deployment: Callable[..., Deployment]) -> Deployment:
    """A deployment whose uploads outlive a registry that takes its time to start again."""
    deployment: Deployment = make_deployment(api={"upload": {"lease": 60}})
    return deployment


@pytest.fixture(params=["worker", "all"])
def victims(request: pytest.FixtureRequest) -> str:
    """Who dies: the worker that serves the call, or every process of the registry."""
    return str(request.param)


def arm(deployment: Deployment, failpoint: str, victims: str) -> None:
    deployment.registry.arm(failpoint, "kill" if victims == "worker" else "killall")


def bring_back(deployment: Deployment, failpoint: str, victims: str) -> None:
    deployment.registry.wait_fired(failpoint)
    if victims == "all":
        deployment.registry.wait_dead()
        deployment.revive(deployment.registry)


@pytest.mark.parametrize("name", WRITES)
def test_a_write_happens_once_although_its_answer_was_lost(
    deployment: Deployment, ledger: Ledger, victims: str, name: str
):
    point, data, write = WRITES[name]
    client = deployment.client(ledger)
    image = client.created(data)
    arm(deployment, f"registry.{point}", victims)
    outcome = deployment.background(write, client, image)
    bring_back(deployment, f"registry.{point}", victims)
    if victims == "worker":
        # Another worker answers the repeated call, so the client notices nothing.
        assert outcome.result() is Outcome.DONE
    else:
        assert outcome.result() is not Outcome.REFUSED
    deployment.settle()
    check_promises(deployment, ledger)


def test_an_abort_whose_answer_was_lost(deployment: Deployment, ledger: Ledger, victims: str):
    client = deployment.client(ledger)
    image = client.created()
    arm(deployment, "registry.abort.after-commit", victims)
    announced = str(len(DATA) + 1)
    upload = deployment.background(
        client.upload, image, DATA, iter([DATA]), **{"x-openstack-image-size": announced}
    )
    bring_back(deployment, "registry.abort.after-commit", victims)
    assert upload.result().status == 400
    deployment.settle()
    assert deployment.status(image) == "queued"
    assert client.upload(image, DATA).status == 204
    check_promises(deployment, ledger)


@pytest.mark.parametrize("step", ["claim", "done"])
def test_a_removal_whose_answer_was_lost(deployment: Deployment, ledger: Ledger, victims: str, step: str):
    client = deployment.client(ledger)
    image = client.created(DATA)
    arm(deployment, f"registry.{step}.after-commit", victims)
    assert client.delete(image).status == 204
    bring_back(deployment, f"registry.{step}.after-commit", victims)
    deployment.wait_status(image, "deleted")
    deployment.settle()
    check_promises(deployment, ledger)


def test_a_restore_whose_answer_was_lost(deployment: Deployment, ledger: Ledger, victims: str):
    client = deployment.client(ledger)
    image = client.created(DATA)
    client.share(image, "friend")
    client.rename(image, "kept name")
    assert deployment.delete_delayed(ledger, image) is Outcome.DONE
    arm(deployment, "registry.restore.after-commit", victims)
    outcome = deployment.background(deployment.restore, ledger, image)
    bring_back(deployment, "registry.restore.after-commit", victims)
    assert outcome.result() is not Outcome.REFUSED
    assert deployment.status(image) == "active"
    deployment.settle()
    check_promises(deployment, ledger)


@pytest.mark.parametrize("point", ["before-finish", "after-finish"])
def test_background_work_ends_once_although_the_answer_was_lost(
    deployment: Deployment, ledger: Ledger, victims: str, point: str
):
    operations, worker = deployment.registry_client.operations, system_context("req-worker")
    client = deployment.client(ledger)
    image, held = client.created(), Held(str(uuid4()), str(uuid4()))
    operations.create(
        worker, held.operation, NewOperation(
            kind=OperationKind.API_IMAGE_IMPORT, image_id=image, input={}, ttl=1, host="test",
            allowed=[ImageStatus.QUEUED], image_status=ImageStatus.IMPORTING,
        ),
    )
    ledger.imported(image, Outcome.DONE, worker.request_id, WEB, None)
    assert operations.claim(worker, held.token, host="test", lease=60) is not None

    def fail() -> OperationStatus:
        return operations.finish(worker, held, success=False, message="no such host").status

    arm(deployment, f"registry.operation.{point}", victims)
    ended = deployment.background(fail)
    bring_back(deployment, f"registry.operation.{point}", victims)
    with suppress(OutcomeUnknown):
        assert ended.result() is OperationStatus.FAILURE
    assert fail() is OperationStatus.FAILURE
    assert deployment.status(image) == "queued"
    assert client.upload(image, DATA).status == 204
    deployment.settle()
    check_promises(deployment, ledger)
