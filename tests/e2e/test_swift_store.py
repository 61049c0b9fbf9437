"""The service with containers of a Swift, beside a file store: every way of data, a server that hangs, new keys."""

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
from tests.servers.swift import Swift, SwiftUser
from tests.support.daemons import Services
from tests.support.waiting import wait_for

from glance_common.stores.place_mark import NAME

pytestmark = pytest.mark.timeout(900)

MIB = 1024 * 1024
DATA = random_bytes(9 * MIB)
TIMEOUT = 10.0
"""Seconds: calls to the server that hangs wait so long, and a slow machine gets something else done meanwhile."""

CLIENTS = 64


class Cloud:
    """The daemons and what is in their stores."""

    def __init__(self, services: Services, disk: Path, server: Swift, container: str, gate: Gate) -> None:
        self.services = services
        self.caller = Caller(services.api.url)
        self.disk = disk
        self.server = server
        self.container = container
        self.gate = gate

    def objects(self) -> set[str]:
        """Return the names of the objects in the container of the store main, segments too."""
        return {entry["name"] for entry in self.server.swift_client().get_container(self.container)[1]} - {NAME}

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
        """Wait until the scrubber has removed all objects of a deleted image, and said so."""
        query = "SELECT status FROM locations WHERE image_id = %s AND store = 'main'"
        wait_for(lambda: set(rows(self.services, query, image)) == {("deleted",)}, "the row's end")
        assert not [name for name in self.objects() if name.startswith(image)]

    def copied(self, image: str, store: str) -> None:
        """Copy an image to one more store."""
        wanted = self.stores_of(image) | {store}
        document = {"method": {"name": "copy-image"}, "stores": [store]}
        self.caller.call("POST", f"/v2/images/{image}/import", 202, json=document)
        wait_for(lambda: self.stores_of(image) == wanted, f"the copy in {store}")


def swift_options(server: Swift, port: int, container: str, user: SwiftUser) -> dict[str, Any]:
    """Return the options of a store."""
    return {
        "swift_store_auth_address": server.swift_auth_url.replace(str(server.port), str(port)),
        "swift_store_auth_version": 1, "swift_store_user": user.name, "swift_store_key": user.key,
        "swift_store_container": container,
        "swift_store_large_object_size": 6, "swift_store_large_object_chunk_size": 4,
        "swift_store_connect_timeout": TIMEOUT, "swift_store_read_timeout": TIMEOUT,
    }


@pytest.fixture(scope="module")
def gate(swift: Swift) -> Iterator[Gate]:
    """The way to the server of the store slow."""
    made = Gate(swift.port)
    yield made
    made.close()


@pytest.fixture(scope="module")
def cloud(
    deploy: Callable[..., Services], swift: Swift, gate: Gate, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cloud]:
    """The daemons with two swift stores, of which one can hang, and a file store."""
    disk = tmp_path_factory.mktemp("disk")
    with swift.container() as container, swift.container() as other:
        services = deploy(
            shared={
                "DEFAULT": {"enabled_backends": "main:swift, slow:swift, disk:file"},
                "glance_store": {"default_backend": "main"},
                "main": swift_options(swift, swift.port, container, swift.swift_user),
                "slow": swift_options(swift, gate.port, other, swift.swift_user),
                "disk": {"filesystem_store_datadir": disk},
            },
            api={"DEFAULT": {
                "workers": 1, "threads": 32, "show_multiple_locations": "true", "show_image_direct_url": "true",
            }},
            scrubber={"DEFAULT": {"wakeup_time": 1}},
        )
        yield Cloud(services, disk, swift, container, gate)


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
    for begin, end in ((0, 0), (4 * MIB - 2, 4 * MIB + 2), (len(DATA) - 3, len(DATA) - 1)):
        headers = {"Range": f"bytes={begin}-{end}"}
        answer = cloud.caller.call("GET", f"/v2/images/{image}/file", 206, headers=headers)
        assert answer.content == DATA[begin : end + 1]
    cloud.caller.call("GET", f"/v2/images/{image}/file", 416, headers={"Range": f"bytes={len(DATA)}-"})
    cloud.caller.delete(image)


