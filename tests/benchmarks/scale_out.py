"""What 1, 2 and 3 API processes behind HAProxy do on the same cores, and what a request costs each part of a cluster.

    python -m tests.benchmarks.scale_out --seconds 5 --rounds 2

Prints the medians of the rounds as two tables: rates, and processor milliseconds by kind of process.
"""

from __future__ import annotations

import argparse
import statistics
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from tests.benchmarks import cpu
from tests.benchmarks.endpoint import Endpoint, write_payload
from tests.benchmarks.measures import MEASURES, Load
from tests.cluster.cluster import Cluster, Size

FOLDER = Path("/var/tmp/glance-scale-out")
NAMES = ("show", "list of 25", "create + delete", "upload, 4 streams", "download, 4 streams")
GROUPS = ("haproxy", "glance-api", "glance-registry", "postgres")
SIZE = Size(apis=3, registries=2, scrubbers=1)
IMAGES = 1000
MIB = 64

Readings = Mapping[tuple[str, int], list[tuple[float, list[float]]]]
"""Rate, and seconds of each group for a unit, by measure and number of APIs."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=5, help="of each measure of requests")
    parser.add_argument("--rounds", type=int, default=2)
    asked = parser.parse_args()
    cluster = Cluster(FOLDER, size=SIZE)
    try:
        cluster.start()
        load = Load(asked.seconds, write_payload(FOLDER / "payload", MIB))
        print(_tables(_measure(cluster, load, asked.rounds)))
    finally:
        cluster.stop()


def _measure(cluster: Cluster, load: Load, rounds: int) -> Readings:
    endpoint = Endpoint("cluster", cluster.url)
    endpoint.seed(IMAGES)
    kept = endpoint.upload(load.payload)
    endpoint.uploads.remove(kept)
    endpoint.stored = f"/v2/images/{kept}/file"
    parts = list(cluster.parts())
    pids = {group: [part.pid() for part in parts if part.kind == group] for group in GROUPS}
    found: Readings = defaultdict(list)
    for _ in range(rounds):
        for count in (1, 2, 3):
            _use(cluster, count)
            for measure in (each for each in MEASURES if each.name in NAMES):
                before = _spent(pids)
                units, rate = measure.run(endpoint, load)
                spent = [(after - was) / units for was, after in zip(before, _spent(pids), strict=True)]
                found[measure.name, count].append((rate, spent))
                endpoint.remove_uploads()
    return found


def _use(cluster: Cluster, count: int) -> None:
    """Have HAProxy send requests to the first ``count`` APIs only."""
    assert cluster.haproxy is not None
    for number in range(1, SIZE.apis + 1):
        cluster.haproxy.tell(f"set server glance_api/api{number} state {'ready' if number <= count else 'maint'}")


def _spent(pids: Mapping[str, list[int]]) -> list[float]:
    return [cpu.seconds(pids[group]) for group in GROUPS]


def _tables(found: Readings) -> str:
    units = {measure.name: (measure.unit, measure.per) for measure in MEASURES}
    lines = ["| | 1 API | 2 APIs | 3 APIs |", "|---|---|---|---|"]
    for name in NAMES:
        rates = [statistics.median(rate for rate, _ in found[name, count]) for count in (1, 2, 3)]
        lines.append(f"| {name}, {units[name][0]} | " + " | ".join(f"{rate:.0f}" for rate in rates) + " |")
    lines += ["", f"| processor ms with 3 APIs | {' | '.join(GROUPS)} |", "|---|---|---|---|---|"]
    for name in NAMES:
        spent = [1000 * statistics.median(each) for each in zip(*(spent for _, spent in found[name, 3]), strict=True)]
        lines.append(f"| {name}, a {units[name][1]} | " + " | ".join(f"{each:.2f}" for each in spent) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
