"""The configurations of object stores that the documentation shows, and the form of older files: the service starts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.calls import MIB, Caller
from tests.e2e.leftovers import files, rows
from tests.e2e.pages import documented
from tests.servers import mongod
from tests.servers.mongod import Mongod
from tests.servers.rbd import Administrator
from tests.servers.seaweedfs import SeaweedFS
from tests.support.daemons import Services
from tests.support.raw_data import random_bytes
from tests.support.waiting import wait_for

pytestmark = pytest.mark.timeout(900)

DATA = random_bytes(MIB)


@pytest.fixture
def options(
    request: pytest.FixtureRequest, kind: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Any]]:
    """Return the options of a store that a server of the test takes."""
    if kind == "s3":
        server: SeaweedFS = request.getfixturevalue("seaweedfs")
        with server.bucket() as bucket:
            yield {
                "s3_store_host": server.url, "s3_store_access_key": server.keys.access,
                "s3_store_secret_key": server.keys.secret, "s3_store_bucket": bucket,
            }
    elif kind == "rbd":
        owner: Administrator = request.getfixturevalue("rbd")
        with owner.pool() as pool:
            yield pool.options(tmp_path_factory.mktemp("rbd"))
    else:
        database: Mongod = request.getfixturevalue("mongodb")
        yield {"mongodb_store_uri": database.uri(), "mongodb_store_db": mongod.new_database()}


@contextmanager
def started(deploy: Callable[..., Services], shared: dict[str, Any]) -> Iterator[Services]:
    services = deploy(shared=shared, scrubber={"DEFAULT": {"wakeup_time": 1}})
    yield services
    services.stop()


def whole_life(services: Services, store: str) -> None:
    """Upload to the default store, read and delete."""
    caller = Caller(services.api.url)
    image = caller.uploaded(DATA)
    query = "SELECT store, status FROM locations WHERE image_id = %s"
    assert rows(services, query, image) == [(store, "active")]
    assert caller.download(image) == DATA
    caller.delete(image)
    wait_for(lambda: rows(services, query, image) == [(store, "deleted")], "the removal of the data")


@pytest.mark.parametrize(("kind", "store"), [("s3", "main"), ("gridfs", "grid"), ("rbd", "ceph")])
def test_the_configuration_of_the_page(deploy: Callable[..., Services], kind: str, store: str, options: dict[str, Any]):
    """Only the values that name the operator's own server are replaced."""
    shown = documented(kind)
    assert shown[store].keys() == options.keys()
    with started(deploy, {**shown, store: options}) as services:
        whole_life(services, store)


@pytest.mark.parametrize("kind", ["s3", "gridfs", "rbd"])
def test_the_form_of_older_files(deploy: Callable[..., Services], kind: str, options: dict[str, Any], tmp_path: Path):
    """All stores have their options in one group, and are called like their kind."""
    group = {
        "stores": f"file,http,{kind}", "default_store": kind, "filesystem_store_datadir": tmp_path, **options,
    }
    with started(deploy, {"glance_store": group}) as services:
        whole_life(services, kind)
        assert files(tmp_path) == set()
