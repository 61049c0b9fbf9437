"""Imports with the real clients, and over two API nodes that do not share their staging directories."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from deploy.local import configuration
from tests.e2e.calls import RAW, Caller
from tests.servers.web import Page, WebServer, web_server
from tests.support.clients import Clients, glance_address, openstack_address
from tests.support.daemons import Services, WebDaemon
from tests.support.raw_data import random_bytes
from tests.support.waiting import wait_for

pytestmark = pytest.mark.timeout(900)

KIND = ("--disk-format", "raw", "--container-format", "bare")
OCTETS = {"Content-Type": "application/octet-stream"}
DATA = random_bytes(2 * 1024 * 1024)


@pytest.fixture(scope="module")
def web() -> Iterator[WebServer]:
    """A web server with an image."""
    with web_server() as server:
        server.pages["/image"] = Page(DATA)
        yield server


@pytest.fixture(scope="module")
def services(deploy: Callable[..., Services], web: WebServer, tmp_path_factory: pytest.TempPathFactory) -> Services:
    """The daemons with two stores."""
    folder = tmp_path_factory.mktemp("stores")
    stores: dict[str, Any] = {}
    for name in ("fast", "slow"):
        (folder / name).mkdir()
        stores[name] = {"filesystem_store_datadir": folder / name}
    return deploy(
        shared={
            "DEFAULT": {"enabled_backends": "fast:file,slow:file"}, "glance_store": {"default_backend": "fast"},
            **stores,
        },
        api={"import_filtering_opts": {"allowed_hosts": "[127.0.0.1]", "allowed_ports": f"[{web.port}]"}},
    )


@pytest.fixture(scope="module")
def caller(services: Services) -> Caller:
    """A caller without a token: every caller administers the one project."""
    return Caller(services.api.url)


def active(caller: Caller, image: str) -> dict[str, Any]:
    """Wait for the image to become active, and return its document."""
    return wait_for(lambda: shown if (shown := caller.show(image))["status"] == "active" else None, "an active image")


def stores_of(caller: Caller, image: str) -> set[str]:
    """Return the stores that have the image."""
    return set(caller.show(image).get("stores", "").split(","))


def named(caller: Caller, name: str) -> str:
    """Return the id of the image with this name."""
    (image,) = caller.call("GET", f"/v2/images?name={name}", 200).json()["images"]
    return str(image["id"])


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same image as a file."""
    path = tmp_path_factory.mktemp("data") / "image.raw"
    path.write_bytes(DATA)
    return path


def test_glance_commands(services: Services, caller: Caller, clients: Clients, file: Path, web: WebServer):
    def glance(*arguments: object) -> str:
        return clients.glance(*glance_address(services.api.url), *arguments).check().output

    assert "import-methods" in glance("import-info")
    glance("image-create-via-import", "--name", "direct", *KIND, "--file", file)
    direct = named(caller, "direct")
    active(caller, direct)
    assert caller.download(direct) == DATA
    glance(
        "image-create-via-import", "--name", "web", *KIND, "--import-method", "web-download", "--uri",
        web.url("/image"), "--all-stores", "True",
    )
    both = named(caller, "web")
    wait_for(lambda: stores_of(caller, both) == {"fast", "slow"}, "both stores")
    glance("image-create", "--name", "steps", *KIND)
    steps = named(caller, "steps")
    glance("image-stage", "--file", file, steps)
    glance("image-import", "--import-method", "glance-direct", "--stores", "slow", steps)
    assert active(caller, steps)["stores"] == "slow"
    glance("image-import", "--import-method", "copy-image", "--stores", "fast", steps)
    wait_for(lambda: stores_of(caller, steps) == {"fast", "slow"}, "the copy")
    assert "success" in glance("image-tasks", steps)


