"""The s3 driver passes the suite of all drivers, against two real S3 servers."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.conformance.s3_kit import S3Harness
from tests.servers.ceph import Ceph
from tests.servers.seaweedfs import SeaweedFS

from glance_common.stores.conformance.harness import Harness
from glance_common.stores.conformance.network import *  # noqa: F403 - the tests of the suite
from glance_common.stores.conformance.reading import *  # noqa: F403 - as above
from glance_common.stores.conformance.writing import *  # noqa: F403 - as above
from glance_common.stores.drivers.s3 import driver


@pytest.fixture(params=["seaweedfs", "ceph"])
def harness(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Harness]:
    """A store over a fresh bucket; its lists have several pages."""
    server: SeaweedFS | Ceph = request.getfixturevalue(request.param)
    monkeypatch.setattr(driver, "PAGE", 10)
    with server.bucket() as bucket:
        options = {"s3_store_host": server.url, "s3_store_bucket": bucket}
        yield from S3Harness(tmp_path, server.client(), server.keys, options).checked()


@pytest.fixture
def writable(harness: S3Harness) -> S3Harness:
    """The same: it takes data."""
    return harness


@pytest.fixture
def remote(harness: S3Harness) -> S3Harness:
    """The same: it is behind a network."""
    return harness
