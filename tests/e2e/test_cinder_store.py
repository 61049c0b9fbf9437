"""The service with volumes of a Cinder, beside a pool and a bucket of Ceph and files, from the page's configuration."""

from __future__ import annotations

import configparser
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from tests.e2e import store_lives
from tests.e2e.calls import Caller
from tests.e2e.leftovers import files, rows
from tests.e2e.store_lives import *  # noqa: F403 - the tests of every kind
from tests.e2e.store_lives import DATA, MIB, StoreLives
from tests.servers.ceph import Ceph
from tests.servers.cinder import Cinder
from tests.servers.gate import Gate
from tests.servers.keystone import GLANCE, Keystone
from tests.servers.rbd import Administrator
from tests.servers.web import WebServer
from tests.support.daemons import Services
from tests.support.waiting import wait_for

from glance_common.stores.drivers.cinder.volumes import NAME

pytestmark = pytest.mark.timeout(900)

Listing = Callable[[], Iterable[str]]
"""Returns the names of what is in a store."""

PAGE = Path(__file__).parents[2] / "docs" / "stores" / "cinder.md"


class CinderCloud(StoreLives):
    """The daemons with a cinder store and its second name, a pool and a bucket of Ceph, and a file store."""

    def __init__(
        self, services: Services, disk: Path, alias: Gate, server: Cinder, kind: str, others: Mapping[str, Listing]
    ) -> None:
        """``others`` list what is in the other stores."""
        super().__init__(services, disk, alias)
        self.server = server
        self.kind = kind
        self._listings: dict[str, Listing] = {"main": self.objects, "disk": lambda: files(disk), **others}
        self.secrets = (f"password={GLANCE.name}", "auth_username", self.server.user)

    def volumes(self) -> dict[str, dict[str, Any]]:
        """Return the volumes by the keys that they were made for."""
        found = self.server.volumes(self.kind)
        return {str(each["name"]).removeprefix(NAME): each for each in found if str(each["name"]).startswith(NAME)}

    def objects(self) -> set[str]:
        return set(self.volumes())

    def has_not(self, store: str, image: str) -> bool:
        """Say whether a store has no data of an image."""
        return image not in {name.partition(".")[0] for name in self._listings[store]()}

    def key(self, image: str) -> str:
        return str(self.volumes()[image]["id"])

    def url(self, image: str) -> str:
        return f"cinder://main/{self.key(image)}"


def documented() -> dict[str, dict[str, str]]:
    """Return the configuration that the page begins with."""
    text = PAGE.read_text().partition("```ini\n")[2].partition("```")[0]
    parser = configparser.RawConfigParser(default_section="none")
    parser.read_string(text)
    return {group: dict(parser[group]) for group in parser.sections()}


@pytest.fixture(scope="module")
def alias(cinder: Cinder) -> Iterator[Gate]:
    """The way of the store alias to Cinder."""
    made = Gate(cinder.port)
    made.shut()
    yield made
    made.close()