def test_glance_tasks(services: Services, caller: Caller, clients: Clients, web: WebServer):
    def glance(*arguments: object) -> str:
        return clients.glance(*glance_address(services.api.url), *arguments).check().output

    properties = '{"name": "by task", "disk_format": "raw", "container_format": "bare"}'
    source = f'{{"import_from": "{web.url("/image")}", "import_from_format": "raw", "image_properties": {properties}}}'
    glance("task-create", "--type", "import", "--input", source)
    wait_for(lambda: caller.names(name="by task"), "the image of the task")
    active(caller, named(caller, "by task"))
    task = caller.call("GET", "/v2/tasks?type=import", 200).json()["tasks"][0]["id"]
    assert task in glance("task-list")
    wait_for(lambda: "success" in glance("task-show", task), "the end of the task")


def test_openstack_commands(services: Services, caller: Caller, clients: Clients, file: Path, web: WebServer):
    def openstack(*arguments: object) -> Any:
        return clients.openstack("image", *arguments, env=openstack_address(services.api.url)).check()

    assert "web-download" in openstack("import", "info").output
    created = openstack("create", "--import", "--file", file, *KIND, "imported", "-f", "json").json()
    active(caller, created["id"])
    assert caller.download(created["id"]) == DATA
    fetched = caller.create(**RAW)["id"]
    openstack("import", fetched, "--method", "web-download", "--uri", web.url("/image"), "--store", "slow")
    assert active(caller, fetched)["stores"] == "slow"
    openstack("import", "--method", "copy-image", "--all-stores", fetched)
    wait_for(lambda: stores_of(caller, fetched) == {"fast", "slow"}, "the copy")
    staged = caller.create(**RAW)["id"]
    openstack("stage", "--file", file, staged)
    assert caller.show(staged)["status"] == "uploading"
    openstack("import", "--method", "glance-direct", staged)
    active(caller, staged)
    task = openstack("task", "list", "-f", "json").json()[-1]["ID"]
    # An image is active before its task is told to be over.
    wait_for(lambda: openstack("task", "show", task, "-f", "json").json()["status"] == "success", "the end of the task")


@pytest.fixture(scope="module")
def pair(deploy: Callable[..., Services]) -> tuple[Services, WebDaemon]:
    """A deployment and its second API node; each has a staging directory of its own and says how it is reached."""
    services = deploy()
    second = services.new_api("api-2")
    for node in (second, services.api):
        staging_of(services, node).mkdir()
        own = {
            "node_staging_uri": staging_of(services, node).as_uri(),
            "staging_host": f"host-{node.port}",
            "worker_self_reference_url": node.url,
        }
        node.configure(configuration.merged(node.options, {"DEFAULT": own}))
    services.api.stop()
    services.start(services.api, second)
    return services, second


def staging_of(services: Services, node: WebDaemon) -> Path:
    """Return the node's own staging directory."""
    return services.folder / f"staging-{node.port}"


def staged_at(node: WebDaemon) -> str:
    """Return an image whose data are staged at the node."""
    caller = Caller(node.url)
    image = str(caller.create()["id"])
    caller.call("PUT", f"/v2/images/{image}/stage", 204, data=DATA, headers=OCTETS)
    return image


def test_arc14_the_request_goes_to_the_node_with_the_data(pair: tuple[Services, WebDaemon]):
    services, second = pair
    image = staged_at(second)
    assert (staging_of(services, second) / image).exists()
    first = Caller(services.api.url)
    first.call("POST", f"/v2/images/{image}/import", 202, json={"method": {"name": "glance-direct"}})
    active(first, image)
    assert first.download(image) == DATA
    wait_for(lambda: f"POST /v2/images/{image}/import 202" in second.said(), "the line about it")


def test_arc14_a_node_that_is_away_is_told(pair: tuple[Services, WebDaemon]):
    services, second = pair
    image = staged_at(second)
    second.stop()
    first = Caller(services.api.url)
    first.call("POST", f"/v2/images/{image}/import", 504, json={"method": {"name": "glance-direct"}})
    assert first.show(image)["status"] == "uploading"
    first.delete(image)
    services.start(second)
    wait_for(lambda: not (staging_of(services, second) / image).exists(), "the removal by the node that came back")
