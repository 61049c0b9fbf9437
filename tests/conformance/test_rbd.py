"""The rbd driver passes the suite of all drivers on a real Ceph cluster."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.conformance.rbd_kit import MakeRbd, RbdHarness

from glance_common.stores.conformance.harness import Harness
from glance_common.stores.conformance.network import *  # noqa: F403 - the tests of the suite
from glance_common.stores.conformance.reading import *  # noqa: F403 - as above
from glance_common.stores.conformance.writing import *  # noqa: F403 - as above


@pytest.fixture
def harness(make_rbd: MakeRbd) -> Iterator[Harness]:
    """A store in a new pool."""
    yield from make_rbd().checked()


@pytest.fixture
def writable(harness: RbdHarness) -> RbdHarness:
    """The same."""
    return harness


@pytest.fixture
def remote(harness: RbdHarness) -> RbdHarness:
    """The same."""
    return harness
