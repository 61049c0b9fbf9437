"""The suite on a real Sheepdog cluster, started by hand: docs/stores/sheepdog.md says how.

usage: DOG=/path/to/dog PORT=17100 python -m pytest tests/conformance/sheepdog_cluster.py

The cluster must be empty. It has no users, and there is one of it, so the cases of other clusters are left out.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.conformance.sheepdog_kit import ClusterHarness

from glance_common.stores.conformance.harness import Harness
from glance_common.stores.conformance.network import *  # noqa: F403 - the tests of the suite
from glance_common.stores.conformance.reading import *  # noqa: F403 - as above
from glance_common.stores.conformance.writing import *  # noqa: F403 - as above

del test_a_missing_place_is_no_empty_store, test_wrong_credentials, test_an_exchanged_place_is_no_empty_store  # noqa: F821 - imported above


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[Harness]:
    """The cluster."""
    yield from ClusterHarness(tmp_path, Path(os.environ["DOG"]), int(os.environ["PORT"])).checked()


@pytest.fixture
def writable(harness: Harness) -> Harness:
    """The same."""
    return harness


@pytest.fixture
def remote(harness: Harness) -> Harness:
    """The same."""
    return harness
