"""Servers and stores for the tests of drivers with a server."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from tests.conformance.cinder_kit import CinderHarness, MakeCinder
from tests.conformance.rbd_kit import MakeRbd, RbdHarness
from tests.conformance.s3_kit import MakeS3, S3Harness
from tests.conformance.swift_kit import MakeSwift, SwiftHarness
from tests.servers import vcsim
from tests.servers.ceph import Ceph
from tests.servers.cinder import CinderServer
from tests.servers.keystone import Keystone
from tests.servers.rbd import Administrator
from tests.servers.seaweedfs import SeaweedFS
from tests.servers.swift import SwiftServer
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


@pytest.fixture
def make_rbd(rbd: Administrator, tmp_path: Path) -> Iterator[MakeRbd]:
    """A function that returns a harness over a fresh pool, with options of the store."""
    with ExitStack() as stack:

        def made(**options: Any) -> RbdHarness:
            folder = tmp_path / f"store-{len(list(tmp_path.iterdir()))}"
            folder.mkdir()
            harness = RbdHarness(folder, stack.enter_context(rbd.pool()), **options)
            stack.callback(harness.close)
            return harness

        yield made


@pytest.fixture
def make_cinder(cinder: CinderServer, keystone: Keystone, tmp_path: Path) -> Iterator[MakeCinder]:
    """A function that returns a harness over a fresh type of volumes, with options of the store."""
    with ExitStack() as stack:

        def made(*, multiattach: bool = True, **options: Any) -> CinderHarness:
            folder = tmp_path / f"store-{len(list(tmp_path.iterdir()))}"
            folder.mkdir()
            kind = cinder.make_type(multiattach=multiattach)
            harness = CinderHarness(folder, cinder, keystone, kind, **options)
            stack.callback(harness.close)
            return harness

        yield made


@pytest.fixture(params=["swift", "ceph"])
def swift_server(request: pytest.FixtureRequest) -> SwiftServer:
    """Each of the servers that speak the Swift API."""
    found: SwiftServer = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def make_swift(swift_server: SwiftServer, tmp_path: Path) -> Iterator[MakeSwift]:
    """A function that returns a harness over a fresh container, with options of the store."""
    with swift_server.container() as container:

        def made(**options: Any) -> SwiftHarness:
            return SwiftHarness(tmp_path, swift_server, {"swift_store_container": container, **options})

        yield made


@pytest.fixture(scope="session")
def vcenter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VCenterSimulator]:
    """A vCenter simulator; each test uses a directory of its own."""
    with vcsim.running(tmp_path_factory.mktemp("vcsim")) as running:
        yield running
