"""One storm: clients and a monkey for a while, then rest, then the comparison of what was told with what is there."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, field

from tests.chaos.storm.faults import Faults
from tests.chaos.storm.monkey import ENOUGH, Crowd, Monkey, Terms
from tests.chaos.storm.place import LIMIT, PROJECTS, Place, add_region, cache_of
from tests.chaos.storm.tally import Tally
from tests.chaos.storm.usage_watch import UsageWatch
from tests.chaos.storm.visitor import Visitor
from tests.chaos.storm.visitors import visit
from tests.servers.web import WebServer
from tests.support.deployment import Deployment
from tests.support.ledger import Ledger, Outcome
from tests.support.promises import find_broken
from tests.support.state import State, look

VISITORS = 5
REST = 300.0
"""Seconds within which all has to be at rest: many leases, on a machine that has other things to do."""
SEEDS = 100
"""Seeds that one storm uses: its own, and one for each visitor."""


@dataclass(frozen=True, slots=True)
class Ground:
    """The deployment of a run of storms, with all that can break; each storm begins with an empty one."""

    deployment: Deployment
    web: WebServer
    faults: Faults
    tally: Tally


@dataclass(slots=True)
class Report:
    """What became of one storm."""

    seed: int
    rounds: int = 0
    seconds: float = 0
    answers: dict[Outcome, int] = field(default_factory=dict)
    deeds: list[str] = field(default_factory=list)
    """What the monkey did."""
    violations: list[str] = field(default_factory=list)

    def line(self) -> str:
        """Return it in a line."""
        answers = ", ".join(f"{count} {outcome}" for outcome, count in self.answers.items())
        return (f"storm: GLANCE_CHAOS_SEED={self.seed} GLANCE_CHAOS_ROUNDS={self.rounds}, {self.seconds:.0f} s, "
                f"answers {answers}, {len(self.violations)} violations")


def run_storm(ground: Ground, report: Report, terms: Terms) -> None:
    """Run one storm, let everything come to rest, and check; the ``report`` says how it went, also when this raises.

    Raises AssertionError when the deployment does not come to rest, and what a client or the monkey meets that no
    answer explains.
    """
    ground.deployment.clear()
    ground.web.pages.clear()
    ledger = Ledger()
    begin = time.monotonic()
    place = Place(ground.deployment, ledger, ground.web, add_region(ground.deployment), ground.tally)
    watch = UsageWatch(ground.deployment, LIMIT)
    _rage(ground, place, watch, report, terms)
    ground.deployment.settle(REST)
    place.verify()
    ground.deployment.settle(REST)
    report.violations = [
        *find_broken(ground.deployment, ledger), *watch.above(), *_cached(ground.deployment, look(ground.deployment)),
    ]
    if not watch.looks or ledger.answers[Outcome.DONE] < ENOUGH:
        report.violations.append(f"the storm saw too little: {watch.looks} looks, answers {ledger.answers}")
    report.answers, report.seconds = dict(ledger.answers), time.monotonic() - begin


def _rage(ground: Ground, place: Place, watch: UsageWatch, report: Report, terms: Terms) -> None:
    """Let visitors and monkey do what they do; all of them have ended at the end."""
    visitors = [Visitor(place, PROJECTS[n % len(PROJECTS)], report.seed + 1 + n) for n in range(VISITORS)]
    background = ground.deployment.background
    running = [background(watch.run, place.over), *(background(visit, each, place.over) for each in visitors)]
    monkey = Monkey(ground.deployment, ground.faults, ground.tally, report.seed)
    crowd = Crowd(lambda: place.ledger.answers[Outcome.DONE], lambda: any(each.done() for each in running))
    try:
        monkey.run(terms, crowd)
    finally:
        place.over.set()
        report.rounds, report.deeds = monkey.rounds, monkey.deeds
    for each in running:
        each.result()


def _cached(deployment: Deployment, state: State) -> list[str]:
    """I1 and I2, of the cache: a copy of an image that is there holds its data."""
    wrong = []
    for path in cache_of(deployment).iterdir():
        expected = state.images[path.name]["os_hash_value"] if path.name in state.images else None
        if expected is not None and hashlib.sha512(path.read_bytes()).hexdigest() != expected:
            wrong.append(f"I2: the cache holds other data of image {path.name} than the row says")
    return wrong
