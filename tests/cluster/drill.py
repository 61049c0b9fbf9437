"""The drill: break a cluster part by part under load, roll it, and say what its clients met."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from deploy.local import processes

from tests.cluster import checker, table
from tests.cluster.cluster import Cluster, Part
from tests.cluster.crowd import Crowd
from tests.cluster.table import StepResult

_WHOLE_SECONDS = 180
AWAY = 2.0
"""Seconds that a part which died stays away: longer than HAProxy needs to see it."""
OURS = ("glance-api", "glance-registry", "glance-scrubber")
UNSEEN = ("glance-scrubber", "rabbitmq", "replica")
"""What may die without any request that waits for it."""


@dataclass(frozen=True, slots=True)
class Step:
    """Something that happens to the cluster; ``is_silent``: no client may notice."""

    name: str
    act: Callable[[], None]
    is_silent: bool = False


def steps(cluster: Cluster, is_short: bool) -> Iterator[Step]:
    """Yield the steps. The short drill takes one part of each kind, and fewer kinds."""
    parts = list(cluster.parts())
    killed = _one_of_each(parts) if is_short else parts
    yield Step("nothing happens", lambda: time.sleep(AWAY), is_silent=True)
    for part in killed:
        if not is_short or part.kind in (*OURS, "postgres"):
            yield Step(f"kill -9 {part.name}", _kill(part), is_silent=part.kind in UNSEEN)
    broker = next(part for part in parts if part.kind == "rabbitmq")
    yield Step(f"take {broker.name} away", _restart(broker, AWAY), is_silent=True)
    if not is_short:
        postgres = next(part for part in parts if part.kind == "postgres")
        yield Step("restart postgres", _restart(postgres))
    for kind in OURS[:2] if is_short else OURS:
        group = [part for part in (killed if is_short else parts) if part.kind == kind]
        yield Step(f"roll {', '.join(part.name for part in group)}", _roll(cluster, group), is_silent=True)


def run(
    cluster: Cluster, crowd: Crowd, is_short: bool, say: Callable[[str], None]
) -> tuple[list[StepResult], list[str]]:
    """Take every step under the load of ``crowd``; return what it met in each, and the broken promises.

    Raises StartError when something does not come back.
    """
    results: list[StepResult] = []
    crowd.start()
    crowd.take()
    for step in steps(cluster, is_short):
        began = time.monotonic()
        step.act()
        processes.wait_until(cluster.is_whole, what=f"a whole cluster after: {step.name}", seconds=_WHOLE_SECONDS)
        took = time.monotonic() - began
        # Each client is past what it began in trouble: that belongs to this step.
        crowd.wait_calm()
        results.append(StepResult(step.name, step.is_silent, took, crowd.take()))
        say(table.rows(results[-1:]).splitlines()[-1])
    crowd.stop()
    results[-1] = replace(results[-1], calls=[*results[-1].calls, *crowd.take()])
    cluster.settle()
    return results, checker.broken(cluster, crowd.ledger)


def _one_of_each(parts: list[Part]) -> list[Part]:
    kinds: dict[str, Part] = {}
    for part in random.sample(parts, len(parts)):
        kinds[part.kind] = part
    return [part for part in parts if part in kinds.values()]


def _kill(part: Part) -> Callable[[], None]:
    def act() -> None:
        part.kill()
        time.sleep(AWAY)
        part.start()

    return act


def _restart(part: Part, away: float = 0.0) -> Callable[[], None]:
    def act() -> None:
        part.stop()
        time.sleep(away)
        part.start()

    return act


def _roll(cluster: Cluster, parts: list[Part]) -> Callable[[], None]:
    """Restart parts of one kind, the next one when HAProxy has the last one back."""

    def act() -> None:
        for part in parts:
            part.stop()
            part.start()
            processes.wait_until(cluster.is_whole, what=f"{part.name} behind HAProxy", seconds=_WHOLE_SECONDS)

    return act
