"""The service with buckets of an S3 server, beside a file store: every way of data, a server that hangs, new keys."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from deploy.local import configuration
from tests.e2e import hanging_store, store_lives
from tests.e2e.hanging_store import *  # noqa: F403 - as store_lives
from tests.e2e.leftovers import rows
from tests.e2e.store_lives import *  # noqa: F403 - the tests of every kind
from tests.e2e.store_lives import DATA, MIB, PATIENCE, TIMEOUT
from tests.servers.gate import Gate
from tests.servers.s3 import S3Keys
from tests.servers.seaweedfs import SeaweedFS
from tests.servers.web import WebServer
from tests.support.daemons import Services
from tests.support.waiting import wait_for

from glance_common.stores.place_mark import NAME

pytestmark = pytest.mark.timeout(900)

class S3Cloud(hanging_store.GatedLives):
    """The daemons with two S3 stores and their names, of which one can hang, and a file store."""

    def __init__(
        self, services: Services, disk: Path, alias: Gate, server: SeaweedFS, bucket: str, gate: Gate
    ) -> None:
        super().__init__(services, disk, alias, gate)
        self.server = server
        self.bucket = bucket
        self.secrets = (server.keys.access, server.keys.secret)

    def objects(self) -> set[str]:
        found = self.server.client().list_objects_v2(Bucket=self.bucket).get("Contents", [])
        return {entry["Key"] for entry in found} - {NAME}

    def url(self, image: str) -> str:
        return f"s3://127.0.0.1:{self.server.port}/{self.bucket}/{image}"


def s3_options(port: int, bucket: str, keys: S3Keys, timeout: float = TIMEOUT) -> dict[str, Any]:
    """Return the options of a store."""
    return {
        "s3_store_host": f"http://127.0.0.1:{port}", "s3_store_bucket": bucket, "s3_store_access_key": keys.access,
        "s3_store_secret_key": keys.secret, "s3_store_bucket_url_format": "path", "s3_store_large_object_size": 10,
        "s3_store_large_object_chunk_size": 5, "s3_store_connect_timeout": timeout, "s3_store_read_timeout": timeout,
    }


@pytest.fixture(scope="module")
def gate(seaweedfs: SeaweedFS) -> Iterator[Gate]:
    """The way to the server of the store slow."""
    made = Gate(seaweedfs.port)
    yield made
    made.close()


@pytest.fixture(scope="module")
def alias(seaweedfs: SeaweedFS) -> Iterator[Gate]:
    """The way to the server of the store alias."""
    made = Gate(seaweedfs.port)
    made.shut()
    yield made
    made.close()


@pytest.fixture(scope="module")
def cloud(
    deploy: Callable[..., Services], seaweedfs: SeaweedFS, web: WebServer, gate: Gate, alias: Gate,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[S3Cloud]:
    """The daemons."""
    disk = tmp_path_factory.mktemp("disk")
    with seaweedfs.bucket() as bucket, seaweedfs.bucket() as other:
        main = s3_options(seaweedfs.port, bucket, seaweedfs.keys, PATIENCE)
        again = s3_options(alias.port, bucket, seaweedfs.keys)
        slow = s3_options(gate.port, other, seaweedfs.keys)
        options = store_lives.shared_options(web, disk, main=("s3", main), alias=("s3", again), slow=("s3", slow))
        yield S3Cloud(deploy(**options), disk, alias, seaweedfs, bucket, gate)


def test_the_end_of_a_bucket_is_told(cloud: S3Cloud):
    """The log tells the operator what to mend; the client learns that the store is down."""
    image = cloud.uploaded_to("main", DATA[:1000])
    cloud.server.client().delete_object(Bucket=cloud.bucket, Key=NAME)
    answer = cloud.caller.upload(str(cloud.caller.create()["id"]), b"data", 503)
    assert cloud.bucket not in answer.text
    wait_for(lambda: f"has no object {NAME}" in cloud.services.api.log.read_text(), "the line in the log")
    (place,) = rows(cloud.services, "SELECT identity FROM store_identities WHERE store = 'main'")
    cloud.server.client().put_object(Bucket=cloud.bucket, Key=NAME, Body=str(place[0]).encode())
    wait_for(lambda: cloud.caller.call("GET", f"/v2/images/{image}/file").status_code == 200, "the store's return")


def test_sto22_locations_of_older_installations_lose_their_credentials(cloud: S3Cloud):
    """Older versions wrote the keys into the URL. What a user registers in this form is kept and shown without them."""
    key = str(uuid4())
    cloud.server.client().put_object(Bucket=cloud.bucket, Key=key, Body=DATA[:MIB])
    keys = cloud.server.keys
    old = cloud.url(key).replace("s3://", f"s3://{keys.access}:{keys.secret}@")
    image = str(cloud.caller.create()["id"])
    cloud.caller.patch(image, {"op": "add", "path": "/locations/-", "value": {"url": old, "metadata": {}}})
    assert cloud.caller.download(image) == DATA[:MIB]
    shown = cloud.caller.call("GET", f"/v2/images/{image}", 200)
    assert [place["url"] for place in shown.json()["locations"]] == [cloud.url(key)]
    assert rows(cloud.services, "SELECT store, key FROM locations WHERE image_id = %s", image) == [("main", key)]
    said = shown.text + cloud.services.api.said() + cloud.services.registry.said() + cloud.services.scrubber.said()
    for secret in cloud.secrets:
        assert secret not in said
    cloud.caller.delete(image)


def test_rotated_credentials_work_at_once(cloud: S3Cloud):
    image = cloud.uploaded_to("main", DATA)
    new = cloud.server.other_keys
    options = {"s3_store_access_key": new.access, "s3_store_secret_key": new.secret}
    for daemon in (cloud.services.api, cloud.services.scrubber):
        daemon.configure(configuration.merged(daemon.options, {"main": options}))
        daemon.stop()
        daemon.start()
        daemon.wait_ready()
    assert cloud.caller.download(image) == DATA
    cloud.caller.delete(image)
    cloud.wait_until_gone(image)


def test_kep01_kep04_what_rots_or_goes_is_found_and_replaced(cloud: S3Cloud):
    data = DATA[:MIB]
    rotten, gone, cut = (cloud.uploaded_to("main", data) for _ in range(3))
    for image in (rotten, gone):
        cloud.copied(image, "disk")
    client = cloud.server.client()
    client.put_object(Bucket=cloud.bucket, Key=rotten, Body=data[:-1] + bytes([data[-1] ^ 1]))
    client.delete_object(Bucket=cloud.bucket, Key=gone)
    client.put_object(Bucket=cloud.bucket, Key=cut, Body=data[:5])
    found = cloud.services.scrub_once("--reconcile", "--fix", "--store", "main")
    assert (found.returncode, found.stderr) == (0, "")
    differences = [line.split()[:3] for line in found.stdout.splitlines()]
    assert ["missing", "main", gone] in differences
    assert ["size", "main", cut] in differences
    assert not [line for line in differences if rotten in line]
    assert cloud.services.scrub_once("--verify", "--image", rotten).returncode == 1, "a copy was damaged"
    cloud.services.scrub_once("--verify", "--store", "main")
    for image in (rotten, gone):
        assert cloud.stores_of(image) == {"main", "disk"}
        assert rows(
            cloud.services, "SELECT status FROM locations WHERE image_id = %s AND store = 'main' ORDER BY key", image
        )[-1] == ("active",)
        assert cloud.caller.download(image) == data
    assert cloud.services.scrub_once("--verify", "--image", rotten).returncode == 0
    assert cloud.caller.call("GET", f"/v2/images/{cut}/file").status_code == 503
    for image in (rotten, gone, cut):
        cloud.caller.delete(image)
        cloud.wait_until_gone(image)
