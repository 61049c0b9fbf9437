"""The service with a database of MongoDB, beside files and a bucket: every way of data, a server that dies."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.e2e import store_lives
from tests.e2e.store_lives import *  # noqa: F403 - the tests of every kind
from tests.e2e.store_lives import DATA, MIB, TIMEOUT
from tests.e2e.test_s3_store import s3_options
from tests.servers import mongod
from tests.servers.gate import Gate
from tests.servers.mongod import Mongod
from tests.servers.seaweedfs import SeaweedFS
from tests.servers.web import WebServer
from tests.support.daemons import Services
from tests.support.waiting import wait_for

pytestmark = pytest.mark.timeout(900)

PATIENCE = 60.0
"""Seconds beyond twice the timeout that an answer may take on a machine with much other work."""


class GridfsCloud(store_lives.StoreLives):
    """The daemons with a database by two addresses, a bucket and a file store."""

    secrets = (mongod.PASSWORD, mongod.QUOTED)

    def __init__(self, services: Services, disk: Path, alias: Gate, server: Mongod, database: str) -> None:
        super().__init__(services, disk, alias)
        self.server = server
        self.database = database

    def objects(self) -> set[str]:
        with self.server.client() as client:
            data = client[self.database]
            return {*(found["_id"] for found in data["fs.files"].find()), *data["fs.chunks"].distinct("files_id")}

    def url(self, image: str) -> str:
        return f"gridfs://{image}"


def gridfs_options(uri: str, database: str) -> dict[str, Any]:
    """Return the options of a store."""
    return {"mongodb_store_uri": uri, "mongodb_store_db": database, "mongodb_store_timeout": TIMEOUT}


@pytest.fixture(scope="module")
def alias(mongodb: Mongod) -> Iterator[Gate]:
    """The way to the server of the store alias."""
    made = Gate(mongodb.port)
    made.shut()
    yield made
    made.close()


@pytest.fixture(scope="module")
def cloud(
    deploy: Callable[..., Services], mongodb: Mongod, alias: Gate, seaweedfs: SeaweedFS, web: WebServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[GridfsCloud]:
    """The daemons."""
    disk, database = tmp_path_factory.mktemp("disk"), mongod.new_database()
    main = gridfs_options(mongodb.uri(), database)
    again = gridfs_options(mongodb.uri(alias.port), database)
    with seaweedfs.bucket() as bucket:
        other = s3_options(seaweedfs.port, bucket, seaweedfs.keys)
        stores = {"main": ("gridfs", main), "alias": ("gridfs", again), "s3": ("s3", other)}
        yield GridfsCloud(deploy(**store_lives.shared_options(web, disk, **stores)), disk, alias, mongodb, database)


def test_copies_from_a_database_to_a_bucket_and_back(cloud: GridfsCloud):
    caller = cloud.caller
    image = cloud.uploaded_to("main", DATA)
    cloud.copied(image, "s3")
    caller.call("DELETE", f"/v2/stores/main/{image}", 204)
    wait_for(lambda: image not in cloud.objects(), "the end of the first copy")
    assert caller.download(image) == DATA
    cloud.copied(image, "main")
    caller.call("DELETE", f"/v2/stores/s3/{image}", 204)
    assert caller.download(image) == DATA
    caller.delete(image)
    cloud.wait_until_gone(image)


def test_a_killed_server_is_told_in_time_and_used_again_when_it_is_back(cloud: GridfsCloud):
    """No daemon is started anew; what was acknowledged before is there, and what was deleted meanwhile goes."""
    caller = cloud.caller
    kept, deleted = (cloud.uploaded_to("main", DATA[:MIB]) for _ in range(2))
    local = cloud.uploaded_to("disk", DATA[:MIB])
    fresh = str(caller.create()["id"])
    before = cloud.services.api.pid
    cloud.server.stop()
    try:
        for method, image, data in (("GET", kept, None), ("PUT", fresh, b"data"), ("GET", kept, None)):
            began = time.monotonic()
            headers = {"Content-Type": "application/octet-stream"}
            answer = caller.call(method, f"/v2/images/{image}/file", 503, headers=headers, data=data, timeout=300)
            assert time.monotonic() - began < 2 * TIMEOUT + PATIENCE
            assert mongod.USER not in answer.text
            assert caller.download(local) == DATA[:MIB]
        caller.delete(deleted)
    finally:
        cloud.server.start()
    wait_for(lambda: caller.call("GET", f"/v2/images/{kept}/file").status_code == 200, "the store's return")
    assert caller.download(kept) == DATA[:MIB]
    wait_for(lambda: caller.upload(fresh, b"data", 204, 503).status_code == 204, "an upload")
    assert caller.download(fresh) == b"data"
    cloud.wait_until_gone(deleted)
    assert cloud.services.api.pid == before
    for image in (kept, local, fresh):
        caller.delete(image)
