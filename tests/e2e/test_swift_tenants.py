"""The service with a Swift that keeps the data of each project in its own account; Keystone knows the callers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from deploy.local import configuration
from swiftclient.client import Connection
from swiftclient.exceptions import ClientException
from tests.e2e.calls import OCTETS, PATCH, RAW, Caller
from tests.e2e.leftovers import files, rows, wait_until_purged
from tests.e2e.people import People, keystone_options
from tests.servers.keystone import ALT_DEMO, DEMO, GLANCE, Keystone, User
from tests.servers.swift import Swift, remove_container
from tests.servers.web import Page, WebServer, web_server
from tests.support.daemons import Services
from tests.support.raw_data import random_bytes
from tests.support.waiting import wait_for

pytestmark = pytest.mark.timeout(900)

MIB = 1024 * 1024
DATA = random_bytes(5 * MIB)
TIMEOUT = 60.0


class Cloud:
    """The daemons, their users, and what is in the accounts of Swift."""

    def __init__(self, services: Services, people: People, server: Swift, container: str, disk: Path) -> None:
        self.services = services
        self.people = people
        self.server = server
        self.container = container
        self.disk = disk

    def swift(self, user: User, project: str) -> Connection:
        """Return a client of a user for the account of a project."""
        keystone = self.people.keystone
        return Connection(
            preauthurl=f"{self.server.url}/v1/KEY_{keystone.project_ids[project]}", preauthtoken=keystone.token(user)
        )

    def containers(self, project: str) -> set[str]:
        """Return the ids of the images whose containers are in the account of a project."""
        prefix = f"{self.container}_"
        found = self.swift(GLANCE, project).get_account(prefix=prefix)[1]
        return {entry["name"].removeprefix(prefix) for entry in found}

    def reads(self, user: User, project: str, image: str) -> bool:
        """Say whether a user reads the data of an image at Swift itself."""
        try:
            return len(self.swift(user, project).get_object(f"{self.container}_{image}", image)[1]) > 0
        except ClientException as failed:
            if failed.http_status != 403:
                raise
            return False

    def gone(self, image: str) -> None:
        """Wait until the scrubber has removed all data of a deleted image."""
        wait_until_purged(self.services, image)
        assert image not in self.containers(DEMO.project) | self.containers(ALT_DEMO.project)
        notes = self.swift(GLANCE, GLANCE.project).get_container(self.container, prefix=image)[1]
        assert notes == []


@pytest.fixture(scope="module")
def web() -> Iterator[WebServer]:
    """A web server with an image."""
    with web_server() as server:
        server.pages["/image"] = Page(DATA)
        yield server


@pytest.fixture(scope="module")
def cloud(
    deploy: Callable[..., Services], keystone: Keystone, keystone_swift: Swift, web: WebServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Cloud]:
    """The daemons with a swift store of the accounts of projects, and a file store."""
    disk, container = tmp_path_factory.mktemp("disk"), f"images-{uuid4().hex[:12]}"
    service = Connection(
        preauthurl=f"{keystone_swift.url}/v1/KEY_{keystone.project_ids[GLANCE.project]}",
        preauthtoken=keystone.token(GLANCE),
    )
    service.put_container(container)
    options = {
        "swift_store_multi_tenant": "true", "swift_store_auth_address": keystone.url,
        "swift_store_user": f"{GLANCE.project}:{GLANCE.name}", "swift_store_key": GLANCE.name,
        "swift_store_container": container, "swift_store_large_object_size": 4,
        "swift_store_large_object_chunk_size": 2, "swift_store_connect_timeout": TIMEOUT,
        "swift_store_read_timeout": TIMEOUT,
    }
    filters = {"allowed_hosts": "[127.0.0.1]", "allowed_ports": f"[{web.port}]"}
    api = {
        "DEFAULT": {"show_image_direct_url": "true", "show_multiple_locations": "true"},
        "import_filtering_opts": filters,
    }
    services = deploy(
        shared={
            "DEFAULT": {"enabled_backends": "main:swift, disk:file"}, "glance_store": {"default_backend": "main"},
            "main": options, "disk": {"filesystem_store_datadir": disk},
        },
        api=configuration.merged(keystone_options(keystone), api),
        scrubber={"DEFAULT": {"wakeup_time": 1}},
    )
    keystone.set_image_endpoint(services.api.url)
    yield Cloud(services, People(keystone, services.api.url), keystone_swift, container, disk)
    remove_container(service, container)


def test_each_project_has_its_data_in_its_own_account(cloud: Cloud):
    images = {}
    for user, caller in ((DEMO, cloud.people.demo), (ALT_DEMO, cloud.people.alt_demo)):
        image = images[user] = caller.uploaded(DATA)
        assert caller.download(image) == DATA
        answer = caller.call("GET", f"/v2/images/{image}/file", 206, headers={"Range": "bytes=9-12"})
        assert answer.content == DATA[9:13]
        assert image in cloud.containers(user.project)
        assert cloud.swift(user, user.project).get_object(f"{cloud.container}_{image}", image)[1] == DATA
        ((store, key),) = rows(cloud.services, "SELECT store, key FROM locations WHERE image_id = %s", image)
        project = cloud.people.project(user.project)
        assert store == "main"
        assert key.startswith(f"{image}/{cloud.container}_{image}/http://127.0.0.1:")
        assert key.endswith(f"/v1/KEY_{project}")
        url = caller.show(image)["direct_url"]
        assert url.startswith("swift+http://127.0.0.1:")
        assert url.endswith(f"/v1/KEY_{project}/{cloud.container}_{image}/{image}")
    for user, caller in ((DEMO, cloud.people.demo), (ALT_DEMO, cloud.people.alt_demo)):
        caller.delete(images[user])
        cloud.gone(images[user])


def test_members_read_at_swift_as_long_as_they_are_members(cloud: Cloud):
    demo, alt = cloud.people.demo, cloud.people.project(ALT_DEMO.project)
    image = demo.uploaded(DATA)
    assert not cloud.reads(ALT_DEMO, DEMO.project, image)
    demo.call("POST", f"/v2/images/{image}/members", 200, json={"member": alt})
    assert cloud.reads(ALT_DEMO, DEMO.project, image)
    demo.call("DELETE", f"/v2/images/{image}/members/{alt}", 204)
    assert not cloud.reads(ALT_DEMO, DEMO.project, image)
    # v1, and members who were there before the data.
    demo.call("PUT", f"/v1/images/{image}/members/{alt}", 204)
    assert cloud.reads(ALT_DEMO, DEMO.project, image)
    demo.call("DELETE", f"/v1/images/{image}/members/{alt}", 204)
    assert not cloud.reads(ALT_DEMO, DEMO.project, image)
    later = str(demo.create()["id"])
    demo.call("POST", f"/v2/images/{later}/members", 200, json={"member": alt})
    demo.upload(later, DATA)
    assert cloud.reads(ALT_DEMO, DEMO.project, later)
    for each in (image, later):
        demo.delete(each)
        cloud.gone(each)


def test_the_visibility_decides_at_swift_too(cloud: Cloud):
    admin, demo = cloud.people.admin, cloud.people.demo
    image = demo.uploaded(DATA)
    for visibility, expected in (("public", True), ("private", False), ("community", True), ("shared", False)):
        patch = [{"op": "replace", "path": "/visibility", "value": visibility}]
        admin.call("PATCH", f"/v2/images/{image}", 200, json=patch, headers=PATCH)
        assert cloud.reads(ALT_DEMO, DEMO.project, image) == expected
    demo.delete(image)
    cloud.gone(image)


def test_v1(cloud: Cloud):
    demo = cloud.people.demo
    headers = {f"x-image-meta-{name}": value for name, value in {"name": "old", **RAW}.items()}
    image = demo.call("POST", "/v1/images", 201, headers={**OCTETS, **headers}, data=DATA).json()["image"]["id"]
    assert demo.call("GET", f"/v1/images/{image}", 200).content == DATA
    assert image in cloud.containers(DEMO.project)
    demo.call("DELETE", f"/v1/images/{image}", 200)
    cloud.gone(image)


def stores_of(caller: Caller, image: str) -> set[str]:
    return set(caller.show(image).get("stores", "").split(","))


def test_imports_and_copies_without_a_caller(cloud: Cloud, web: WebServer):
    """In the background the user of the store writes, into the account of the image's owner."""
    demo, alt = cloud.people.demo, cloud.people.project(ALT_DEMO.project)
    image = str(demo.create()["id"])
    demo.call("POST", f"/v2/images/{image}/members", 200, json={"member": alt})
    document = {"method": {"name": "web-download", "uri": web.url("/image")}, "stores": ["main"]}
    demo.call("POST", f"/v2/images/{image}/import", 202, json=document)
    wait_for(lambda: demo.show(image)["status"] == "active", "the import")
    assert image in cloud.containers(DEMO.project)
    wait_for(lambda: cloud.reads(ALT_DEMO, DEMO.project, image), "the list of readers")

    def copied(store: str) -> None:
        copy = {"method": {"name": "copy-image"}, "stores": [store]}
        cloud.people.admin.call("POST", f"/v2/images/{image}/import", 202, json=copy)
        wait_for(lambda: stores_of(demo, image) == {"main", "disk"}, f"the copy in {store}")

    copied("disk")
    assert files(cloud.disk) == {image}
    cloud.people.admin.call("DELETE", f"/v2/stores/main/{image}", 204)
    wait_for(lambda: image not in cloud.containers(DEMO.project), "the end of the first copy")
    assert demo.download(image) == DATA
    copied("main")
    assert image in cloud.containers(DEMO.project)
    demo.delete(image)
    cloud.gone(image)


