"""The cinder driver passes the suite of all drivers on a real Cinder with Ceph behind it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.conformance.cinder_kit import CinderHarness, MakeCinder

from glance_common.stores.conformance.harness import Harness
from glance_common.stores.conformance.network import *  # noqa: F403 - the tests of the suite
from glance_common.stores.conformance.reading import *  # noqa: F403 - as above
from glance_common.stores.conformance.writing import *  # noqa: F403 - as above


@pytest.fixture
def harness(make_cinder: MakeCinder) -> Iterator[Harness]:
    """A store with volumes of a new type."""
    yield from make_cinder().checked()


@pytest.fixture
def writable(harness: CinderHarness) -> CinderHarness:
    """The same."""
    return harness


@pytest.fixture
def remote(harness: CinderHarness) -> CinderHarness:
    """The same."""
    return harness
