"""The rbd driver passes the suite of all drivers on a real Ceph cluster."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.conformance.rbd_kit import RbdHarness
from tests.servers.rbd import Administrator

from glance_common.stores.conformance.network import *  # noqa: F403 - the tests of the suite
from glance_common.stores.conformance.reading import *  # noqa: F403 - as above
from glance_common.stores.conformance.writing import *  # noqa: F403 - as above


@pytest.fixture(params=["false", "true"], ids=["thick", "thin"])
def harness(request: pytest.FixtureRequest, rbd: Administrator, tmp_path: Path) -> Iterator[RbdHarness]:
    """A store in a new pool, that writes zeros or leaves them out."""
    with rbd.pool() as pool:
        made = RbdHarness(tmp_path, pool, rbd_thin_provisioning=request.param)
        try:
            yield from made.checked()
        finally:
            made.close()


@pytest.fixture
def writable(harness: RbdHarness) -> RbdHarness:
    """The same."""
    return harness


@pytest.fixture
def remote(harness: RbdHarness) -> RbdHarness:
    """The same."""
    return harness
