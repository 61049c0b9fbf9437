"""The cinder driver passes the suite of all drivers on a real Cinder with Ceph behind it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.conformance.cinder_kit import CinderHarness, MakeCinder, ReadHarness
from tests.servers.cinder import Cinder
from tests.servers.keystone import Keystone

from glance_common.stores.conformance.network import *  # noqa: F403 - the tests of the suite
from glance_common.stores.conformance.reading import *  # noqa: F403 - as above
from glance_common.stores.conformance.writing import *  # noqa: F403 - as above


@pytest.fixture(scope="module")
def harness(cinder: Cinder, keystone: Keystone, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReadHarness]:
    """A store that is read: the same data are the same volume in all tests, as a volume takes a second."""
    made = ReadHarness(tmp_path_factory.mktemp("read"), cinder, keystone, cinder.make_type())
    yield made
    made.close()


@pytest.fixture
def writable(make_cinder: MakeCinder) -> Iterator[CinderHarness]:
    """A store with volumes of a new type."""
    harness = make_cinder()
    for _ in harness.checked():
        yield harness


@pytest.fixture
def remote(writable: CinderHarness) -> CinderHarness:
    """The same."""
    return writable
