"""The checker finds what broken code does: each breakage ends in a violation, the right code passes the same scenario.

The daemons run with their files on the disk of ``tests/support/faulty_disk``, which can lose its power.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pytest
from deploy.local.processes import wait_until
from tests.servers.rabbitmq import RabbitMQ
from tests.support.daemons import Daemon, python_path
from tests.support.deployment import Deployment, wake
from tests.support.faulty_disk import FaultyDisk
from tests.support.image_client import ImageClient
from tests.support.ledger import Ledger, Outcome
from tests.support.promises import check_promises

DATA = b"kept by promise" * 20_000
HOOK = Path(__file__).parents[1] / "support" / "breakages"
PROGRAMS = {
    "no_sync_of_data": "glance-api", "no_sync_of_name": "glance-api", "answer_before_record": "glance-api",
    "no_sweep": "glance-scrubber", "acknowledge_before_record": "glance-scrubber",
    "lease_ignored": "glance-registry", "no_tombstone": "glance-registry", "no_claim": "glance-registry",
}
"""Which program a breakage breaks."""
OLD = b"of the process that died" * 20_000


class Stage(NamedTuple):
    """A deployment on a disk, and a client whose answers are kept."""

    deployment: Deployment
    disk: FaultyDisk
    ledger: Ledger
    client: ImageClient


@pytest.fixture(scope="module")
def disk() -> list[FaultyDisk]:
    """The disk of the deployment, once that is made."""
    return []


@pytest.fixture(scope="module")
def running(make_deployment: Callable[..., Deployment], rabbitmq: RabbitMQ, disk: list[FaultyDisk]) -> Deployment:
    def equip(deployment: Deployment) -> None:
        folder = deployment.services.folder / "disk"
        disk.append(FaultyDisk(folder, deployment.images, deployment.services.staging, records=True))
        deployment.services.variables.update(disk[0].environment)

    # One removal at a time, so that messages are worked in their order.
    return make_deployment(
        equip=equip, transport_url=rabbitmq.url, scrubber={"DEFAULT": {"scrub_pool_size": 1}}
    )


@pytest.fixture
def set_up(running: Deployment, disk: list[FaultyDisk]) -> Callable[..., Stage]:
    """A function that makes everything empty, with daemons that run the code with these breakages."""

    def set_up(breakages: Sequence[str]) -> Stage:
        run_code(running, breakages)
        running.clear()
        disk[0].forget()
        ledger = Ledger()
        return Stage(running, disk[0], ledger, running.client(ledger))

    return set_up


@pytest.fixture
def deployment(running: Deployment) -> Deployment:
    """The deployment, which ``set_up`` empties."""
    return running


def run_code(deployment: Deployment, breakages: Sequence[str]) -> None:
    """Let the daemons run the code with these breakages; those that they do not concern are left alone."""
    variables = deployment.services.variables
    before = variables.get("GLANCE_BREAKAGES", "").split(",")
    variables |= {**python_path(HOOK), "GLANCE_BREAKAGES": ",".join(breakages)}
    programs = {PROGRAMS[name] for name in {*before} ^ {*breakages} if name}
    kill(*(daemon for daemon in deployment.daemons if daemon.program in programs))
    deployment.revive()


def kill(*daemons: Daemon) -> None:
    for daemon in daemons:
        daemon.kill()


# --- scenarios; each leaves the deployment at rest ---


def power_is_lost(stage: Stage) -> None:
    """The power goes after an upload was acknowledged."""
    stage.client.created(DATA)
    kill(stage.deployment.api, stage.deployment.scrubber)
    stage.disk.power_loss()
    stage.deployment.settle()


def api_dies_after_its_answer(stage: Stage) -> None:
    stage.client.created(DATA)
    kill(stage.deployment.api)
    stage.deployment.settle()


def scrubber_dies_with_a_message(stage: Stage) -> None:
    """A scrubber has a message in its hands that it cannot work, as there is no registry, and dies with it."""
    deployment, client = stage.deployment, stage.client
    image, other = client.created(DATA), client.created(DATA)
    deployment.scrubber.freeze()
    assert client.delete(image).status == 204
    location = deployment.locations(image)[0]["id"]
    kill(deployment.registry)
    deployment.scrubber.thaw()
    waits = f"location {location} and 0 others wait"
    wait_until(lambda: waits in deployment.scrubber.said(), what="a scrubber that waits")
    kill(deployment.scrubber)
    deployment.revive()
    # The message about the first one is worked before this one's, if there still is one.
    assert client.delete(other).status == 204
    deployment.wait_status(other, "deleted")


def writer_wakes_up_late(stage: Stage) -> None:
    """The reaper has removed what a writer wrote that stood still past its lease. Then the writer goes on."""
    deployment, client = stage.deployment, stage.client
    image = client.created()
    deployment.api.arm("api.upload.before-commit", "stop")
    upload = deployment.background(client.upload, image, OLD)
    stopped = deployment.api.wait_fired("api.upload.before-commit")
    wait_until(lambda: deployment.locations(image)[0]["status"] == "deleted", what="the end of the dead upload")
    wake(stopped)
    upload.result()
    deployment.settle()


def scrubber_wakes_up_late(stage: Stage) -> None:
    """Two scrubbers remove a dead upload, one after the other's lease. Then the first one goes on."""
    deployment, client = stage.deployment, stage.client
    image = client.created()
    deployment.api.arm("file.add.after-link", "kill")
    assert client.upload(image, OLD).outcome is Outcome.UNCLEAR
    deployment.scrubber.arm("file.delete.before-unlink", "stop")
    deployment.scrubber.arm("purge.record.after", "sleep 0")
    stopped = deployment.scrubber.wait_fired("file.delete.before-unlink")
    deployment.add_scrubber()
    wait_until(lambda: deployment.locations(image)[0]["status"] == "deleted", what="the end of the dead upload")
    assert client.upload(image, DATA).status == 204
    wake(stopped)
    deployment.scrubber.wait_fired("purge.record.after")
    deployment.settle()


