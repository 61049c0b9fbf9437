"""A monkey that breaks the processes of a deployment and what is around them, by a seed, in rounds."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass

from deploy.local.processes import state_of
from tests.chaos.storm.failpoints import ACTIONS, scan
from tests.chaos.storm.faults import Fault, Faults
from tests.chaos.storm.tally import Tally
from tests.support.daemons import Daemon
from tests.support.deployment import Deployment

LONGEST_STOP = 5.0
"""Seconds that a process is stopped: longer than the leases."""
ARMED_AT_ONCE = 3
"""Failpoints that are armed in one round."""
FAULTS_AT_ONCE = 2
"""Faults that begin in one round."""
ENOUGH = 100
"""Acknowledged answers of a storm at least."""
_ANSWERS = 12
"""Acknowledged answers in one round."""
_LONGEST_WORK = 4.0
"""Seconds after which a round is over although there were less."""
_LOOK = 0.05
"""Seconds between two looks for failpoints that were fired."""

_DEAD_FILLER = "cache.watch.dead"
"""Passed when the process that fills the cache dies while another one waits for what it writes."""
_FILLER = "cache.fill.piece"
_RELEASED = "registry.operation.after-release"
"""Passed when a process ends cleanly in the middle of an operation."""


@dataclass(frozen=True, slots=True)
class Terms:
    """How long a storm goes on: ``rounds`` and ENOUGH answers at least, and ``patience`` seconds at most.

    With ``everything`` it goes on until each failpoint was fired and each fault began.
    """

    rounds: int
    patience: float
    everything: bool


@dataclass(frozen=True, slots=True)
class Crowd:
    """The clients as the monkey sees them: how many answers were acknowledged, and whether one of them failed."""

    answers: Callable[[], int]
    is_broken: Callable[[], bool]


class Monkey:
    """Breaks one thing after the other and lets a supervisor start again what died.

    A round is one deed of the monkey, the start of everything that died of it, and then a few answers to clients, so
    that the next deed meets services at work.
    """

    def __init__(self, deployment: Deployment, faults: Faults, tally: Tally, seed: int) -> None:
        self._deployment, self._faults, self._tally = deployment, faults, tally
        self._choice = random.Random(seed)
        self._programs = scan()
        self._active: dict[str, Future[None]] = {}
        """The last fault of each part."""
        self.rounds = 0
        self.deeds: list[str] = []
        """What was done; the message of a failure shows it."""

    def run(self, terms: Terms, crowd: Crowd) -> None:
        """Go on for the terms; everything runs at the end, and no failpoint is armed and unseen."""
        over = threading.Event()
        watching = self._deployment.background(Watch(self._deployment, self._tally, self._choice.random()).run, over)
        begin = time.monotonic()
        try:
            while time.monotonic() - begin < terms.patience and not self._is_over(terms, crowd):
                self._choose()()
                time.sleep(self._choice.uniform(0.05, 0.5))
                self._deployment.revive()
                self._let_work(crowd)
                self.rounds += 1
        finally:
            self._disarm()
            over.set()
            for ended in (watching, *self._active.values()):
                ended.result()

    def _disarm(self) -> None:
        """Take away what was not fired: a process that stopped later would stand still for ever."""
        for daemon in self._deployment.daemons:
            for path in daemon.failpoints.iterdir():
                if path.suffix != ".fired":
                    path.unlink(missing_ok=True)

    def _is_over(self, terms: Terms, crowd: Crowd) -> bool:
        if crowd.is_broken():
            return True
        is_missing = terms.everything and (self._tally.missing() or self._faults.missing())
        return self.rounds >= terms.rounds and crowd.answers() >= ENOUGH and not is_missing

    def _let_work(self, crowd: Crowd) -> None:
        """Let the clients get some answers, or none where nothing gets on."""
        enough, until = crowd.answers() + _ANSWERS, time.monotonic() + _LONGEST_WORK
        while crowd.answers() < enough and time.monotonic() < until and not crowd.is_broken():
            time.sleep(_LOOK)

    def _choose(self) -> Callable[[], None]:
        """Return a trick: what is missing comes often, and what kills so much that nothing is reached, seldom."""
        missing = self._tally.missing()
        tricks = {
            self._arm: 8.0 if missing else 3, self._break: 8 if self._faults.missing() else 3, self._kill_worker: 2,
            self._kill: 1, self._stop_for_a_while: 1, self._reload: 3 if _RELEASED in missing else 1,
            self._kill_everything: 0.3,
        }
        return self._choice.choices(list(tricks), list(tricks.values()))[0]

    def _daemon(self) -> Daemon:
        return self._choice.choice(self._deployment.daemons)

    def _arm(self) -> None:
        for _ in range(ARMED_AT_ONCE):
            name = self._tally.choose(self._choice)
            if name == _DEAD_FILLER:
                self._arm_at(_FILLER, "stop")
            self._arm_at(name, None)

    def _arm_at(self, name: str, action: str | None) -> None:
        """Arm a failpoint at one of the daemons that may pass it, with an action that this daemon may suffer."""
        daemon = self._choice.choice(self._candidates(name))
        action = action or self._choice.choice(ACTIONS[daemon.program])
        if action == "sleep":
            action = f"sleep {self._choice.uniform(0.1, LONGEST_STOP):.1f}"
        self._note(f"{_name(daemon)}: {name} {action}")
        self._tally.arms(name)
        daemon.arm(name, action)

    def _candidates(self, name: str) -> list[Daemon]:
        nodes: list[Daemon] = [*self._deployment.apis, *self._deployment.registries, *self._deployment.scrubbers]
        daemons = [daemon for daemon in nodes if daemon.program in self._programs[name]]
        if name.startswith("cache."):
            return [daemon for daemon in daemons if daemon.options["DEFAULT"].get("image_cache_dir")]
        return daemons

    def _kill_worker(self) -> None:
        daemon = self._choice.choice((*self._deployment.apis, *self._deployment.registries))
        if workers := daemon.workers():
            self._note(f"a worker of {_name(daemon)} killed")
            with suppress(ProcessLookupError):
                os.kill(self._choice.choice(workers), signal.SIGKILL)

    def _kill(self) -> None:
        daemon = self._daemon()
        self._note(f"{_name(daemon)} killed")
        daemon.kill()

    def _kill_everything(self) -> None:
        self._note("all daemons killed")
        for daemon in self._deployment.daemons:
            daemon.kill()

    def _stop_for_a_while(self) -> None:
        daemon = self._daemon()
        seconds = self._choice.uniform(0.5, LONGEST_STOP)
        self._note(f"{_name(daemon)} stopped for {seconds:.1f} s")
        daemon.freeze()
        time.sleep(seconds)
        daemon.thaw()

    def _reload(self) -> None:
        daemon = self._choice.choice(self._deployment.apis)
        self._note(f"{_name(daemon)} reloaded")
        with suppress(ProcessLookupError):
            daemon.hang_up()

    def _break(self) -> None:
        """Begin faults that end by themselves; the next deeds happen meanwhile."""
        for _ in range(FAULTS_AT_ONCE):
            self._begin_fault()

    def _begin_fault(self) -> None:
        active = {part for part, ended in self._active.items() if not ended.done()}
        fault = self._faults.choose(self._choice, active)
        if fault is not None:
            seconds = self._choice.uniform(0, fault.longest)
            self._note(f"{fault.name} for {seconds:.1f} s")
            self._faults.counts[fault.name] += 1
            if fault.part in self._active:
                self._active[fault.part].result()
            self._active[fault.part] = self._deployment.background(_last, fault, seconds)

    def _note(self, deed: str) -> None:
        self.deeds.append(f"{time.strftime('%H:%M:%S')} {deed}")


class Watch:
    """Sees which failpoints were fired, and lets a process go on, or kills it, that one of them has stopped."""

    def __init__(self, deployment: Deployment, tally: Tally, seed: float) -> None:
        self._deployment, self._tally = deployment, tally
        self._choice = random.Random(seed)
        self._seen: set[tuple[str, int]] = set()
        self._stopped: list[tuple[float, int, signal.Signals]] = []
        """When to send which process what."""

    def run(self, over: threading.Event) -> None:
        """Look until told that it is over; no process is left stopped."""
        while not over.wait(_LOOK):
            self._look()
            self._wake(time.monotonic())
        self._look()
        self._wake(float("inf"))

    def _look(self) -> None:
        for daemon in self._deployment.daemons:
            for trace in daemon.failpoints.glob("*.fired"):
                key = str(trace), trace.stat().st_mtime_ns
                if key not in self._seen:
                    self._seen.add(key)
                    name, pid, _ = trace.name.rsplit(".", 2)
                    action = trace.read_text()
                    self._tally.fires(name, action)
                    if action == "stop":
                        self._plan(name, int(pid))

    def _plan(self, name: str, pid: int) -> None:
        # One that fills the cache dies, so that those who wait for it find out.
        ends = (signal.SIGKILL,) if name == _FILLER else (signal.SIGCONT, signal.SIGCONT, signal.SIGKILL)
        due = time.monotonic() + self._choice.uniform(0.5, LONGEST_STOP)
        self._stopped.append((due, pid, self._choice.choice(ends)))

    def _wake(self, now: float) -> None:
        for entry in [each for each in self._stopped if each[0] <= now]:
            self._stopped.remove(entry)
            _let_stop(entry[1])
            with suppress(ProcessLookupError):
                os.kill(entry[1], entry[2])


def _name(daemon: Daemon) -> str:
    return daemon.folder.name


def _let_stop(pid: int) -> None:
    """Wait a second for a process that stops itself: its trace comes first, and a SIGCONT before the stop is lost."""
    until = time.monotonic() + 1
    while state_of(pid) not in ("T", "Z", "X", None) and time.monotonic() < until:
        time.sleep(_LOOK)


def _last(fault: Fault, seconds: float) -> None:
    fault.begin()
    try:
        time.sleep(seconds)
    finally:
        fault.end()
