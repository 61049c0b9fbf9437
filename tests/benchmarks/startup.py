"""Start-up: seconds from the start of a process to its first healthy answer, and what the tools need for ``--help``.

    python -m tests.benchmarks.startup --rounds 5

Each line says the median and the least seconds by the clock, and the least processor seconds until then: on a machine
that does other work besides only the last one means something.
"""

import argparse
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from glance_registry.db.schema import upgrade
from tests.benchmarks import cpu
from tests.servers.postgres import running_postgres
from tests.support.daemons import PROGRAMS, Services, WebDaemon

Taken = tuple[float, float]
"""Seconds by the clock, processor seconds."""


def daemon(started: WebDaemon) -> Taken:
    """Start a daemon, wait for its first healthy answer, stop it."""
    began = time.monotonic()
    started.start()
    while started.running and not started.ready():
        time.sleep(0.01)
    if not started.running:
        raise SystemExit(f"{started.program} ended:\n{started.said()}")
    taken = time.monotonic() - began, cpu.seconds([started.pid])
    started.stop()
    return taken


def tool(program: str) -> Taken:
    """Let a program show its help."""
    before, began = os.times(), time.monotonic()
    subprocess.run([PROGRAMS / program, "--help"], stdout=subprocess.DEVNULL, check=True)
    after = os.times()
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    return time.monotonic() - began, spent


def report(name: str, rounds: int, measure: Callable[[], Taken]) -> None:
    """Print what some rounds of one measure took."""
    taken = [measure() for _ in range(rounds)]
    clock = [each[0] for each in taken]
    print(f"{name:24} median {statistics.median(clock):.2f} s, least {min(clock):.2f} s, "
          f"processor {min(each[1] for each in taken):.2f} s", flush=True)


def main() -> None:
    """Measure everything and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder, running_postgres() as server:
        server.create_database("startup")
        url = server.url("startup")
        upgrade(url)
        services = Services(Path(folder), url)
        report("glance-registry", rounds, partial(daemon, services.registry))
        services.start(services.registry)
        report("glance-api", rounds, partial(daemon, services.api))
        services.stop()
    for program in ("glance-manage", "glance-scrubber", "glance-api", "glance-registry"):
        report(f"{program} --help", rounds, partial(tool, program))


if __name__ == "__main__":
    main()
