"""The workers of a process: how many at once, woken by requests, and gone in time."""

import threading
from collections.abc import Iterator

import pytest

from glance_api.background import pool as pools
from glance_api.background.pool import PoolWork, StopSign, WorkerPool
from glance_api.clients.key_manager import Credentials
from glance_api.imports.signals import WorkSignal
from glance_common.model.errors import Unavailable

LONG = 60.0


class Jobs:
    """Jobs to claim; those that run wait for ``release``."""

    def __init__(self) -> None:
        self.waiting: list[int | Exception] = []
        self.running = 0
        self.most = 0
        self.done: list[int] = []
        self.left: list[int] = []
        self.release = threading.Event()
        self.changed = threading.Condition()

    def claim(self) -> int | None:
        job = self.waiting.pop(0) if self.waiting else None
        if isinstance(job, Exception):
            raise job
        return job

    def run(self, job: int) -> None:
        with self.changed:
            self.running += 1
            self.most = max(self.most, self.running)
            self.changed.notify_all()
        self.release.wait(60)
        with self.changed:
            self.running -= 1
            self.done.append(job)
            self.changed.notify_all()
        if job < 0:
            raise RuntimeError("a defect")

    def expect(self, condition) -> None:
        with self.changed:
            assert self.changed.wait_for(condition, 60)


@pytest.fixture
def jobs() -> Iterator[Jobs]:
    made = Jobs()
    yield made
    made.release.set()


def make(jobs: Jobs, size: int = 2, poll: float = LONG, **more) -> tuple[WorkerPool, WorkSignal, StopSign]:
    signal, stop = WorkSignal(), StopSign()
    work = PoolWork(jobs.claim, jobs.run, jobs.left.append, **more)
    return WorkerPool(work, size=size, signal=signal, stop=stop, poll=poll), signal, stop


def test_a_request_wakes_it(jobs):
    pool, signal, _ = make(jobs)
    jobs.release.set()
    pool.start()
    jobs.waiting.append(1)
    signal.wake()
    jobs.expect(lambda: jobs.done == [1])
    pool.stop()


def test_no_more_than_its_size_at_once(jobs):
    jobs.waiting += [1, 2, 3, 4]
    pool, _, _ = make(jobs, size=2, poll=0.05)
    pool.start()
    jobs.expect(lambda: jobs.running == 2)
    jobs.release.set()
    jobs.expect(lambda: sorted(jobs.done) == [1, 2, 3, 4])
    assert jobs.most == 2
    pool.stop()


def test_neither_errors_nor_defects_end_it(jobs, caplog):
    jobs.waiting += [Unavailable("the registry is away"), KeyError("defect"), -1, 2]
    jobs.release.set()
    pool, _, _ = make(jobs, size=1, poll=0.02)
    pool.start()
    jobs.expect(lambda: jobs.done == [-1, 2])
    pool.stop()
    assert "the registry is away" in caplog.text


def test_a_stopped_pool_claims_nothing_and_waits_for_what_runs(jobs):
    jobs.waiting += [1]
    pool, signal, stop = make(jobs)
    pool.start()
    jobs.expect(lambda: jobs.running == 1)
    threading.Timer(0.1, jobs.release.set).start()
    pool.stop()
    assert jobs.done == [1]
    assert stop()
    jobs.waiting.append(2)
    signal.wake()
    assert jobs.waiting == [2]


def test_what_does_not_end_is_left_behind(jobs, monkeypatch, caplog):
    monkeypatch.setattr(pools, "STOP_WITHIN", 0.05)
    jobs.waiting += [1]
    # With a second place the thread that looks for work could hold that one for the moment in which it is asked for.
    pool, _, _ = make(jobs, size=1)
    pool.start()
    jobs.expect(lambda: jobs.running == 1)
    pool.stop()
    assert "1 operations did not end" in caplog.text


def test_housekeeping_come_first(jobs):
    order: list[str] = []
    jobs.release.set()
    pool, _, _ = make(jobs, housekeeping=lambda: order.append(f"housekeeping before {len(jobs.done)}"))
    jobs.waiting += [1]
    pool.start()
    jobs.expect(lambda: jobs.done == [1])
    pool.stop()
    assert order[0] == "housekeeping before 0"


def test_what_is_kept_has_an_end(monkeypatch):
    monkeypatch.setattr("glance_api.imports.signals.MAX_KEPT", 2)
    work = WorkSignal()
    for name in ("a", "b", "c"):
        work.keep(name, Credentials("secret"))
    assert work.kept("a") is None
    assert "secret" not in repr(work.kept("c"))
    work.forget("b")
    work.forget("c")
    assert not work.keeps


def test_housekeeping_that_fails_keeps_no_job_from_its_worker(jobs, caplog):
    def fail() -> None:
        raise RuntimeError("a defect")

    jobs.waiting = [1]
    pool, _, _ = make(jobs, housekeeping=fail)
    jobs.release.set()
    pool.start()
    jobs.expect(lambda: jobs.done == [1])
    pool.stop()
    assert "the housekeeping of the workers failed" in caplog.text


def test_what_others_ended_is_forgotten_once_it_is_old(monkeypatch):
    work, credentials = WorkSignal(), Credentials("secret")
    for operation in ("ended", "live"):
        work.keep(operation, credentials)
    work.forget_all_but({"live"})
    assert work.kept("ended") is credentials, "its request may still be on the way to the registry"
    monkeypatch.setattr("glance_api.imports.signals.NEW", -1.0)
    work.forget_all_but({"live"})
    assert (work.kept("ended"), work.kept("live")) == (None, credentials)


def test_a_thread_that_cannot_be_started_costs_no_place_and_leaves_its_job(jobs, monkeypatch):
    start, failed = threading.Thread.start, []

    def fail_once(thread: threading.Thread) -> None:
        if thread.name == "operation" and not failed:
            failed.append(thread)
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", fail_once)
    jobs.waiting = [1, 2]
    jobs.release.set()
    pool, _, _ = make(jobs, size=1, poll=0.05)
    pool.start()
    jobs.expect(lambda: jobs.done == [2])
    pool.stop()
    assert jobs.left == [1]
