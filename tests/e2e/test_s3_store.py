"""The service with buckets of an S3 server, beside a file store: every way of data, a server that hangs, new keys."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from deploy.local import configuration
from tests.e2e.calls import OCTETS, RAW, Caller, random_bytes
from tests.e2e.leftovers import files, rows
from tests.servers.gate import Gate
from tests.servers.s3 import S3Keys
from tests.servers.seaweedfs import SeaweedFS
from tests.servers.web import Page, WebServer, web_server
from tests.support.daemons import Services
from tests.support.waiting import wait_for

from glance_common.stores.place_mark import NAME

pytestmark = pytest.mark.timeout(900)

MIB = 1024 * 1024
DATA = random_bytes(13 * MIB)
TIMEOUT = 10.0
"""Seconds: calls to the server that hangs wait so long, and a slow machine gets something else done meanwhile."""

CLIENTS = 64


class Cloud:
    """The daemons and what is in their stores."""

    def __init__(self, services: Services, disk: Path, server: SeaweedFS, bucket: str, gate: Gate) -> None:
        self.services = services
        self.caller = Caller(services.api.url)
        self.disk = disk
        self.server = server
        self.bucket = bucket
        self.gate = gate

    def objects(self) -> set[str]:
        """Return the names of the objects in the bucket of the store main."""
        found = self.server.client().list_objects_v2(Bucket=self.bucket).get("Contents", [])
        return {entry["Key"] for entry in found} - {NAME}

    def stores_of(self, image: str) -> set[str]:
        """Return the stores that have the image."""
        return set(self.caller.show(image).get("stores", "").split(","))

    def uploaded_to(self, store: str, data: bytes) -> str:
        """Create an image with data in this store."""
        image = str(self.caller.create()["id"])
        self.caller.upload(image, data, headers={"X-Image-Meta-Store": store})
        assert self.stores_of(image) == {store}
        return image

    def wait_until_gone(self, image: str) -> None:
        """Wait until the scrubber has removed the object of a deleted image, and said so."""
        query = "SELECT status FROM locations WHERE image_id = %s AND store = 'main'"
        wait_for(lambda: set(rows(self.services, query, image)) == {("deleted",)}, "the row's end")
        assert image not in self.objects()

    def copied(self, image: str, store: str) -> None:
        """Copy an image to one more store."""
        wanted = self.stores_of(image) | {store}
        document = {"method": {"name": "copy-image"}, "stores": [store]}
        self.caller.call("POST", f"/v2/images/{image}/import", 202, json=document)
        wait_for(lambda: self.stores_of(image) == wanted, f"the copy in {store}")


def s3_options(server: SeaweedFS, port: int, bucket: str, keys: S3Keys) -> dict[str, Any]:
    """Return the options of a store."""
    return {
        "s3_store_host": f"http://127.0.0.1:{port}", "s3_store_bucket": bucket, "s3_store_access_key": keys.access,
        "s3_store_secret_key": keys.secret, "s3_store_bucket_url_format": "path", "s3_store_large_object_size": 10,
        "s3_store_large_object_chunk_size": 5, "s3_store_connect_timeout": TIMEOUT, "s3_store_read_timeout": TIMEOUT,
    }


@pytest.fixture(scope="module")
def web() -> Iterator[WebServer]:
    """A web server with an image."""
    with web_server() as server:
        server.pages["/image"] = Page(DATA)
        yield server


@pytest.fixture(scope="module")
def gate(seaweedfs: SeaweedFS) -> Iterator[Gate]:
    """The way to the server of the store slow."""
    made = Gate(seaweedfs.port)
    yield made
    made.close()


@pytest.fixture(scope="module")
def cloud(
    deploy: Callable[..., Services], seaweedfs: SeaweedFS, web: WebServer, gate: Gate,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Cloud]:
    """The daemons with two S3 stores, of which one can hang, and a file store."""
    disk = tmp_path_factory.mktemp("disk")
    with seaweedfs.bucket() as bucket, seaweedfs.bucket() as other:
        services = deploy(
            shared={
                "DEFAULT": {"enabled_backends": "main:s3, slow:s3, disk:file"},
                "glance_store": {"default_backend": "main"},
                "main": s3_options(seaweedfs, seaweedfs.port, bucket, seaweedfs.keys),
                "slow": s3_options(seaweedfs, gate.port, other, seaweedfs.keys),
                "disk": {"filesystem_store_datadir": disk},
            },
            api={
                "DEFAULT": {
                    "workers": 1, "threads": 32, "show_multiple_locations": "true", "show_image_direct_url": "true",
                },
                "import_filtering_opts": {"allowed_hosts": "[127.0.0.1]", "allowed_ports": f"[{web.port}]"},
            },
            scrubber={"DEFAULT": {"wakeup_time": 1}},
        )
        yield Cloud(services, disk, seaweedfs, bucket, gate)


def test_upload_download_and_delete(cloud: Cloud):
    caller = cloud.caller
    for data in (b"", DATA[: 2 * MIB], DATA):
        for form in (data, (data[at : at + 99_999] for at in range(0, len(data), 99_999))):
            image = str(caller.create()["id"])
            caller.upload(image, form)
            shown = caller.show(image)
            assert (shown["status"], shown["size"]) == ("active", len(data))
            assert shown["os_hash_value"] == hashlib.sha512(data).hexdigest()
            assert caller.download(image) == data
            assert image in cloud.objects()
            caller.delete(image)
            cloud.wait_until_gone(image)


def test_ranges(cloud: Cloud):
    image = cloud.uploaded_to("main", DATA)
    for begin, end in ((0, 0), (5 * MIB - 2, 5 * MIB + 2), (len(DATA) - 3, len(DATA) - 1)):
        headers = {"Range": f"bytes={begin}-{end}"}
        answer = cloud.caller.call("GET", f"/v2/images/{image}/file", 206, headers=headers)
        assert answer.content == DATA[begin : end + 1]
    headers = {"Range": f"bytes={len(DATA)}-"}
    cloud.caller.call("GET", f"/v2/images/{image}/file", 416, headers=headers)
    cloud.caller.delete(image)


def test_v1(cloud: Cloud):
    headers = {f"x-image-meta-{name}": value for name, value in {"name": "old", **RAW}.items()}
    answer = cloud.caller.call("POST", "/v1/images", 201, headers={**OCTETS, **headers}, data=DATA)
    image = answer.json()["image"]["id"]
    assert cloud.caller.call("GET", f"/v1/images/{image}", 200).content == DATA
    cloud.caller.call("DELETE", f"/v1/images/{image}", 200)
    cloud.wait_until_gone(image)


def test_locations_hold_no_credentials(cloud: Cloud):
    image = cloud.uploaded_to("main", DATA[:MIB])
    shown = cloud.caller.show(image)
    url = f"s3://127.0.0.1:{cloud.server.port}/{cloud.bucket}/{image}"
    assert (shown["direct_url"], [place["url"] for place in shown["locations"]]) == (url, [url])
    assert rows(cloud.services, "SELECT store, key FROM locations WHERE image_id = %s", image) == [("main", image)]
    detail = cloud.caller.call("GET", "/v2/info/stores/detail", 200).text
    logs = cloud.services.api.log.read_text()
    for secret in (cloud.server.keys.access, cloud.server.keys.secret):
        assert secret not in detail
        assert secret not in logs
    cloud.caller.delete(image)


def test_web_download_and_copies_between_kinds(cloud: Cloud, web: WebServer):
    caller = cloud.caller
    image = str(caller.create()["id"])
    document = {"method": {"name": "web-download", "uri": web.url("/image")}, "stores": ["main"]}
    caller.call("POST", f"/v2/images/{image}/import", 202, json=document)
    wait_for(lambda: caller.show(image)["status"] == "active", "the import")
    cloud.copied(image, "disk")
    assert files(cloud.disk) == {image}
    caller.call("DELETE", f"/v2/stores/main/{image}", 204)
    wait_for(lambda: image not in cloud.objects(), "the end of the first copy")
    assert caller.download(image) == DATA
    cloud.copied(image, "main")
    caller.call("DELETE", f"/v2/stores/disk/{image}", 204)
    assert caller.download(image) == DATA
    caller.delete(image)
    cloud.wait_until_gone(image)


@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_a_store_that_hangs_takes_no_threads_from_others(cloud: Cloud, method: str):
    """More clients than the process has threads ask the store that hangs; all of them get an answer, and the file
    store serves meanwhile."""
    caller = cloud.caller
    local = cloud.uploaded_to("disk", DATA[:MIB])
    if method == "GET":
        images = [cloud.uploaded_to("slow", DATA[:1000])] * CLIENTS
    else:
        images = [str(caller.create()["id"]) for _ in range(CLIENTS)]
    headers = {**OCTETS, "X-Image-Meta-Store": "slow"}

    def ask(image: str) -> int:
        return Caller(cloud.services.api.url).call(
            method, f"/v2/images/{image}/file", headers=headers, data=b"x" * 1000 if method == "PUT" else None,
            timeout=300,
        ).status_code

    def served() -> bool:
        answer = caller.call("GET", f"/v2/images/{local}/file", 200, 503)
        assert answer.status_code == 503 or answer.content == DATA[:MIB]
        return answer.status_code == 200

    cloud.gate.shut()
    try:
        with ThreadPoolExecutor(CLIENTS) as pool:
            asked = [pool.submit(ask, image) for image in images]
            # Those that came in the first half second may have taken all transfers.
            wait_for(lambda: served() and served() and served(), "the file store to serve")
            in_time = not all(answer.done() for answer in asked)
            assert {answer.result() for answer in asked} == {503}
        assert in_time, "while calls hang"
        began = time.monotonic()
        assert ask(images[0]) == 503
        assert time.monotonic() - began < 2 * TIMEOUT + 60
    finally:
        cloud.gate.reopen()
    if method == "GET":
        wait_for(lambda: ask(images[0]) == 200, "the store's return")
    else:
        wait_for(lambda: ask(images[0]) == 204, "the store's return")
        assert caller.download(images[0]) == b"x" * 1000
    for image in {local, *images}:
        caller.delete(image)


def test_the_end_of_a_bucket_is_told(cloud: Cloud):
    """The log tells the operator what to mend; the client learns that the store is down."""
    image = cloud.uploaded_to("main", DATA[:1000])
    cloud.server.client().delete_object(Bucket=cloud.bucket, Key=NAME)
    answer = cloud.caller.upload(str(cloud.caller.create()["id"]), b"data", 503)
    assert cloud.bucket not in answer.text
    wait_for(lambda: f"has no object {NAME}" in cloud.services.api.log.read_text(), "the line in the log")
    (place,) = rows(cloud.services, "SELECT identity FROM store_identities WHERE store = 'main'")
    cloud.server.client().put_object(Bucket=cloud.bucket, Key=NAME, Body=str(place[0]).encode())
    wait_for(lambda: cloud.caller.call("GET", f"/v2/images/{image}/file").status_code == 200, "the store's return")


def test_rotated_credentials_work_at_once(cloud: Cloud):
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
