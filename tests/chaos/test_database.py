"""The database is restarted, killed and away, in the middle of many transactions (I4, I10)."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from functools import partial

import pytest
from deploy.local.embedded_postgres import PostgresServer
from deploy.local.processes import wait_until
from tests.support.deployment import Deployment
from tests.support.image_client import Answer, ImageClient
from tests.support.ledger import Ledger, Outcome
from tests.support.promises import check_promises
from tests.support.raw_data import random_bytes
from tests.support.waiting import promptly

QUICKLY = 30.0
"""Seconds within which a request is answered while the database is away: twice the client's deadline for writes and one
connect timeout of the registry; our clients wait for a minute."""


def hammer(client: ImageClient, seed: int, stop: threading.Event) -> None:
    """Do what many clients do, on images of one's own, until told to stop."""
    choice = random.Random(seed)
    while not stop.is_set():
        image, answer = client.create("hammered")
        if answer.outcome is not Outcome.DONE:
            continue
        client.upload(image, random_bytes(choice.randint(1, 200_000), choice))
        client.rename(image, f"renamed {choice.random()}")
        client.download(image)
        if choice.random() < 0.5:
            client.delete(image)


@pytest.mark.parametrize("how", ["restarted", "killed"])
def test_in_the_middle_of_many_transactions(
    deployment: Deployment, ledger: Ledger, durable_postgres: PostgresServer, how: str
):
    stop = threading.Event()
    client = deployment.client(ledger)
    pids = [daemon.pid for daemon in deployment.daemons]
    hammers = [deployment.background(hammer, client, seed, stop) for seed in range(6)]
    for _ in range(2):
        done = ledger.answers[Outcome.DONE]

        def has_gone_on(least: int = done + 60) -> bool:
            return ledger.answers[Outcome.DONE] > least

        wait_until(has_gone_on, what="some progress", seconds=180)
        if how == "killed":
            durable_postgres.kill()
            durable_postgres.start()
        else:
            durable_postgres.restart()
    done = ledger.answers[Outcome.DONE]
    wait_until(
        lambda: ledger.answers[Outcome.DONE] > done + 60, what="progress after the last restart", seconds=180
    )
    stop.set()
    for each in hammers:
        each.result()
    deployment.settle()
    check_promises(deployment, ledger)
    assert pids == [daemon.pid for daemon in deployment.daemons], "nothing had to be restarted"


def expect_refusals(client: ImageClient, image: str) -> None:
    """Expect that each call is answered 503 in time, with what is down."""
    asks = (lambda: client.show(image), lambda: client.create()[1], lambda: client.delete(image))
    for ask in asks:
        promptly(QUICKLY, partial(refused, ask))


def refused(ask: Callable[[], Answer]) -> None:
    answer = ask()
    assert answer.status == 503
    assert b"database" in answer.body or b"registry" in answer.body, answer.body


def test_away(deployment: Deployment, ledger: Ledger, durable_postgres: PostgresServer):
    client = deployment.client(ledger)
    image = client.created(b"here")
    durable_postgres.stop()
    try:
        expect_refusals(client, image)
    finally:
        durable_postgres.start()
    wait_until(lambda: client.download(image).status in (200, 404), what="the recovery", seconds=60)
    deployment.settle()
    check_promises(deployment, ledger)


def test_registry_away(deployment: Deployment, ledger: Ledger):
    client = deployment.client(ledger)
    image = client.created(b"here")
    deployment.registry.kill()
    expect_refusals(client, image)
    deployment.revive(deployment.registry)
    assert client.download(image).body == b"here"
    deployment.settle()
    check_promises(deployment, ledger)
