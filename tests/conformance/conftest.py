"""Servers for the tests of the s3 and the vmware driver."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.conformance.s3_kit import MakeS3, S3Harness
from tests.servers import vcsim
from tests.servers.ceph import Ceph
from tests.servers.seaweedfs import SeaweedFS
from tests.servers.vcsim import VCenterSimulator


@pytest.fixture(params=["seaweedfs", "ceph"])
def s3_server(request: pytest.FixtureRequest) -> SeaweedFS | Ceph:
    """Each of the servers."""
    found: SeaweedFS | Ceph = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def make_s3(s3_server: SeaweedFS | Ceph, tmp_path: Path) -> Iterator[MakeS3]:
    """A function that returns a harness over a fresh bucket, with options of the store."""
    with s3_server.bucket() as bucket:

        def made(**options: Any) -> S3Harness:
            least = {"s3_store_host": s3_server.url, "s3_store_bucket": bucket}
            return S3Harness(tmp_path, s3_server.client(), s3_server.keys, {**least, **options})

        yield made


@pytest.fixture(scope="session")
def vcenter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VCenterSimulator]:
    """A vCenter simulator; each test uses a directory of its own."""
    with vcsim.running(tmp_path_factory.mktemp("vcsim")) as running:
        yield running
