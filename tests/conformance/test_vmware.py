"""The vmware driver passes the suite of all drivers on a vCenter simulator."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.conformance.vmware_kit import VmwareHarness
from tests.servers.vcsim import VCenterSimulator

from glance_common.stores.conformance.harness import Harness
from glance_common.stores.conformance.network import *  # noqa: F403 - the tests of the suite
from glance_common.stores.conformance.reading import *  # noqa: F403 - as above
from glance_common.stores.conformance.writing import *  # noqa: F403 - as above


@pytest.fixture
def harness(vcenter: VCenterSimulator, tmp_path: Path) -> Iterator[Harness]:
    """A store in a new directory."""
    made = VmwareHarness(tmp_path, vcenter)
    try:
        yield from made.checked()
    finally:
        made.close()


@pytest.fixture
def writable(harness: VmwareHarness) -> VmwareHarness:
    """The same."""
    return harness


@pytest.fixture
def remote(harness: VmwareHarness) -> VmwareHarness:
    """The same."""
    return harness