def restored_during_a_purge(stage: Stage) -> None:
    """A scrubber is about to remove the bytes of an image when that is restored."""
    deployment, client = stage.deployment, stage.client
    image = client.created(DATA)
    deployment.scrubber.arm("purge.claim.after", "stop")
    deployment.scrubber.arm("purge.record.after", "sleep 0")
    assert client.delete(image).status == 204
    stopped = deployment.scrubber.wait_fired("purge.claim.after")
    deployment.restore(stage.ledger, image)
    wake(stopped)
    deployment.scrubber.wait_fired("purge.record.after")
    deployment.settle()


@dataclass(frozen=True, slots=True)
class Case:
    """``promise`` is how the violation begins; with the breakages of ``besides`` alone nothing is violated."""

    scenario: Callable[[Stage], None]
    promise: str
    besides: tuple[str, ...] = ()


CASES = {
    "no_sync_of_data": Case(power_is_lost, "I1: .* is not what the row says"),
    "no_sync_of_name": Case(power_is_lost, "I1: .* is not what the row says"),
    "answer_before_record": Case(api_dies_after_its_answer, "I4: .* holds None"),
    "acknowledge_before_record": Case(scrubber_dies_with_a_message, "I6: ", besides=("no_sweep",)),
    "lease_ignored": Case(writer_wakes_up_late, "I1: .* is not what the row says"),
    "no_tombstone": Case(scrubber_wakes_up_late, "I1: .* is not what the row says"),
    "no_claim": Case(restored_during_a_purge, "I1: .* is not what the row says"),
}


@pytest.mark.parametrize("breakage", CASES)
def test_a_breakage_is_found(breakage: str, set_up: Callable[..., Stage], deployment: Deployment):
    case = CASES[breakage]
    stage = set_up([*case.besides, breakage])
    case.scenario(stage)
    with pytest.raises(AssertionError, match=case.promise):
        check_promises(deployment, stage.ledger)


@pytest.mark.parametrize(
    ("scenario", "besides"), {case.scenario: case.besides for case in CASES.values()}.items(),
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_nothing_is_found_in_the_right_code(
    scenario: Callable[[Stage], None], besides: tuple[str, ...], set_up: Callable[..., Stage], deployment: Deployment
):
    stage = set_up(besides)
    scenario(stage)
    check_promises(deployment, stage.ledger)
