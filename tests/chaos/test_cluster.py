"""A cluster is broken part by part and rolled under load: clients need no more than to repeat a call (I4, I9, I10)."""

from __future__ import annotations

import os
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.cluster import drill, table
from tests.cluster.cluster import FULL, Cluster, Size
from tests.cluster.crowd import Crowd
from tests.support.waiting import wait_for

LONG = bool(os.environ.get("GLANCE_TEST_LONG"))
SHORT = Size(apis=2, registries=2, scrubbers=2)

pytestmark = pytest.mark.timeout(1800)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    # The user that root's database runs as has to reach it.
    above = Path(tempfile.mkdtemp(prefix="glance-cluster-"))
    above.chmod(0o711)
    made = Cluster(above / "c", size=FULL if LONG else SHORT)
    try:
        made.start()
        yield made
    finally:
        made.stop()
        shutil.rmtree(above, ignore_errors=True)


def test_the_delete_queue_has_a_copy_on_each_broker(cluster: Cluster):
    # After the drill a broker may just have come back.
    wait_for(lambda: cluster.brokers.members("glance.delete") == 3, "a copy on each broker", 180)


def test_a_drill(cluster: Cluster, record_property: Callable[[str, object], None]):
    seed = random.SystemRandom().randrange(10**6)
    record_property("seed", seed)
    crowd = Crowd(cluster.url, cluster.folder, seed, cluster.web)
    try:
        results, broken = drill.run(cluster, crowd, not LONG, print)
    finally:
        crowd.stop()
    print(f"seed {seed}\n{table.rows(results)}")  # noqa: T201 - shown with a failure
    assert [fault for result in results for fault in result.faults()] == []
    assert broken == []
    assert sum(len(result.calls) for result in results) > 50
