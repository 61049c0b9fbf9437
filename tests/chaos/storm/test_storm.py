"""The ten promises in a storm: many clients, and a monkey that breaks everything at random and at every failpoint.

GLANCE_CHAOS_SEED repeats a storm, GLANCE_CHAOS_ROUNDS says how many rounds it has; GLANCE_TEST_LONG runs a thousand.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from deploy.local.embedded_postgres import PostgresServer
from tests.chaos.storm import place
from tests.chaos.storm.disk_faults import disk_faults
from tests.chaos.storm.failpoints import scan
from tests.chaos.storm.faults import (
    BrokerAway,
    DatabaseKilled,
    DatabaseRestarted,
    Fault,
    Faults,
    StoreUnmounted,
    WebHangs,
)
from tests.chaos.storm.monkey import Terms
from tests.chaos.storm.storm import REST, SEEDS, Ground, Report, run_storm
from tests.chaos.storm.tally import Tally
from tests.servers.rabbitmq import RabbitMQ
from tests.servers.web import WebServer, web_server
from tests.support.deployment import Deployment, MountedFolder
from tests.support.faulty_disk import FaultyDisk

LONG = bool(os.environ.get("GLANCE_TEST_LONG"))
ROUNDS = int(os.environ.get("GLANCE_CHAOS_ROUNDS") or (1000 if LONG else 25))
STORM = 25
"""Rounds of one storm; a longer run is made of several, with a check after each."""
SHORT = 8
"""Rounds of the storm over files, which is about the queue alone."""
PATIENCE = 1800.0
"""Seconds after which a storm ends although a failpoint was never fired; then the run fails. A quiet machine needs a
tenth of it, and a busy one has not failed."""


@pytest.fixture(scope="module")
def web() -> Iterator[WebServer]:
    with web_server() as server:
        yield server


@pytest.fixture(scope="module", params=["rabbitmq", "filesystem"])
def broker(request: pytest.FixtureRequest) -> RabbitMQ | None:
    """The broker that carries the deletions; None for files."""
    return request.getfixturevalue("rabbitmq") if request.param == "rabbitmq" else None


@pytest.fixture(scope="module")
def ground(
    make_deployment: Callable[..., Deployment], durable_postgres: PostgresServer, web: WebServer,
    broker: RabbitMQ | None,
) -> Iterator[Ground]:
    faults: list[Fault] = [DatabaseKilled(durable_postgres), DatabaseRestarted(durable_postgres), WebHangs(web)]
    if broker is not None:
        faults += [BrokerAway(broker, killed=True), BrokerAway(broker, killed=False)]
    with ExitStack() as stack:

        def equip(made: Deployment) -> None:
            made.web = web
            place.add_cache(made)
            disk = FaultyDisk(made.services.folder / "disk", *made.stores.values(), *made.stagings.values())
            made.services.variables.update(disk.environment)
            faults.extend(disk_faults(disk))
            if os.geteuid() == 0:  # mounting needs root
                for store, directory in made.stores.items():
                    folder = MountedFolder(directory, directory.with_name(f"disk-{store}"))
                    folder.mount()
                    stack.callback(folder.unmount)
                    faults.append(StoreUnmounted(store, folder))

        made = make_deployment(
            layout=place.LAYOUT, api=place.api_options(web), equip=equip,
            transport_url=None if broker is None else broker.url,
        )
        yield Ground(made, web, Faults(faults), Tally(scan()))
        for daemon in made.daemons:
            daemon.kill()  # the next one needs the processor, and the disks


@pytest.fixture
def deployment(ground: Ground) -> Deployment:
    """The deployment of the storm, for what is shown of a failure."""
    return ground.deployment


def seed_of_the_run() -> int:
    return int(os.environ.get("GLANCE_CHAOS_SEED") or random.SystemRandom().randrange(10**6) * SEEDS)


@pytest.mark.timeout(2 * PATIENCE + 2 * REST + 60 * ROUNDS)
def test_promises_survive_a_storm(
    ground: Ground, deployment: Deployment, broker: RabbitMQ | None, record_property: Callable[[str, object], None]
):
    seed, done = seed_of_the_run(), 0
    rounds = SHORT if broker is None else ROUNDS
    while done < rounds:
        report = Report(seed)
        try:
            run_storm(ground, report, Terms(min(STORM, rounds - done), PATIENCE, broker is not None and not done))
        finally:
            record_property("storm", report.line())
            print("\n".join([*report.deeds, report.line()]), flush=True)  # noqa: T201 - shown with a failure
        assert not report.violations, "\n".join(["broken promises:", *report.violations])
        done += report.rounds
        seed += SEEDS
    summary = f"storm: {done} rounds, {ground.tally.summary()}; {ground.faults.summary()}"
    record_property("storm", summary)
    record_property("table", ground.tally.table())
    if broker is not None:
        assert not ground.tally.missing(), f"{summary}\n{ground.tally.table()}"
        assert not ground.faults.missing(), summary
