"""Notifications about the metadata catalogue and about tasks, heard by oslo.messaging's listener on a real broker.

Rules: configuration section 11. Events and fields are those of the original service, which was asked the same.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from tests.e2e.calls import OCTETS, Caller
from tests.servers.rabbitmq import RabbitMQ
from tests.servers.web import Page, WebServer
from tests.support.daemons import Services
from tests.support.notifications import Listener
from tests.support.waiting import wait_for

pytestmark = pytest.mark.timeout(900)

DATA = b"\x01data"
PATH = "/v2/metadefs/namespaces"
NAMESPACE = "Told::Namespace"
COLOUR = {"title": "Colour", "type": "string", "enum": ["red", "blue"], "default": "red"}
GONE = {"deleted", "deleted_at"}
TIMES = {"created_at", "updated_at"}
FIELDS = {
    "namespace": {"namespace", "namespace_old", "display_name", "protected", "visibility", "owner", "description"},
    "property": {
        "namespace", "name", "name_old", "type", "title", "description", "default", "minimum", "maximum", "enum",
        "pattern", "minLength", "maxLength", "confidential", "items", "uniqueItems", "minItems", "maxItems",
        "additionalItems",
    },
    "object": {"namespace", "name", "name_old", "properties", "required", "description"},
    "tag": {"namespace", "name", "name_old"},
    "resource_type": {"namespace", "name", "name_old", "prefix", "properties_target"},
}


@pytest.fixture(scope="module")
def services(
    deploy: Callable[..., Services], rabbitmq: RabbitMQ, messaging: Listener, web: WebServer,
    two_stores: dict[str, dict[str, object]],
) -> Services:
    """A deployment that tells everything."""
    return deploy(
        transport_url=rabbitmq.url,
        shared=two_stores,
        api={
            "oslo_messaging_notifications": {"driver": "messagingv2"},
            "import_filtering_opts": {"allowed_hosts": "[127.0.0.1]", "allowed_ports": f"[{web.port}]"},
        },
    )


@pytest.fixture
def caller(services: Services) -> Caller:
    """The administrator of a service without authentication."""
    return Caller(services.api.url)


def steps(caller: Caller) -> list[list[str]]:
    """Make, change and remove everything in the catalogue, and return the events of each step."""
    path = f"{PATH}/{NAMESPACE}"

    def call(method: str, where: str, status: int, body: Any, *events: str) -> list[str]:
        caller.call(method, where, status, json=body)
        return [f"metadef_{event}" for event in events]

    content = {
        "namespace": NAMESPACE, "display_name": "Told", "description": "of a test", "visibility": "public",
        "resource_type_associations": [{"name": "OS::Glance::Image", "prefix": "hw_"}],
        "properties": {"shape": COLOUR}, "objects": [{"name": "thing", "properties": {"size": COLOUR}}],
        "tags": [{"name": "old"}],
    }
    made = ("namespace.create", "resource_type.create", "property.create", "object.create", "tag.create")
    return [
        call("POST", PATH, 201, content, *made),
        call("PUT", path, 200, {"namespace": NAMESPACE, "display_name": "Told again"}, "namespace.update"),
        call("POST", f"{path}/properties", 201, {"name": "colour", **COLOUR}, "property.create"),
        call("PUT", f"{path}/properties/colour", 200, {"name": "color", **COLOUR}, "property.update"),
        call("DELETE", f"{path}/properties/color", 204, None, "property.delete"),
        call("POST", f"{path}/objects", 201, {"name": "box", "properties": {"color": COLOUR}}, "object.create"),
        call("PUT", f"{path}/objects/box", 200, {"name": "chest", "description": "x"}, "object.update"),
        call("DELETE", f"{path}/objects/chest", 204, None, "object.delete"),
        call("POST", f"{path}/tags/new", 201, None, "tag.create"),
        call("PUT", f"{path}/tags/new", 200, {"name": "newer"}, "tag.update"),
        call("DELETE", f"{path}/tags/newer", 204, None, "tag.delete"),
        call("POST", f"{path}/tags", 201, {"tags": [{"name": "a"}, {"name": "b"}]}, "tag.create", "tag.create"),
        call("POST", f"{path}/resource_types", 201, {"name": "OS::Nova::Server"}, "resource_type.create"),
        call("DELETE", f"{path}/resource_types/OS::Nova::Server", 204, None, "resource_type.delete"),
        call("DELETE", f"{path}/tags", 204, None, "namespace.delete_tags"),
        call("DELETE", f"{path}/objects", 204, None, "namespace.delete_objects"),
        call("DELETE", f"{path}/properties", 204, None, "namespace.delete_properties"),
        call("DELETE", path, 204, None, "namespace.delete"),
    ]


def test_every_change_of_the_catalogue_is_told_once(caller: Caller, messaging: Listener):
    expected = [event for step in steps(caller) for event in step]
    heard = messaging.wait(lambda heard: len(about_catalogue(heard)) >= len(expected))
    # Between the processes of the service there is no order.
    assert Counter(one["event_type"] for one in about_catalogue(heard)) == Counter(expected)
    for one in about_catalogue(heard):
        kind = one["event_type"].partition(".")[0].removeprefix("metadef_")
        assert one["priority"] == "INFO"
        assert one["payload"].keys() == FIELDS[kind] | TIMES | GONE, one["event_type"]
        assert one["payload"]["namespace"] == NAMESPACE
    told = {one["event_type"]: one["payload"] for one in about_catalogue(heard)}
    renamed = {"property": ("colour", "color"), "object": ("box", "chest"), "tag": ("new", "newer")}
    for kind, names in renamed.items():
        update = told[f"metadef_{kind}.update"]
        assert (update["name_old"], update["name"]) == names
        deletion = told[f"metadef_{kind}.delete"]
        assert (deletion["name_old"], deletion["name"]) == (names[1], names[1])
    colour = told["metadef_property.update"]
    assert {word: colour[word] for word in COLOUR} == COLOUR
    update = told["metadef_namespace.update"]
    assert (update["display_name"], update["visibility"]) == ("Told again", "private")


def test_only_what_is_gone_is_told_to_be_gone(caller: Caller, messaging: Listener):
    """A namespace whose tags are removed is still there; consumers forget what is deleted."""
    caller.call("POST", PATH, 201, json={"namespace": "Emptied", "tags": [{"name": "a"}]})
    for part in ("tags", "objects", "properties"):
        caller.call("DELETE", f"{PATH}/Emptied/{part}", 204)
    caller.call("DELETE", f"{PATH}/Emptied", 204)
    heard = messaging.wait(lambda heard: len(about_catalogue(heard, "Emptied")) == 6)
    gone = {
        one["event_type"]: (one["payload"]["deleted"], one["payload"]["deleted_at"] is not None)
        for one in about_catalogue(heard, "Emptied")
    }
    assert gone == {
        "metadef_namespace.create": (False, False), "metadef_tag.create": (False, False),
        "metadef_namespace.delete_tags": (False, False), "metadef_namespace.delete_objects": (False, False),
        "metadef_namespace.delete_properties": (False, False), "metadef_namespace.delete": (True, True),
    }


def about_catalogue(heard: list[dict[str, Any]], namespace: str = NAMESPACE) -> list[dict[str, Any]]:
    return [
        one for one in heard
        if one["event_type"].startswith("metadef_") and one["payload"]["namespace"] == namespace
    ]  # fmt: skip


def tasks_told(heard: list[dict[str, Any]], task: str) -> Counter[str]:
    return Counter(
        one["event_type"] for one in heard
        if one["event_type"].startswith("task.") and one["payload"]["id"] == task
    )  # fmt: skip


def whole(end: str) -> Counter[str]:
    return Counter(["task.create", "task.run", "task.processing", end])


@pytest.mark.parametrize("method", ["glance-direct", "copy-image"])
def test_not02_imports_without_a_web_server(caller: Caller, messaging: Listener, method: str):
    if method == "glance-direct":
        image = caller.create()["id"]
        caller.call("PUT", f"/v2/images/{image}/stage", 204, data=DATA, headers=OCTETS)
        wanted: dict[str, Any] = {}
    else:
        image = caller.uploaded(DATA)
        wanted = {"stores": ["slow"]}
    caller.call("POST", f"/v2/images/{image}/import", 202, json={"method": {"name": method}, **wanted})
    (task,) = caller.call("GET", f"/v2/images/{image}/tasks", 200).json()["tasks"]
    heard = messaging.wait(lambda heard: tasks_told(heard, task["id"]) == whole("task.success"))
    (ended,) = [one for one in heard if one["event_type"] == "task.success" and one["payload"]["id"] == task["id"]]
    assert ended["payload"].keys() == {
        "id", "type", "status", "result", "owner", "message", "expires_at", *TIMES, *GONE
    }
    assert (ended["payload"]["type"], ended["payload"]["status"]) == ("api_image_import", "success")
    stores = {"glance-direct": ["fast"], "copy-image": ["fast", "slow"]}[method]

    def filled() -> list[str]:
        uploads = [one["payload"] for one in messaging.about(image) if one["event_type"] == "image.upload"]
        return sorted(one["backend"] for one in uploads)

    # The client's own upload may have been another process's, which tells it when it gets to it.
    wait_for(lambda: filled() == stores, f"image.upload for {stores}")


@pytest.mark.parametrize(("cut", "end"), [(None, "task.success"), (2, "task.failure")])
def test_not02_tasks_of_type_import(
    caller: Caller, messaging: Listener, web: WebServer, cut: int | None, end: str
):
    web.pages["/image"] = Page(DATA, cut=cut)
    properties = {"name": f"by task, {end}", "disk_format": "raw", "container_format": "bare"}
    given = {"import_from": web.url("/image"), "import_from_format": "raw", "image_properties": properties}
    task = caller.call("POST", "/v2/tasks", 201, json={"type": "import", "input": given}).json()["id"]
    heard = messaging.wait(lambda heard: tasks_told(heard, task) == whole(end))
    mine = [one["payload"] for one in heard if one["event_type"].startswith("task.") and one["payload"]["id"] == task]
    assert {one["type"] for one in mine} == {"import"}
    assert {(one["result"], one["message"]) for one in mine} == {(None, None)}
    if cut is None:
        # The worker tells the end of the task first, then asks the registry for the image.
        heard = messaging.wait(lambda heard: properties["name"] in activated(heard))
    assert web.url("") not in str(heard)


def activated(heard: list[dict[str, Any]]) -> set[str | None]:
    return {one["payload"]["name"] for one in heard if one["event_type"] == "image.activate"}
