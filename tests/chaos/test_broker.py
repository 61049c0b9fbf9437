"""The broker goes away, blocks, forgets: nobody who talks to the API notices, and every delete ends (I9)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
from deploy.local.processes import wait_until
from tests.servers.rabbitmq import RabbitMQ
from tests.support.deployment import Deployment
from tests.support.image_client import ImageClient
from tests.support.ledger import Ledger
from tests.support.promises import check_promises
from tests.support.waiting import promptly

DATA = b"nudged" * 100_000
QUEUE = "glance.delete"

SOON = 8.0
"""Seconds within which requests are answered that wait for nobody; a broker's answer is waited for ten seconds."""

ONLY_THE_QUEUE = {"DEFAULT": {"wakeup_time": 3600}}


@pytest.fixture(scope="module")
def running(make_deployment: Callable[..., Deployment], rabbitmq: RabbitMQ) -> Deployment:
    """A deployment that uses RabbitMQ."""
    return make_deployment(transport_url=rabbitmq.url)


def use_everything(client: ImageClient) -> None:
    """Create, upload, download and delete an image; each has to be answered at once."""
    promptly(SOON, partial(live, client))


def live(client: ImageClient) -> None:
    image = client.created(DATA)
    assert client.download(image).body == DATA
    assert client.delete(image).status == 204


def deleted(deployment: Deployment) -> bool:
    return {row["status"] for row in deployment.query("SELECT status FROM images")} == {"deleted"}


def wait_deleted(deployment: Deployment) -> None:
    wait_until(lambda: deleted(deployment), what="the end of all deletes", seconds=180)


def test_the_queue_alone(deployment: Deployment, ledger: Ledger, rabbitmq: RabbitMQ):
    deployment.scrubber.stop()
    slow = deployment.add_scrubber(ONLY_THE_QUEUE)
    client = deployment.client(ledger)
    use_everything(client)
    wait_deleted(deployment)
    rabbitmq.restart()
    pids = [daemon.pid for daemon in (deployment.api, slow)]
    use_everything(client)
    wait_deleted(deployment)
    assert pids == [deployment.api.pid, slow.pid], "both found the broker again by themselves"
    deployment.settle()
    check_promises(deployment, ledger)


def test_broker_killed(deployment: Deployment, ledger: Ledger, rabbitmq: RabbitMQ):
    client = deployment.client(ledger)
    rabbitmq.kill()
    try:
        for _ in range(3):
            use_everything(client)
        wait_deleted(deployment)
    finally:
        rabbitmq.start()
    use_everything(client)
    deployment.settle()
    check_promises(deployment, ledger)


def test_broker_with_its_memory_alarm_on(deployment: Deployment, ledger: Ledger, rabbitmq: RabbitMQ):
    client = deployment.client(ledger)
    rabbitmq.memory_alarm(True)
    try:
        for _ in range(3):
            use_everything(client)
        wait_deleted(deployment)
    finally:
        rabbitmq.memory_alarm(False)
    use_everything(client)
    deployment.settle()
    check_promises(deployment, ledger)


def test_queue_purged(deployment: Deployment, ledger: Ledger, rabbitmq: RabbitMQ):
    client = deployment.client(ledger)
    deployment.scrubber.stop()
    rabbitmq.purge(QUEUE)
    for _ in range(5):
        live(client)
    # More than five when messages about older images come late.
    wait_until(lambda: rabbitmq.queue_depth(QUEUE) >= 5, what="five messages", seconds=60)
    rabbitmq.purge(QUEUE)
    assert len(deployment.services.files()) == 5
    deployment.revive()
    wait_deleted(deployment)
    deployment.settle()
    check_promises(deployment, ledger)


def test_broker_restarted_while_much_is_deleted(deployment: Deployment, ledger: Ledger, rabbitmq: RabbitMQ):
    client = deployment.client(ledger)
    images = [client.created(b"small") for _ in range(60)]
    half = len(images) // 2
    for image in images[:half]:
        assert client.delete(image).status == 204
    restart = deployment.background(rabbitmq.restart)
    for image in images[half:]:
        assert client.delete(image).status == 204
    restart.result()
    wait_deleted(deployment)
    deployment.settle()
    check_promises(deployment, ledger)
