"""The API's worker dies in the middle of an upload, at every place where something was just done or not done yet."""

from __future__ import annotations

import pytest
import requests
from tests.support.deployment import Deployment, wake
from tests.support.image_client import ImageClient
from tests.support.ledger import Content, Ledger, Outcome
from tests.support.promises import check_promises

OLD = b"the upload that died" * 100_000
NEW = b"the upload after it" * 90_000

BEFORE_COMMIT = [
    "api.upload.started",
    "file.add.before-sync",
    "file.add.after-sync",
    "file.add.after-link",
    "file.add.after-dirsync",
    "api.upload.before-commit",
]


def test_killed_before_the_commit(deployment: Deployment, ledger: Ledger):
    client = deployment.client(ledger)
    images = {failpoint: client.created() for failpoint in BEFORE_COMMIT}
    # It would find out as soon as the lease is over; settle() lets it go on.
    deployment.scrubber.freeze()
    for failpoint, image in images.items():
        deployment.api.arm(failpoint, "kill")
        answer = client.upload(image, OLD)
        assert deployment.api.fired(failpoint)
        assert answer.status is None, failpoint
        assert deployment.status(image) == "saving", "nobody knows yet that the uploader is dead"
    deployment.settle()
    assert deployment.services.files() == [], "what the dead uploaders wrote is gone"
    for image in images.values():
        assert deployment.status(image) == "queued"
        assert client.upload(image, NEW).status == 204
    check_promises(deployment, ledger)


def test_a_killed_upload_of_v1_leaves_a_killed_image(deployment: Deployment, ledger: Ledger):
    image = deployment.client(ledger).created()
    deployment.api.arm("api.upload.before-commit", "kill")
    with pytest.raises(requests.ConnectionError):
        requests.put(
            f"{deployment.api.url}/v1/images/{image}", OLD, headers={"Content-Type": "application/octet-stream"},
            timeout=60,
        )
    deployment.settle()
    assert deployment.services.files() == []
    assert deployment.status(image) == "killed"
    check_promises(deployment, ledger)


def test_killed_after_the_commit(deployment: Deployment, ledger: Ledger):
    client = deployment.client(ledger)
    image = client.created()
    deployment.api.arm("api.upload.after-commit", "kill")
    assert client.upload(image, OLD).status is None
    deployment.settle()
    assert deployment.status(image) == "active"
    assert client.upload(image, NEW).status == 409, "the client that tries again learns that the image has its data"
    assert Content.of(client.download(image).body) == Content.of(OLD)
    check_promises(deployment, ledger)


def test_killed_after_the_abort(deployment: Deployment, ledger: Ledger):
    client = deployment.client(ledger)
    image = client.created()
    # The failpoint comes before the file is removed, so that the commit has to fail with the file in its place.
    deployment.api.arm("api.upload.before-commit", "raise")
    deployment.api.arm("api.upload.aborted", "kill")
    assert client.upload(image, OLD).status is None
    assert deployment.api.fired("api.upload.aborted")
    assert deployment.services.files() == [image]
    assert deployment.status(image) == "queued"
    assert client.upload(image, NEW).status == 204, "an aborted upload stands in nobody's way"
    deployment.settle()
    assert deployment.services.files() == [f"{image}.1"]
    check_promises(deployment, ledger)


def test_a_client_that_hangs_up_leaves_nothing(deployment: Deployment, ledger: Ledger):
    client = deployment.client(ledger)
    image = client.created()
    answer = client.upload(image, OLD, body=iter([OLD]), **{"x-openstack-image-size": str(len(OLD) + 1)})
    assert answer.outcome is Outcome.REFUSED
    assert deployment.services.files() == []
    deployment.settle()
    check_promises(deployment, ledger)


def test_stopped_past_its_lease_and_woken_after_a_newer_upload(deployment: Deployment, ledger: Ledger):
    # Each failpoint stops one worker for good, and one has to be left.
    crowd = deployment.add_api({"DEFAULT": {"workers": len(BEFORE_COMMIT) + 1}})
    # The first one waits until all others were stopped and their images have other data.
    client, other = ImageClient(crowd.url, ledger, timeout=300), deployment.client(ledger)
    images = {failpoint: client.created() for failpoint in BEFORE_COMMIT}
    stopped, answers = [], []
    for failpoint, image in images.items():
        crowd.arm(failpoint, "stop")
        answers.append(deployment.background(client.upload, image, OLD))
        stopped.append(crowd.wait_fired(failpoint))
    for image in images.values():
        deployment.wait_status(image, "queued")
        assert other.upload(image, NEW).status == 204
    for pid in stopped:
        wake(pid)
    for answer in answers:
        assert answer.result().outcome is not Outcome.DONE, "the old upload must not seem to have worked"
        assert answer.result().status is not None, "the woken worker answers"
    for image in images.values():
        assert Content.of(other.download(image).body) == Content.of(NEW)
    deployment.settle()
    kept = sorted(f"{image}.1" for image in images.values())
    assert deployment.services.files() == kept, "the late passes leave the newer uploads' files only"
    check_promises(deployment, ledger)
