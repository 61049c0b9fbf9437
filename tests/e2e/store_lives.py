"""What every store behind a network does for the whole service: tests that a module of one kind takes in.

The module gives the fixture ``cloud``: the daemons with the stores ``main`` (of the kind), ``alias`` (the same place
by another name, behind a gate that is shut at first) and ``disk`` (files).
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.calls import OCTETS, RAW, Caller
from tests.e2e.leftovers import change, files, rows, wait_until_purged
from tests.servers.gate import Gate
from tests.servers.web import Page, WebServer, web_server
from tests.support.daemons import Services
from tests.support.raw_data import random_bytes
from tests.support.waiting import wait_for

LEASE = 15
"""Seconds: work that was left to its lease is soon tried again, and a busy machine renews the lease in time."""
MIB = 1024 * 1024
DATA = random_bytes(13 * MIB)
TIMEOUT = 10.0
"""Seconds: calls to a server that hangs wait so long, and a slow machine gets something else done meanwhile."""
PATIENCE = 60.0
"""The same, for a server that no test lets hang."""


class StoreLives(ABC):
    """The daemons and what is in their stores.

    ``secrets`` are texts that no user and no log may see; ``alias`` is the way to the store alias.
    """

    secrets: tuple[str, ...]

    def __init__(self, services: Services, disk: Path, alias: Gate) -> None:
        self.alias = alias
        self.services = services
        self.caller = Caller(services.api.url)
        self.disk = disk

    @abstractmethod
    def objects(self) -> set[str]:
        """Return the names of the objects in the store main."""

    @abstractmethod
    def url(self, image: str) -> str:
        """Return the location URL of an image in the store main."""

    def key(self, image: str) -> str:
        """Return the key under which the store main has an image: where a store chooses keys, it is another one."""
        return image

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
        wait_until_purged(self.services, image, "main")
        assert not self.parts_of(image)

    def parts_of(self, image: str) -> list[str]:
        """Return the names of the objects that an image has in the store main: it, and its segments."""
        return [name for name in self.objects() if name.startswith(image)]

    def import_to(self, image: str, store: str, **method: Any) -> None:
        """Begin an import of the image into one store."""
        self.caller.call("POST", f"/v2/images/{image}/import", 202, json={"method": method, "stores": [store]})

    def copied(self, image: str, store: str) -> None:
        """Copy an image to one more store."""
        wanted = self.stores_of(image) | {store}
        self.import_to(image, store, name="copy-image")
        wait_for(lambda: self.stores_of(image) == wanted, f"the copy in {store}")


def shared_options(web: WebServer, disk: Path, **stores: tuple[str, dict[str, Any]]) -> dict[str, Any]:
    """Return the options of daemons with these stores (id: kind and options), of which main is the default, and disk.
    """
    enabled = [*(f"{store}:{kind}" for store, (kind, _) in stores.items()), "disk:file"]
    return {
        "shared": {
            "DEFAULT": {"enabled_backends": ", ".join(enabled)},
            "glance_store": {"default_backend": "main"},
            **{store: options for store, (_, options) in stores.items()},
            "disk": {"filesystem_store_datadir": disk},
        },
        "api": {
            "DEFAULT": {
                "workers": 1, "threads": 32, "show_multiple_locations": "true", "show_image_direct_url": "true",
            },
            "upload": {"lease": LEASE},
            "import_filtering_opts": {"allowed_hosts": "[127.0.0.1]", "allowed_ports": f"[{web.port}]"},
        },
        "scrubber": {"DEFAULT": {"wakeup_time": 1}},
    }


@pytest.fixture(scope="module")
def web() -> Iterator[WebServer]:
    """A web server with an image."""
    with web_server() as server:
        server.pages["/image"] = Page(DATA)
        yield server


def test_upload_download_and_delete(cloud: StoreLives):
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


def test_ranges(cloud: StoreLives):
    image = cloud.uploaded_to("main", DATA)
    for begin, end in ((0, 0), (5 * MIB - 2, 5 * MIB + 2), (len(DATA) - 3, len(DATA) - 1)):
        headers = {"Range": f"bytes={begin}-{end}"}
        answer = cloud.caller.call("GET", f"/v2/images/{image}/file", 206, headers=headers)
        assert answer.content == DATA[begin : end + 1]
    headers = {"Range": f"bytes={len(DATA)}-"}
    cloud.caller.call("GET", f"/v2/images/{image}/file", 416, headers=headers)
    cloud.caller.delete(image)


def test_v1(cloud: StoreLives):
    headers = {f"x-image-meta-{name}": value for name, value in {"name": "old", **RAW}.items()}
    answer = cloud.caller.call("POST", "/v1/images", 201, headers={**OCTETS, **headers}, data=DATA)
    image = answer.json()["image"]["id"]
    assert cloud.caller.call("GET", f"/v1/images/{image}", 200).content == DATA
    cloud.caller.call("DELETE", f"/v1/images/{image}", 200)
    cloud.wait_until_gone(image)


def test_locations_hold_no_credentials(cloud: StoreLives):
    image = cloud.uploaded_to("main", DATA[:MIB])
    shown, url = cloud.caller.show(image), cloud.url(image)
    assert (shown["direct_url"], [place["url"] for place in shown["locations"]]) == (url, [url])
    query = "SELECT store, key FROM locations WHERE image_id = %s"
    assert rows(cloud.services, query, image) == [("main", cloud.key(image))]
    detail = cloud.caller.call("GET", "/v2/info/stores/detail", 200).text
    logs = cloud.services.api.log.read_text() + cloud.services.scrubber.log.read_text()
    for secret in cloud.secrets:
        assert secret not in detail
        assert secret not in logs
    cloud.caller.delete(image)


def test_web_download_and_copies_between_kinds(cloud: StoreLives, web: WebServer):
    caller = cloud.caller
    image = str(caller.create()["id"])
    cloud.import_to(image, "main", name="web-download", uri=web.url("/image"))
    wait_for(lambda: caller.show(image)["status"] == "active", "the import")
    cloud.copied(image, "disk")
    # Of other tests there may be something that is being removed.
    wait_for(lambda: files(cloud.disk) == {image}, "the copy alone")
    caller.call("DELETE", f"/v2/stores/main/{image}", 204)
    wait_for(lambda: not cloud.parts_of(image), "the end of the first copy")
    assert caller.download(image) == DATA
    cloud.copied(image, "main")
    caller.call("DELETE", f"/v2/stores/disk/{image}", 204)
    assert caller.download(image) == DATA
    caller.delete(image)
    cloud.wait_until_gone(image)


def test_a_second_name_of_the_place_gets_no_data_and_deletes_none(cloud: StoreLives):
    """The store alias leads to the place of main: what it does for an image must not touch the data of main."""
    caller = cloud.caller
    image = cloud.uploaded_to("main", DATA[:MIB])
    cloud.alias.reopen()  # not before main has its place
    refused = str(caller.create()["id"])

    def told() -> bool:
        answer = caller.upload(refused, b"data", 409, 503, headers={"X-Image-Meta-Store": "alias"})
        assert "main" not in answer.text
        return "is the place of the store main" in cloud.services.api.log.read_text()

    wait_for(told, "the line in the log")
    cloud.import_to(image, "alias", name="copy-image")
    wait_for(lambda: "alias" in caller.show(image).get("os_glance_failed_import", ""), "the end of the copy", 180)
    change(cloud.services, "UPDATE locations SET lease_until = now() WHERE store = 'alias' AND image_id = %s", image)
    query = "SELECT attempts FROM locations WHERE store = 'alias' AND image_id = %s"
    wait_for(lambda: any(tries for (tries,) in rows(cloud.services, query, image)), "the scrubber's try to remove it")
    assert image in cloud.objects()
    assert cloud.stores_of(image) == {"main"}
    assert caller.download(image) == DATA[:MIB]
    caller.delete(image)
    cloud.wait_until_gone(image)
