"""Deletes, restores and scrubbers against each other and against their own deaths."""

from __future__ import annotations

from deploy.local.processes import wait_until
from tests.support.deployment import Deployment, wake
from tests.support.image_client import HeldBody
from tests.support.ledger import Ledger, Outcome
from tests.support.promises import check_promises

DATA = b"to be removed" * 100_000
MIB = 1024 * 1024

REMOVAL = [
    "purge.claim.after",
    "file.delete.before-unlink",
    "file.delete.after-unlink",
    "purge.delete.after",
    "purge.record.after",
]


def test_delete_during_an_upload(deployment: Deployment, ledger: Ledger):
    client = deployment.client(ledger)
    image = client.created()
    body = HeldBody(DATA, MIB)
    upload = deployment.background(client.upload, image, DATA, body)
    deployment.wait_status(image, "saving")
    assert client.delete(image).status == 204
    body.release()
    assert upload.result().status == 410
    deployment.wait_status(image, "deleted")
    deployment.settle()
    assert deployment.services.files() == []
    check_promises(deployment, ledger)


def test_delete_during_an_upload_that_never_ends(deployment: Deployment, ledger: Ledger):
    client = deployment.client(ledger)
    image = client.created()
    body = HeldBody(DATA, MIB)
    upload = deployment.background(client.upload, image, DATA, body)
    deployment.wait_status(image, "saving")
    assert client.delete(image).status == 204
    # The renewals are refused now, so the lease runs out although the client still holds the connection.
    deployment.wait_status(image, "deleted")
    body.release()
    assert upload.result().status == 410
    deployment.settle()
    assert deployment.services.files() == []
    check_promises(deployment, ledger)


def test_restore_loses_against_a_claim(deployment: Deployment, ledger: Ledger):
    client = deployment.client(ledger)
    image = client.created(DATA)
    deployment.scrubber.arm("purge.claim.after", "stop")
    assert client.delete(image).status == 204
    stopped = deployment.scrubber.wait_fired("purge.claim.after")
    assert deployment.restore(ledger, image) is Outcome.REFUSED
    wake(stopped)
    deployment.wait_status(image, "deleted")
    deployment.settle()
    check_promises(deployment, ledger)


def test_a_claim_loses_against_a_restore(deployment: Deployment, ledger: Ledger):
    client = deployment.client(ledger)
    image = client.created(DATA)
    deployment.scrubber.freeze()
    assert client.delete(image).status == 204
    assert deployment.restore(ledger, image) is Outcome.DONE
    deployment.scrubber.thaw()
    other = client.created(DATA)
    assert client.delete(other).status == 204
    # The message about the first image came before the second one's.
    deployment.wait_status(other, "deleted")
    assert client.download(image).body == DATA
    deployment.settle()
    check_promises(deployment, ledger)


def test_exactly_one_of_restore_and_claim_wins(deployment: Deployment, ledger: Ledger):
    client = deployment.client(ledger)
    deployment.add_scrubber()
    images = [client.created(DATA) for _ in range(12)]
    for scrubber in (deployment.scrubber, *deployment.daemons[3:]):
        scrubber.freeze()
    for image in images:
        assert client.delete(image).status == 204
    for scrubber in (deployment.scrubber, *deployment.daemons[3:]):
        scrubber.thaw()
    restores = {image: deployment.background(deployment.restore, ledger, image) for image in images}
    outcomes = {image: restore.result() for image, restore in restores.items()}
    deployment.settle()
    for image, outcome in outcomes.items():
        assert deployment.status(image) == ("active" if outcome is Outcome.DONE else "deleted")
    check_promises(deployment, ledger)


def test_two_scrubbers_on_one_location(deployment: Deployment, ledger: Ledger):
    client = deployment.client(ledger)
    image = client.created(DATA)
    deployment.scrubber.arm("purge.claim.after", "stop")
    assert client.delete(image).status == 204
    stopped = deployment.scrubber.wait_fired("purge.claim.after")
    second = deployment.add_scrubber()
    deployment.wait_status(image, "deleted")
    # It is said after it was done.
    wait_until(lambda: image in second.said(), what="the second scrubber, that took over what the first had claimed")
    wake(stopped)
    deployment.settle()
    check_promises(deployment, ledger)


def test_two_scrubbers_share_many_locations(deployment: Deployment, ledger: Ledger):
    client = deployment.client(ledger)
    deployment.add_scrubber()
    images = [client.created(DATA) for _ in range(20)]
    for deleted in [deployment.background(client.delete, image) for image in images]:
        assert deleted.result().status == 204
    for image in images:
        deployment.wait_status(image, "deleted")
    deployment.settle()
    assert deployment.services.files() == []
    check_promises(deployment, ledger)


def test_a_scrubber_killed_in_the_middle(deployment: Deployment, ledger: Ledger):
    client = deployment.client(ledger)
    images = {failpoint: client.created(DATA) for failpoint in REMOVAL}
    for failpoint, image in images.items():
        deployment.scrubber.arm(failpoint, "kill")
        assert client.delete(image).status == 204, "nobody has to wait for a scrubber"
        deployment.scrubber.wait_dead()
        assert deployment.scrubber.fired(failpoint)
        deployment.revive()
    for image in images.values():
        deployment.wait_status(image, "deleted")
    deployment.settle()
    assert deployment.services.files() == []
    check_promises(deployment, ledger)


def test_a_removal_of_an_upload_killed_in_the_middle(deployment: Deployment, ledger: Ledger):
    client = deployment.client(ledger)
    image = client.created()
    # Armed before: the lease of the dead upload is short.
    deployment.scrubber.arm("file.delete.after-unlink", "kill")
    deployment.api.arm("file.add.after-link", "kill")
    client.upload(image, DATA)
    deployment.scrubber.wait_dead()
    assert client.upload(image, DATA).status == 204, "the image takes data again as soon as the dead upload is claimed"
    deployment.settle()
    assert deployment.services.files() == [f"{image}.1"]
    check_promises(deployment, ledger)
