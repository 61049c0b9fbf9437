"""Many clients, and a monkey among the processes. GLANCE_CHAOS_SECONDS and GLANCE_CHAOS_SEED set time and seed."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable, Iterator

import pytest
from deploy.local.embedded_postgres import PostgresServer
from tests.servers.rabbitmq import RabbitMQ
from tests.servers.web import WebServer, web_server
from tests.support import storm
from tests.support.deployment import Deployment
from tests.support.ledger import Ledger, Outcome
from tests.support.monkey import Monkey
from tests.support.promises import check_promises
from tests.support.usage_watch import UsageWatch
from tests.support.visitors import Place, Visitor

SECONDS = float(os.environ.get("GLANCE_CHAOS_SECONDS", 300 if os.environ.get("GLANCE_TEST_LONG") else 15))
ENOUGH = 20 * SECONDS
"""Acknowledged answers after which a storm on a busy machine may end as well."""
VISITORS = 5
TASKS = """
    SELECT input #>> '{import_req,method,name}' AS method, status, message, count(*)
    FROM operations GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
"""
REST = 300.0
"""Seconds within which all has to be at rest: many leases, on a machine that has other things to do."""


@pytest.fixture(scope="module")
def web() -> Iterator[WebServer]:
    with web_server() as server:
        yield server


@pytest.fixture(scope="module", params=["filesystem", "rabbitmq"])
def broker(request: pytest.FixtureRequest) -> RabbitMQ | None:
    """The broker that carries the deletions; None for files."""
    return request.getfixturevalue("rabbitmq") if request.param == "rabbitmq" else None


@pytest.fixture(scope="module")
def running(
    make_deployment: Callable[..., Deployment], web: WebServer, broker: RabbitMQ | None
) -> Iterator[Deployment]:
    made = make_deployment(
        layout=storm.LAYOUT, api=storm.api_options(web), transport_url=None if broker is None else broker.url
    )
    yield made
    for daemon in made.daemons:
        daemon.kill()  # the next one needs the processor


@pytest.mark.timeout(3 * SECONDS + REST + 300)
def test_promises_survive_a_monkey(
    deployment: Deployment, ledger: Ledger, durable_postgres: PostgresServer, web: WebServer, broker: RabbitMQ | None,
    record_property: Callable[[str, object], None],
):
    seed = int(os.environ.get("GLANCE_CHAOS_SEED") or random.SystemRandom().randrange(10**6))
    print(f"GLANCE_CHAOS_SEED={seed} GLANCE_CHAOS_SECONDS={SECONDS:g}")  # noqa: T201 - shown with a failure
    record_property("seed", seed)
    over = threading.Event()
    place = Place(deployment, ledger, web, storm.add_region(deployment), storm.PROJECTS, storm.LIMIT)
    visitors = [Visitor(place, storm.PROJECTS[n % len(storm.PROJECTS)], seed + n) for n in range(VISITORS)]
    watch = UsageWatch(deployment, storm.LIMIT)
    monkey = Monkey(deployment, durable_postgres, seed, broker)
    runners: list[Visitor | UsageWatch] = [*visitors, watch]
    running = [deployment.background(each.run, over) for each in runners]
    try:
        monkey.run(SECONDS, lambda: ledger.answers[Outcome.DONE] >= ENOUGH)
    finally:
        over.set()
        print("\n".join(monkey.deeds))  # noqa: T201 - as above
    for each in running:
        each.result()
    deployment.settle(REST)
    print(f"answers: {ledger.answers}, {ledger.statuses}, used: {watch.most}")  # noqa: T201 - as above
    print("\n".join(map(str, deployment.query(TASKS))))  # noqa: T201 - as above
    assert ledger.answers[Outcome.DONE] > 10
    assert watch.looks, "the usage was never seen"
    assert not watch.above()
    check_promises(deployment, ledger)