@pytest.fixture(scope="module")
def cloud(
    deploy: Callable[..., Services], cinder: Cinder, keystone: Keystone, ceph: Ceph, rbd: Administrator,
    web: WebServer, alias: Gate, tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[CinderCloud]:
    """The daemons. Only the values of the page that name the operator's own servers are replaced."""
    disk, folder, kind = tmp_path_factory.mktemp("disk"), tmp_path_factory.mktemp("cinder"), cinder.make_type()
    page = documented()
    assert (page["DEFAULT"]["enabled_backends"], page["glance_store"]["default_backend"]) == ("main:cinder", "main")
    real = {
        "cinder_store_auth_address": keystone.url, "cinder_store_user_name": GLANCE.name,
        "cinder_store_password": GLANCE.name, "cinder_store_project_name": GLANCE.project,
        "cinder_volume_type": kind,
    }
    assert page["main"].keys() == real.keys()
    second = {
        **real, "cinder_store_auth_address": keystone.url.replace("127.0.0.1", "localhost"),
        "cinder_endpoint_template": f"http://127.0.0.1:{alias.port}/v3/%(project_id)s",
    }
    with rbd.pool() as pool, ceph.bucket() as bucket:
        client = ceph.client()
        listings: dict[str, Listing] = {
            "ceph": pool.images,
            "objects": lambda: [each["Key"] for each in client.list_objects_v2(Bucket=bucket).get("Contents", [])],
        }
        s3 = {
            "s3_store_host": ceph.url, "s3_store_access_key": ceph.keys.access,
            "s3_store_secret_key": ceph.keys.secret, "s3_store_bucket": bucket, "s3_store_bucket_url_format": "path",
        }
        options = store_lives.shared_options(
            web, disk, main=("cinder", real), alias=("cinder", second), ceph=("rbd", pool.options(folder)),
            objects=("s3", s3),
        )
        options["shared"]["oslo_concurrency"] = {"lock_path": folder / "locks"}
        yield CinderCloud(deploy(**options), disk, alias, cinder, kind, listings)


def test_copies_between_files_ceph_objects_and_volumes(cloud: CinderCloud):
    caller = cloud.caller
    image = cloud.uploaded_to("disk", DATA)
    way = ("disk", "main", "ceph", "objects", "main", "objects", "disk", "ceph", "disk")
    for gone, store in pairwise(way):
        cloud.copied(image, store)
        caller.call("DELETE", f"/v2/stores/{gone}/{image}", 204)
        wait_for(partial(cloud.has_not, gone, image), f"the end of the copy in {gone}", seconds=180)
        assert not cloud.has_not(store, image)
        assert caller.download(image) == DATA
    caller.delete(image)


def test_locations_that_are_registered(cloud: CinderCloud):
    """A volume that Cinder made into an image by itself is taken in; what is none is refused, with the reason."""
    caller = cloud.caller
    image = str(caller.create()["id"])
    own = cloud.uploaded_to("main", DATA[:MIB])

    def make(**values: Any) -> str:
        body = {"volume": {"size": 1, "volume_type": cloud.kind, **values}}
        made = str(cloud.server.call("POST", "/volumes", body, user=GLANCE)["volume"]["id"])
        wait_for(lambda: cloud.server.state(made) == "available", "the volume")
        return made

    def add(url: str, status: int) -> str:
        change = [{"op": "add", "path": "/locations/-", "value": {"url": url, "metadata": {}}}]
        headers = {"Content-Type": "application/openstack-images-v2.1-json-patch"}
        return str(caller.call("PATCH", f"/v2/images/{image}", status, json=change, headers=headers).text)

    disk = make(name="of a guest")
    assert "the volume is not an image" in add(f"cinder://main/{disk}", 400)
    assert "finds no data" in add("cinder://main/11111111-1111-4111-8111-111111111111", 400)
    for key in (f"{disk};x", f"{disk}?x=1", f"{disk}%0a", f"../{disk}", f"none/{disk}", "image-1"):
        assert "another server or place, or a name" in add(f"cinder://main/{key}", 400)
    assert add(cloud.url(own), 409)
    taken = make(name="by Cinder", metadata={"glance_image_id": image})
    add(f"cinder://main/{taken}", 200)
    shown = caller.show(image)
    assert (shown["status"], shown["size"]) == ("active", 1024 * MIB)
    caller.delete(image)
    wait_for(lambda: cloud.server.volume(taken) is None, "the end of the volume")
    assert cloud.server.volume(disk) is not None
    caller.delete(own)
    cloud.server.call("DELETE", f"/volumes/{disk}", user=GLANCE)


def test_a_volume_says_whose_image_it_is(cloud: CinderCloud):
    """So that Cinder makes volumes of it by itself."""
    image = cloud.uploaded_to("main", DATA[:1000])
    volume = cloud.volumes()[image]
    shown = cloud.caller.show(image)
    assert (volume["size"], volume["status"]) == (1, "available")
    assert volume["metadata"]["glance_image_id"] == image
    assert volume["metadata"]["image_size"] == "1000"
    assert volume["metadata"]["image_owner"] == shown["owner"]
    assert volume["metadata"]["readonly"] == "True"
    cloud.caller.delete(image)


def test_a_cinder_that_goes_and_comes_back(cloud: CinderCloud):
    """503 and a line for the operator; nothing is lost, and no daemon is started again."""
    caller: Caller = cloud.caller
    image = cloud.uploaded_to("main", DATA)
    queued = str(caller.create()["id"])
    cloud.server.kill()
    try:
        wait_for(lambda: caller.call("GET", f"/v2/images/{image}/file").status_code == 503, "the loss")
        answer = caller.upload(queued, b"data", 503, headers={"X-Image-Meta-Store": "main"})
        assert str(cloud.server.port) not in answer.text
        assert caller.show(queued)["status"] == "queued"
    finally:
        cloud.server.start()
    wait_for(lambda: caller.call("GET", f"/v2/images/{image}/file").status_code == 200, "the return")
    assert caller.download(image) == DATA
    caller.delete(image)
    cloud.wait_until_gone(image)
    assert rows(cloud.services, "SELECT status FROM locations WHERE image_id = %s", image) == [("deleted",)]
