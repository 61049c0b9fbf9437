"""Deployments to be broken; each test begins with an empty one and its own ledger."""

from __future__ import annotations

import itertools
import re
import shutil
import tempfile
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from deploy.local.embedded_postgres import PostgresServer
from deploy.local.processes import last_lines
from tests.servers.postgres import drop_database, running_postgres
from tests.support.deployment import Deployment
from tests.support.ledger import Ledger

from glance_registry.db.schema import upgrade

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def durable_postgres() -> Iterator[PostgresServer]:
    """A database server that syncs what it acknowledges, as it has to here; tests may kill it and start it again."""
    with running_postgres(durable=True) as server:
        yield server


@pytest.fixture(scope="module")
def make_deployment(durable_postgres: PostgresServer) -> Iterator[Callable[..., Deployment]]:
    """A function that starts a Deployment over a new database.

    Its options are those of the class, and what is called before the start: ``prepare`` with the data directory and
    ``equip`` with the deployment.
    """
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(_running(durable_postgres, **options))


@contextmanager
def _running(
    postgres: PostgresServer, prepare: Callable[[Path], None] = lambda _: None,
    equip: Callable[[Deployment], None] = lambda _: None, **options: Any,
) -> Iterator[Deployment]:
    name = f"chaos_{next(_numbers)}"
    postgres.create_database(name)
    upgrade(postgres.url(name))
    folder = Path(tempfile.mkdtemp(prefix="glance-chaos-"))
    deployment = Deployment(folder, postgres.url(name), **options)
    try:
        prepare(deployment.images)
        equip(deployment)
        deployment.start()
        yield deployment
    finally:
        deployment.stop()
        drop_database(postgres, name)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def running(make_deployment: Callable[..., Deployment]) -> Deployment:
    """The deployment of a module; modules that need another one override this fixture."""
    return make_deployment()


@pytest.fixture
def deployment(running: Deployment) -> Deployment:
    """The deployment of the module, empty and whole."""
    running.clear()
    return running


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show with a failed test what its daemons said and what the rows say."""
    report = yield
    broken = getattr(item, "funcargs", {}).get("deployment")
    if report.failed and broken is not None:
        for daemon in broken.daemons:
            report.sections.append((f"{daemon.folder.name}: defects", _tracebacks(daemon.said())))
            report.sections.append((str(daemon.folder.name), "\n".join(last_lines(daemon.log, 25))))
        report.sections.append(("rows that are not at rest", "\n".join(map(str, _unsettled(broken)))))
    return report


def _tracebacks(log: str) -> str:
    """Return the tracebacks in a log, each with the line before it; failpoints that raise are no defects."""
    blocks = re.findall(r"^.*\nTraceback [\s\S]*?(?=^\d{4}-|\Z)", log, re.MULTILINE)
    return "\n".join(block for block in blocks if "FailpointError" not in block)


def _unsettled(deployment: Deployment) -> list[Any]:
    try:
        return list(deployment.unsettled())
    except psycopg2.Error as error:
        return [error]


@pytest.fixture
def ledger() -> Ledger:
    """What this test's clients were told."""
    return Ledger()
