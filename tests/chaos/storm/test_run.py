"""The run itself: where its list of failpoints comes from, which one is next, what the table and the report say."""

from __future__ import annotations

import itertools
import random
import signal
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.chaos.storm import failpoints, visitors
from tests.chaos.storm.faults import Faults
from tests.chaos.storm.monkey import ENOUGH, Crowd, Monkey, Terms, Watch
from tests.chaos.storm.storm import Report
from tests.chaos.storm.tally import Tally
from tests.support.ledger import Outcome


class Nothing:
    """A fault of a part that breaks nothing and notes what happens."""

    longest = 0.0

    def __init__(self, name: str, part: str, notes: list[str] | None = None) -> None:
        self.name, self.part = name, part
        self.notes = [] if notes is None else notes

    def begin(self) -> None:
        """Note it."""
        self.notes.append(f"{self.name} begins")

    def end(self) -> None:
        """Note it."""
        self.notes.append(f"{self.name} ends")


def tally(**fired: int) -> Tally:
    made = Tally(fired)
    for name, count in fired.items():
        for _ in range(count):
            made.arms(name)
            made.fires(name, "kill")
    return made


def test_the_scan_finds_names_and_programs(tmp_path: Path):
    for folder in ("api/a", "registry", "scrubber", "common"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "api/a/one.py").write_text('failpoint("one")\nfailpoint("both")\n')
    (tmp_path / "registry/two.py").write_text('        failpoint("two")\ndef failpoint(name): ...\nfailpoint("both")\n')
    (tmp_path / "common/three.py").write_text('failpoint("three")')
    assert failpoints.scan(tmp_path) == {
        "one": ("glance-api",), "two": ("glance-registry",), "both": ("glance-api", "glance-registry"),
        "three": ("glance-api", "glance-scrubber"),
    }


def test_each_failpoint_of_the_code_is_the_aim_of_a_deed():
    """A new failpoint needs a deed that reaches it in ``visitors.py``; one that is gone leaves it."""
    found = set(failpoints.scan())
    assert len(found) >= 40
    assert visitors.reached() == found


def test_what_was_never_fired_comes_first_and_the_least_armed_of_it():
    made, choice = tally(fired=3, twice=0, once=0), random.Random(1)
    for name in ("twice", "twice", "once"):
        made.arms(name)
    assert {made.choose(choice) for _ in range(20)} == {"once"}
    made.arms("once")
    assert {made.choose(choice) for _ in range(50)} == {"twice", "once"}


def test_when_all_were_fired_any_may_come():
    made = tally(a=1, b=5)
    assert {made.choose(random.Random(seed)) for seed in range(20)} == {"a", "b"}


def test_the_table_counts_and_the_summary_names_what_is_missing():
    made = tally(never=0, often=2)
    made.arms("never")
    made.arms("often")
    made.fires("often", "sleep 1.5")
    assert [line.split() for line in made.table().splitlines()] == [
        ["failpoint", "armed", "fired", "actions"], ["never", "1", "0", "-"],
        ["often", "3", "3", "kill", "2,", "sleep", "1"],
    ]
    assert made.summary() == "1 of 2 failpoints fired, never never"
    assert tally(a=1).summary() == "1 of 1 failpoints fired"


def test_deeds_are_aimed_at_what_is_missing():
    aimed = visitors.deeds_for(["api.import.piece-unpacked", "registry.metadefs.after-commit"])
    assert aimed == [visitors.DEEDS["unpack"], visitors.DEEDS["define"]]
    assert visitors.deeds_for([]) == []


def test_the_fault_that_began_the_least_often_comes_next_and_one_of_each_part():
    faults = Faults([Nothing("killed", "database"), Nothing("stopped", "database"), Nothing("away", "broker")])
    faults.counts |= {"killed": 1, "stopped": 0, "away": 2}
    choice = random.Random(1)
    assert faults.missing() == ["stopped"]
    for active, expected in ((set[str](), "stopped"), ({"database"}, "away"), ({"broker"}, "stopped")):
        chosen = faults.choose(choice, active)
        assert chosen is not None
        assert chosen.name == expected
    assert faults.choose(choice, {"database", "broker"}) is None
    assert faults.summary() == "killed 1, stopped 0, away 2"


