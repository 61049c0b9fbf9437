"""How many workers one project may have, and how a worker learns that its operation has ended."""

import threading
from types import SimpleNamespace
from typing import Any

import pytest
from tests.unit.api.conftest import make_conf

from glance_api.background import inquiry
from glance_api.background.inquiry import Inquiry
from glance_api.background.pool import PoolWork, StopSign, WorkerPool
from glance_api.background.runner import Operations
from glance_api.background.shares import Shares
from glance_api.imports.settings import ImportSettings
from glance_api.imports.signals import WorkSignal
from glance_common.fetch import deadlines, guards
from glance_common.fetch.guards import ExchangeLimits, Guard
from glance_common.leases import Lease
from glance_common.model.context import RequestContext
from glance_common.model.errors import GlanceError, Gone, NotFound, Unavailable
from glance_common.model.status import OperationStatus


def test_a_project_is_named_as_long_as_it_has_its_share():
    shares = Shares(2)
    for project in ("a", "b", "a", None, None, None):
        shares.begin(project)
    assert shares.used_up() == ["a"]
    shares.begin("b")
    assert sorted(shares.used_up()) == ["a", "b"]
    shares.end("a")
    shares.end(None)
    assert shares.used_up() == ["b"]
    for _ in range(2):
        shares.end("b")
    shares.end("a")
    assert shares.used_up() == []
    assert not shares._running


def test_without_a_limit_no_project_is_named():
    shares = Shares(0)
    for _ in range(100):
        shares.begin("a")
    assert shares.used_up() == []


@pytest.mark.parametrize(
    ("options", "workers", "share"),
    [
        ({}, 10, 5), ({"max_workers": 1}, 1, 1), ({"max_workers": 3}, 3, 1), ({"engine_mode": "serial"}, 1, 1),
        ({"max_workers_per_project": 0}, 10, 0), ({"max_workers_per_project": 9}, 10, 9),
    ],
)
def test_the_share_is_half_of_the_workers_unless_an_option_says_otherwise(options, workers, share):
    conf = make_conf({f"taskflow_executor.{name}": value for name, value in options.items()})
    settings = ImportSettings.from_conf(conf)
    assert (settings.workers, settings.workers_per_project) == (workers, share)


def test_an_operation_that_no_thread_can_be_started_for_gives_its_place_back(monkeypatch, caplog):
    """Otherwise its project would have one worker less until the process ends."""
    asked_without = []
    waiting = [SimpleNamespace(id="operation", owner="a"), SimpleNamespace(id="another", owner="a")]

    def claim(context, token, *, host, lease, without):
        asked_without.append(without)
        return waiting.pop(0) if waiting else None

    services = SimpleNamespace(
        registry=SimpleNamespace(operations=SimpleNamespace(claim=claim)), staging=SimpleNamespace(id="here"),
        settings=SimpleNamespace(imports=SimpleNamespace(workers_per_project=1)), work=WorkSignal(),
    )
    operations = Operations(services, {}, lease=60, stopping=lambda: False)
    pool = WorkerPool(
        PoolWork(operations.claim, operations.run, operations.leave), size=2, signal=services.work, stop=StopSign()
    )

    def fail(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", fail)
    assert not pool._begin_one()
    assert not pool._begin_one()
    assert asked_without == [[], []]
    assert "operation operation is left to its lease" in caplog.text


class Registry:
    """Answers what it is told about an operation, and counts the questions."""

    def __init__(self) -> None:
        self.status = OperationStatus.PROCESSING
        self.error: GlanceError | None = None
        self.asked = 0

    def get(self, context: RequestContext, operation_id: str) -> Any:
        assert context.is_admin
        self.asked += 1
        if self.error is not None:
            raise self.error
        return SimpleNamespace(status=self.status)


@pytest.fixture
def clock(monkeypatch):
    now = SimpleNamespace(seconds=0.0)
    for module in (inquiry, guards, deadlines):
        monkeypatch.setattr(module, "monotonic", lambda: now.seconds)
    return now


def made(registry: Any) -> tuple[Inquiry, Lease]:
    lease = Lease(RequestContext("req-1", project_id="own"), "operation")
    return Inquiry(registry, "operation", lease), lease


def test_the_registry_is_asked_about_twice_a_second(clock):
    registry = Registry()
    ask, lease = made(registry)
    for _ in range(40):
        ask()
        clock.seconds += 0.25
    assert registry.asked == 19
    lease.check()


@pytest.mark.parametrize("pause", [0.01, 0.2, 60.0], ids=["a stream", "drops", "silence"])
@pytest.mark.parametrize("deleted_at", [0.01, 0.44, 0.46, 0.51, 0.99, 7.77])
def test_i7_a_wait_for_data_ends_soon_after_the_delete(clock, deleted_at, pause):
    """The rest of the second is left for the answer of the registry and the end of the work."""
    registry = Registry()
    ask, lease = made(registry)

    def check() -> None:
        ask()
        lease.check()

    def wait(seconds: float) -> bool:
        clock.seconds += min(seconds, pause)
        if clock.seconds >= deleted_at:
            registry.status = OperationStatus.FAILURE
        return False

    with deadlines.within(still_wanted=check):
        guard = Guard(ExchangeLimits(answer=3600))
    guard.begin_body(document=False)
    with pytest.raises(Gone, match="the image was deleted"):
        guard.until(wait, 3600, "is silent")
    assert clock.seconds - deleted_at < 0.7


@pytest.mark.parametrize("status", [OperationStatus.FAILURE, OperationStatus.SUCCESS, None])
def test_i7_the_lease_is_lost_with_the_operation(clock, status):
    registry = Registry()
    ask, lease = made(registry)
    if status is None:
        registry.error = NotFound("no such task")
    else:
        registry.status = status
    clock.seconds += 1
    ask()
    with pytest.raises(Gone, match="the image was deleted"):
        lease.check()


def test_a_registry_that_is_away_says_nothing_against_the_operation(clock):
    registry = Registry()
    registry.error = Unavailable("the registry does not answer")
    ask, lease = made(registry)
    for seconds in range(1, 5):
        clock.seconds = seconds
        ask()
    lease.check()
    assert registry.asked == 4
