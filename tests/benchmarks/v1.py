"""Calls of the Images API v1 beside their twins of v2: requests per second, and the processor time of one.

    python -m tests.benchmarks.v1 --rounds 5

Api and registry with 2 workers each, 1000 images without data, 4 kept connections; v1 shows an image by ``HEAD``.
"""

import argparse
import statistics
import tempfile
import time
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path

from deploy.local import accounts

from tests.benchmarks import cpu
from tests.benchmarks.endpoint import Endpoint, in_threads
from tests.benchmarks.ours import Ours
from tests.benchmarks.side_by_side import database_server

Call = tuple[str, str]
"""Method and path."""

TWINS: dict[str, tuple[Call, Call]] = {
    "show": (("HEAD", "/v1/images/{image}"), ("GET", "/v2/images/{image}")),
    "list of 25": (("GET", "/v1/images/detail?limit=25&is_public=none"), ("GET", "/v2/images?limit=25")),
    "list of 500": (("GET", "/v1/images/detail?limit=500&is_public=none"), ("GET", "/v2/images?limit=500")),
}


def ask(endpoint: Endpoint, call: Call, seconds: float) -> tuple[float, float]:
    """Make one call again and again; return how many were answered in a second, and milliseconds of processor time."""
    method, path = call[0], call[1].format(image=endpoint.made[0])
    done: list[None] = []
    before, began = cpu.seconds(endpoint.pids), time.monotonic()

    def work() -> None:
        connection = endpoint.connect()
        while time.monotonic() < began + seconds:
            endpoint.call(connection, method, path)
            done.append(None)

    in_threads(4, work)
    taken = time.monotonic() - began
    return len(done) / taken, (cpu.seconds(endpoint.pids) - before) / len(done) * 1000


def measure(endpoint: Endpoint, rounds: int, seconds: float) -> None:
    """Print each pair of twins: medians of the rounds, in which they take turns."""
    rates, costs = defaultdict[str, list[float]](list), defaultdict[str, list[float]](list)
    for _ in range(rounds):
        for name, twins in TWINS.items():
            for version, call in zip(("v1", "v2"), twins, strict=True):
                rate, cost = ask(endpoint, call, seconds)
                rates[name + version].append(rate)
                costs[name + version].append(cost)
    for name in TWINS:
        (old, new), (dear, cheap) = [
            [statistics.median(found[name + version]) for version in ("v1", "v2")] for found in (rates, costs)
        ]
        print(f"{name:12} v1 {old:6.0f}/s {dear:6.2f} ms   v2 {new:6.0f}/s {cheap:6.2f} ms   "
              f"v1 takes {new / old:.2f} of the time, {dear / cheap:.2f} of the processor time")


def main() -> None:
    """Start everything, measure, and end it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2, help="of each call in each round")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="glance-v1-", dir="/var/tmp") as name, ExitStack() as stack:
        folder = Path(name)
        # The database runs as a user of its own, who must get to its folder in here.
        folder.chmod(0o711)
        accounts.hand_over(folder / "postgres", accounts.server_account())
        database = stack.enter_context(database_server(folder / "postgres"))
        database.create_database("ours")
        ours = Ours(folder / "ours", database.url("ours"))
        stack.callback(ours.stop)
        api = ours.api("api", {})
        endpoint = Endpoint("ours", api.url, (api.pid, ours.registry.pid, database.pid))
        endpoint.seed(1000)
        measure(endpoint, options.rounds, options.seconds)


if __name__ == "__main__":
    main()
