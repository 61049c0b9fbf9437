"""The swift driver passes the suite of all drivers, against two real servers."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.conformance.swift_kit import SwiftHarness
from tests.servers.swift import SwiftServer

from glance_common.stores.conformance.harness import Harness
from glance_common.stores.conformance.network import *  # noqa: F403 - the tests of the suite
from glance_common.stores.conformance.reading import *  # noqa: F403 - as above
from glance_common.stores.conformance.writing import *  # noqa: F403 - as above
from glance_common.stores.drivers.swift import store


@pytest.fixture(params=["swift", "ceph"])
def harness(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Harness]:
    """A store over a fresh container; its lists have several pages."""
    server: SwiftServer = request.getfixturevalue(request.param)
    monkeypatch.setattr(store, "PAGE", 10)
    with server.container() as container:
        yield from SwiftHarness(tmp_path, server, {"swift_store_container": container}).checked()


@pytest.fixture
def writable(harness: SwiftHarness) -> SwiftHarness:
    """The same: it takes data."""
    return harness


@pytest.fixture
def remote(harness: SwiftHarness) -> SwiftHarness:
    """The same: it is behind a network."""
    return harness