def test_damaged_data_never_end_as_a_download(cloud: Cloud):
    """The object is exchanged behind the service: the length is right, the digest is not."""
    image = cloud.uploaded_to("main", DATA[:MIB])
    cloud.server.swift_client().put_object(cloud.container, image, bytes(MIB))
    got = b""
    try:
        answer = cloud.caller.call("GET", f"/v2/images/{image}/file")
        got = answer.content if answer.status_code == 200 else b""
    except OSError:
        pass
    assert len(got) < MIB
    cloud.caller.delete(image)
    cloud.wait_until_gone(image)


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
    address = cloud.server.swift_auth_url.removeprefix("http://")
    url = f"swift+http://{address}/{cloud.container}/{image}"
    assert (shown["direct_url"], [place["url"] for place in shown["locations"]]) == (url, [url])
    assert rows(cloud.services, "SELECT store, key FROM locations WHERE image_id = %s", image) == [("main", image)]
    detail = cloud.caller.call("GET", "/v2/info/stores/detail", 200)
    shown_stores = {store["id"]: store for store in detail.json()["stores"]}
    assert shown_stores["main"]["properties"]["container"] == cloud.container
    secret = cloud.server.swift_user.key
    assert secret not in detail.text
    assert secret not in cloud.services.api.log.read_text()
    cloud.caller.delete(image)


def test_copies_between_kinds(cloud: Cloud):
    caller = cloud.caller
    image = cloud.uploaded_to("main", DATA)
    cloud.copied(image, "disk")
    assert files(cloud.disk) == {image}
    caller.call("DELETE", f"/v2/stores/main/{image}", 204)
    wait_for(lambda: not [name for name in cloud.objects() if name.startswith(image)], "the end of the first copy")
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
    expected = 200 if method == "GET" else 204
    wait_for(lambda: ask(images[0]) == expected, "the store's return")
    for image in {local, *images}:
        caller.delete(image)


def test_the_end_of_a_container_is_told(cloud: Cloud):
    """The log tells the operator what to mend; the client learns that the store is down."""
    client = cloud.server.swift_client()
    image = cloud.uploaded_to("main", DATA[:1000])
    (place,) = rows(cloud.services, "SELECT identity FROM store_identities WHERE store = 'main'")
    for name in {*cloud.objects(), NAME}:
        client.delete_object(cloud.container, name)
    client.delete_container(cloud.container)
    answer = cloud.caller.upload(str(cloud.caller.create()["id"]), b"data", 503)
    assert cloud.container not in answer.text
    cloud.caller.call("GET", f"/v2/images/{image}/file", 503)
    wait_for(lambda: "the container does not exist" in cloud.services.api.log.read_text(), "the line in the log")
    cloud.caller.delete(image)
    client.put_container(cloud.container)
    wait_for(lambda: f"has no object {NAME}" in cloud.services.scrubber.log.read_text(), "the scrubber's patience")
    client.put_object(cloud.container, NAME, str(place[0]))
    cloud.wait_until_gone(image)
    wait_for(
        lambda: cloud.caller.call("PUT", f"/v2/images/{cloud.caller.create()['id']}/file", headers=OCTETS, data=b"x")
        .status_code == 204, "the store's return",
    )


def test_a_key_that_is_wrong_is_told_and_a_new_one_works_at_once(cloud: Cloud):
    image = cloud.uploaded_to("main", DATA)
    for key, status in (("wrong", 503), (cloud.server.swift_user.key, 200)):
        for daemon in (cloud.services.api, cloud.services.scrubber):
            daemon.configure(configuration.merged(daemon.options, {"main": {"swift_store_key": key}}))
            daemon.stop()
            daemon.start()
            daemon.wait_ready()
        answer = cloud.caller.call("GET", f"/v2/images/{image}/file", status)
        assert status == 503 or answer.content == DATA
    assert "the login is refused: compare user and key" in cloud.services.api.log.read_text()
    cloud.caller.delete(image)
    cloud.wait_until_gone(image)


def test_the_form_of_older_files(
    deploy: Callable[..., Services], swift: Swift, tmp_path_factory: pytest.TempPathFactory
):
    """All options in [glance_store], the account in glance-swift.conf."""
    folder = tmp_path_factory.mktemp("older")
    user = swift.swift_user
    (folder / "glance-swift.conf").write_text(
        f"[ref1]\nauth_version = 1\nauth_address = {swift.swift_auth_url}\nuser = {user.name}\nkey = {user.key}\n"
    )
    container = f"older-{folder.name}"
    options = {
        "stores": "file,http,swift", "default_store": "swift", "swift_store_container": container,
        "swift_store_create_container_on_put": "true", "swift_store_config_file": folder / "glance-swift.conf",
    }
    services = deploy(
        shared={"glance_store": options}, api={"DEFAULT": {"show_image_direct_url": "true"}},
        scrubber={"DEFAULT": {"wakeup_time": 1}},
    )
    caller = Caller(services.api.url)
    image = caller.uploaded(DATA)
    assert caller.show(image)["direct_url"] == f"swift+config://ref1/{container}/{image}"
    assert caller.download(image) == DATA
    caller.delete(image)
    client = swift.swift_client()
    wait_for(lambda: [entry["name"] for entry in client.get_container(container)[1]] == [NAME], "the purge")
    client.delete_object(container, NAME)
    client.delete_container(container)