def test_an_upload_that_fails_leaves_nothing(cloud: Cloud):
    demo = cloud.people.demo
    image = str(demo.create()["id"])

    def pieces() -> Iterator[bytes]:
        yield DATA
        wait_for(lambda: demo.show(image)["status"] == "saving", "the begin of the attempt")
        raise OSError("the client goes away")

    with pytest.raises(Exception):  # noqa: B017 - of the client's library, which one is not the point
        demo.upload(image, pieces())
    wait_for(lambda: demo.show(image)["status"] == "queued", "the end of the attempt")
    wait_for(lambda: image not in cloud.containers(DEMO.project), "the end of the container")
    demo.upload(image, DATA)
    assert demo.download(image) == DATA
    demo.delete(image)
    cloud.gone(image)


def test_credentials_are_shown_nowhere(cloud: Cloud):
    demo = cloud.people.demo
    image = demo.uploaded(DATA[:1000])
    token = demo.headers["X-Auth-Token"]
    cloud.people.admin.call("GET", "/v2/info/stores/detail", 200)
    for daemon in (cloud.services.api, cloud.services.registry, cloud.services.scrubber):
        assert token not in daemon.log.read_text()
    assert token not in str(rows(cloud.services, "SELECT key, metadata FROM locations WHERE image_id = %s", image))
    demo.delete(image)
    cloud.gone(image)


def test_a_store_that_is_down_does_not_stop_changes_of_members(cloud: Cloud):
    """The list at Swift is old then; the log says so, and it is mended when Swift is back."""
    demo, alt = cloud.people.demo, cloud.people.project(ALT_DEMO.project)
    image = demo.uploaded(DATA[:1000])
    demo.call("POST", f"/v2/images/{image}/members", 200, json={"member": alt})
    assert cloud.reads(ALT_DEMO, DEMO.project, image)
    cloud.server.stop()
    try:
        demo.call("DELETE", f"/v2/images/{image}/members/{alt}", 204)
        assert demo.call("GET", f"/v2/images/{image}/members", 200).json()["members"] == []
        cloud.people.alt_demo.call("GET", f"/v2/images/{image}", 404)
        demo.call("GET", f"/v2/images/{image}/file", 503)
    finally:
        cloud.server.start()
    assert "an old list of who may read" in cloud.services.api.log.read_text()
    wait_for(lambda: not cloud.reads(ALT_DEMO, DEMO.project, image), "the list to be mended")
    wait_for(lambda: demo.call("GET", f"/v2/images/{image}/file").status_code == 200, "the store's return")
    demo.delete(image)
    cloud.gone(image)
