"""Many clients, and a monkey among the processes. GLANCE_CHAOS_SECONDS and GLANCE_CHAOS_SEED set time and seed."""

from __future__ import annotations

import os
import random
import threading
from functools import partial

import pytest
from deploy.local.embedded_postgres import PostgresServer
from tests.support.deployment import Deployment
from tests.support.ledger import Ledger, Outcome
from tests.support.monkey import Monkey, Visitor
from tests.support.promises import check_promises

SECONDS = float(os.environ.get("GLANCE_CHAOS_SECONDS", 300 if os.environ.get("GLANCE_TEST_LONG") else 20))
VISITORS = 5


@pytest.mark.timeout(SECONDS + 400)
def test_promises_survive_a_monkey(
    deployment: Deployment, ledger: Ledger, durable_postgres: PostgresServer, record_property: pytest.RecordProperty
):
    seed = int(os.environ.get("GLANCE_CHAOS_SEED") or random.SystemRandom().randrange(10**6))
    print(f"GLANCE_CHAOS_SEED={seed} GLANCE_CHAOS_SECONDS={SECONDS:g}")  # noqa: T201 - shown with a failure
    record_property("seed", seed)
    over = threading.Event()
    client = deployment.client(ledger)
    restore = partial(deployment.restore, ledger)
    visitors = [deployment.background(Visitor(client, restore, seed + n).run, over) for n in range(VISITORS)]
    monkey = Monkey(deployment, durable_postgres, seed)
    try:
        monkey.run(SECONDS)
    finally:
        over.set()
        print("\n".join(monkey.deeds))  # noqa: T201 - as above
    for visitor in visitors:
        visitor.result()
    deployment.settle()
    print(f"answers: {ledger.answers}")  # noqa: T201 - as above
    assert ledger.answers[Outcome.DONE] > 10
    check_promises(deployment, ledger)
