"""Probes: what down means, since when, and that nobody waits for an answer."""

import threading

import pytest

from glance_common.model.errors import Unavailable
from glance_common.monitor import probes
from glance_common.monitor.probes import Finding, Health, Probe, Watch
from glance_common.stores.contract import StoreUnavailable


class Thing:
    """A dependency whose state the test sets."""

    def __init__(self, error=None):
        self.error = error

    def ask(self):
        if self.error is not None:
            raise self.error


@pytest.fixture
def clock(monkeypatch):
    now = {"time": 1000.0, "monotonic": 50.0}
    monkeypatch.setattr(probes.time, "time", lambda: now["time"])
    monkeypatch.setattr(probes.time, "monotonic", lambda: now["monotonic"])
    return now


def test_two_failures_in_a_row_are_down_and_one_answer_is_up(clock):
    thing = Thing()
    watch = Watch(Probe("store", "fast", thing.ask))
    assert watch.finding().ok is None
    watch.ask()
    assert (watch.finding().ok, watch.finding().since) == (True, 1000.0)
    thing.error = StoreUnavailable("the directory is not mounted")
    clock["time"] = 1010.0
    watch.ask()
    assert watch.finding().ok is True
    watch.ask()
    assert watch.finding() == Finding(watch.finding().probe, False, 1010.0, "the directory is not mounted")
    thing.error = StoreUnavailable("another reason")
    clock["time"] = 1020.0
    watch.ask()
    assert (watch.finding().since, watch.finding().error) == (1010.0, "another reason")
    thing.error = None
    clock["time"] = 1030.0
    watch.ask()
    assert (watch.finding().ok, watch.finding().since, watch.finding().error) == (True, 1030.0, None)


def test_single_failures_between_answers_are_no_outage(clock):
    thing = Thing()
    watch = Watch(Probe("registry", "registry", thing.ask))
    for error in (None, Unavailable("gone"), None, Unavailable("gone"), None):
        thing.error = error
        watch.ask()
        assert watch.finding().ok is True


def test_a_question_that_hangs_is_down_while_it_hangs(clock):
    asked, release = threading.Event(), threading.Event()

    def hang():
        asked.set()
        release.wait(60)

    watch = Watch(Probe("store", "nfs", hang))
    thread = threading.Thread(target=watch.ask)
    thread.start()
    asked.wait(60)
    assert watch.finding().ok is None
    clock["monotonic"] += 7
    clock["time"] += 7
    found = watch.finding()
    assert (found.ok, found.since, found.error) == (False, 1000.0, "no answer for 7 s")
    release.set()
    thread.join(60)
    assert watch.finding().ok is True


def test_s75_texts_of_foreign_errors_are_not_shown():
    watch = Watch(Probe("broker", "queue", Thing(RuntimeError("amqp://user:hunter2@host")).ask))
    watch.ask()
    watch.ask()
    assert watch.finding().error == "RuntimeError"


@pytest.mark.parametrize(
    ("essential", "other", "status"),
    [(True, True, "ok"), (True, False, "degraded"), (False, True, "down"), (False, False, "down"), (None, None, "ok")],
)
def test_the_document_says_what_that_means_for_the_service(monkeypatch, essential, other, status):
    health = Health([])
    findings = [
        Finding(Probe("registry", "registry", Thing().ask, essential=True), essential, 0.0),
        Finding(Probe("store", "fast", Thing().ask), other, 1.5, None if other else "no"),
    ]
    monkeypatch.setattr(health, "findings", lambda: findings)
    document = health.document()
    assert document["status"] == status
    assert health.is_down() is (status == "down")
    assert document["dependencies"][1] == {
        "kind": "store", "name": "fast", "status": {True: "ok", False: "down", None: "unknown"}[other],
        "since": "1970-01-01T00:00:01Z", "error": None if other else "no",
    }


def test_probes_ask_in_the_background_until_stopped():
    seen = threading.Semaphore(0)
    health = Health([Probe("store", "fast", seen.release, interval=0.01)])
    health.start()
    for _ in range(3):
        assert seen.acquire(timeout=60)
    health.stop()
    assert health.findings()[0].ok is True