class Herd:
    """A deployment without processes: daemons that only take failpoints; these fire at once, or never."""

    def __init__(self, folder: Path, *, fires: bool = True) -> None:
        self._end = "fired" if fires else "armed"
        self.threads: list[threading.Thread] = []
        self.apis, self.registries, self.scrubbers = (
            [self._daemon(folder / name, f"glance-{name}")] for name in ("api", "registry", "scrubber")
        )
        self.revived = 0

    def _daemon(self, folder: Path, program: str) -> Any:
        traces = folder / "failpoints"
        traces.mkdir(parents=True)

        def arm(name: str, action: str) -> None:
            """Let it fire, in a process that does not exist."""
            (traces / f"{name}.{2**22 + 1}.{self._end}").write_text(action)

        nothing = SimpleNamespace(program=program, folder=folder, failpoints=traces, arm=arm)
        for name in ("kill", "freeze", "thaw", "hang_up"):
            setattr(nothing, name, lambda: None)
        nothing.options = {"DEFAULT": {"image_cache_dir": "here"}}
        nothing.workers = list
        return nothing

    @property
    def daemons(self) -> list[Any]:
        return [*self.apis, *self.registries, *self.scrubbers]

    def revive(self) -> None:
        self.revived += 1

    def background(self, work: Any, *arguments: Any) -> Any:
        thread = threading.Thread(target=work, args=arguments)
        thread.start()
        self.threads.append(thread)
        return SimpleNamespace(result=thread.join, done=lambda: not thread.is_alive())


def herd(folder: Path, *, fires: bool = True) -> Any:
    """Return a herd, which is all that the monkey needs of a deployment."""
    return Herd(folder, fires=fires)


def crowd(*, broken: bool = False) -> Crowd:
    """Return clients that get answers all the time."""
    return Crowd(itertools.count(step=100).__next__, lambda: broken)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A monkey that does not wait."""
    monkeypatch.setattr("tests.chaos.storm.monkey.time.sleep", lambda _: None)


@pytest.mark.usefixtures("quick")
def test_a_storm_goes_on_until_everything_was_there(tmp_path: Path):
    deployment, counts, notes = herd(tmp_path), Tally(failpoints.scan()), list[str]()
    faults = Faults([Nothing("one", "a", notes), Nothing("two", "a", notes)])
    monkey = Monkey(deployment, faults, counts, 7)
    monkey.run(Terms(5, 60, True), crowd())
    assert (counts.missing(), faults.missing()) == ([], [])
    assert monkey.rounds == deployment.revived >= 5
    assert notes.count("one begins") == notes.count("one ends") == faults.counts["one"]
    assert not any(thread.is_alive() for thread in deployment.threads)


@pytest.mark.usefixtures("quick")
def test_a_storm_ends_when_its_patience_does(tmp_path: Path):
    counts = Tally({**failpoints.scan(), "cache.that.no.code.passes": ()})
    monkey = Monkey(herd(tmp_path), Faults([]), counts, 7)
    monkey.run(Terms(5, 0, True), crowd())
    assert monkey.rounds == 0
    assert "cache.that.no.code.passes" in counts.missing()


@pytest.mark.usefixtures("quick")
def test_a_storm_goes_on_until_it_saw_enough(tmp_path: Path):
    answers = itertools.count()
    monkey = Monkey(herd(tmp_path), Faults([]), Tally(failpoints.scan()), 7)
    monkey.run(Terms(0, 60, False), Crowd(answers.__next__, lambda: False))
    assert next(answers) > ENOUGH


@pytest.mark.usefixtures("quick")
def test_a_storm_ends_when_a_client_failed(tmp_path: Path):
    monkey = Monkey(herd(tmp_path), Faults([]), Tally(failpoints.scan()), 7)
    monkey.run(Terms(5, 60, True), crowd(broken=True))
    assert monkey.rounds == 0


@pytest.mark.usefixtures("quick")
def test_one_seed_brings_the_same_deeds(tmp_path: Path):
    def deeds(number: int, seed: int) -> list[str]:
        monkey = Monkey(herd(tmp_path / str(number), fires=False), Faults([]), Tally(failpoints.scan()), seed)
        monkey.run(Terms(3, 60, False), crowd())
        return [deed.partition(" ")[2] for deed in monkey.deeds]

    first = deeds(1, 11)
    assert first == deeds(2, 11)
    assert first != deeds(3, 12)


def test_a_report_names_the_seed_and_counts():
    report = Report(1200, 25, 61.4, {Outcome.DONE: 80, Outcome.UNCLEAR: 9}, violations=["I1: gone"])
    assert report.line() == (
        "storm: GLANCE_CHAOS_SEED=1200 GLANCE_CHAOS_ROUNDS=25, 61 s, answers 80 done, 9 unclear, 1 violations"
    )


def test_a_stopped_process_goes_on_or_dies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    sent: list[tuple[int, signal.Signals]] = []
    monkeypatch.setattr("tests.chaos.storm.monkey.os.kill", lambda pid, how: sent.append((pid, how)))
    deployment = herd(tmp_path)
    watch = Watch(deployment, Tally(["cache.fill.piece"]), 1.0)
    deployment.apis[0].arm("cache.fill.piece", "stop")
    over = threading.Event()
    over.set()
    watch.run(over)
    assert sent == [(2**22 + 1, signal.SIGKILL)], "who fills the cache dies"
