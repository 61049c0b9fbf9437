"""Masters and whole deployments die with work in their hands."""

from __future__ import annotations

from deploy.local.processes import is_running, wait_until
from tests.support.deployment import Deployment
from tests.support.image_client import HeldBody
from tests.support.ledger import Ledger, Outcome
from tests.support.promises import check_promises

DATA = b"in flight" * 300_000
MIB = 1024 * 1024


def test_master_of_the_api_killed(deployment: Deployment, ledger: Ledger):
    # The upload has to live as long as the next master takes to start: its lease is not for this test.
    api = deployment.add_api({"upload": {"lease": 120}})
    client = deployment.client(ledger, api)
    image = client.created()
    body = HeldBody(DATA, MIB)
    upload = deployment.background(client.upload, image, DATA, body)
    deployment.wait_status(image, "saving")
    workers = api.workers()
    api.kill_master()
    # The orphaned workers finish what they have begun, and let the address go at once for the next master.
    api.start()
    wait_until(lambda: len(api.workers()) == len(workers), what="workers of the next master")
    assert not upload.done()
    body.release()
    assert upload.result().status == 204
    wait_until(lambda: not any(map(is_running, workers)), what="the end of the orphaned workers")
    deployment.settle()
    check_promises(deployment, ledger)


def test_everything_killed_with_uploads_and_deletes_running(deployment: Deployment, ledger: Ledger):
    # No lease may end before everything is killed.
    client = deployment.client(ledger, deployment.add_api({"upload": {"lease": 20}}))
    kept = [client.created(DATA) for _ in range(3)]
    deleted = [client.created(DATA) for _ in range(3)]
    writing = [client.created() for _ in range(3)]
    bodies = [HeldBody(DATA, MIB) for _ in writing]
    uploads = [
        deployment.background(client.upload, image, DATA, body) for image, body in zip(writing, bodies, strict=True)
    ]
    for image in writing:
        deployment.wait_status(image, "saving")
    for image in deleted:
        assert client.delete(image).status == 204
    for daemon in deployment.daemons:
        daemon.kill()
    for body in bodies:
        body.release()
    for upload in uploads:
        assert upload.result().outcome is Outcome.UNCLEAR
    deployment.revive()
    for image in kept:
        assert client.download(image).body == DATA
    for image in writing:
        deployment.wait_status(image, "queued")
        assert client.upload(image, DATA).status == 204
    for image in deleted:
        deployment.wait_status(image, "deleted")
    deployment.settle()
    check_promises(deployment, ledger)
