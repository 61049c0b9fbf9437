"""What other services are told about imports and tasks (NOT-01, NOT-02, configuration section 11)."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.integration.api.imports_kit import OCTETS, Node, options, page, working
from tests.integration.api.test_imports import break_store
from tests.servers.web import WebServer, web_server
from tests.support.raw_data import random_bytes
from tests.support.waiting import wait_for

from glance_common.stores.contract import StoreFull

DATA = random_bytes(300_000)
TASK = {
    "id", "type", "status", "result", "owner", "message", "expires_at", "created_at", "updated_at", "deleted",
    "deleted_at",
}
STEPS = ("image.prepare", "image.upload", "image.activate", "image.delete", "image.create")


class Told:
    """The events that a node would send."""

    def __init__(self, node: Node) -> None:
        self.events: list[tuple[str, Any, str]] = []
        notifications: Any = node.api.services.notifications
        notifications.wants = lambda _event: True
        notifications.send = lambda _context, kind, payload, priority="INFO": self.events.append(
            (kind, payload, str(priority))
        )

    def kinds(self, *wanted: str) -> list[str]:
        """Return the types of what was told in order, only those in ``wanted`` or in a group of it."""
        return [kind for kind, *_ in self.events if kind in wanted or kind.partition(".")[0] in wanted]

    def payloads(self, kind: str) -> list[Any]:
        return [payload for each, payload, _ in self.events if each == kind]

    def wait(self, kind: str) -> Any:
        """Wait for an event and return its payload."""
        return wait_for(lambda: self.payloads(kind))[-1]


@pytest.fixture(scope="module")
def web() -> Iterator[WebServer]:
    """A web server to import from."""
    with web_server() as server:
        yield server


@pytest.fixture
def make_node(make_api, tmp_path, web) -> Callable[..., Node]:
    """A function that makes a node with some options changed; its workers do not run yet."""
    return lambda **changed: Node(make_api(**{**options(tmp_path, web), **changed}), tmp_path)


@pytest.fixture
def node(make_node) -> Node:
    return make_node()


def test_not02_a_task_and_its_image_from_request_to_end(node):
    told = Told(node)
    image = node.create()
    node.stage(image, DATA)
    assert [payload["status"] for payload in told.payloads("image.update")] == ["uploading", "uploading"]
    node.begin(image, "glance-direct", all_stores=True)
    assert told.kinds("task") == ["task.create", "task.run"]
    assert told.payloads("image.update")[-1]["status"] == "importing"
    with working(node):
        node.finished(image)
        told.wait("image.activate")
    assert told.kinds("task") == ["task.create", "task.run", "task.processing", "task.success"]
    assert told.kinds(*STEPS) == [
        "image.create", "image.prepare", "image.upload", "image.prepare", "image.upload", "image.activate",
    ]
    lists = [
        (payload["backend"], payload["os_glance_importing_to_stores"], payload["os_glance_failed_import"])
        for payload in (*told.payloads("image.prepare"), *told.payloads("image.upload"))
    ]
    assert lists == [
        ("fast", ["fast", "slow"], []), ("slow", ["slow"], []), ("fast", ["slow"], []), ("slow", [], []),
    ]
    statuses = [payload["status"] for kind in ("image.upload", "image.activate") for payload in told.payloads(kind)]
    assert statuses == ["importing", "importing", "active"]
    last = told.payloads("image.update")[-1]
    assert (last["status"], last["size"]) == ("active", len(DATA))
    tasks = [payload for kind, payload, _ in told.events if kind.startswith("task.")]
    assert [task["status"] for task in tasks] == ["pending", "pending", "processing", "success"]
    assert {task["id"] for task in tasks} == {node.task(image)["id"]}
    assert all(set(task) == TASK and task["type"] == "api_image_import" and task["owner"] == "own" for task in tasks)
    assert tasks[-1]["expires_at"] > tasks[-1]["created_at"]


@pytest.mark.parametrize("parallel", [1, 2])
def test_an_image_is_activated_once_by_its_first_store(make_node, web, parallel):
    node = make_node(image_import_opts__max_parallel_stores=parallel)
    told = Told(node)
    image = node.create()
    node.begin(image, "web-download", arguments=page(web, DATA), all_stores=True, all_stores_must_succeed=False)
    with working(node):
        node.finished(image)
        told.wait("task.success")
    steps = Counter(told.kinds(*STEPS))
    assert steps == {"image.create": 1, "image.prepare": 2, "image.upload": 2, "image.activate": 1}


def test_a_copy_of_an_active_image_does_not_activate_it_again(node, web):
    told = Told(node)
    image = node.create()
    node.begin(image, "web-download", arguments=page(web, DATA))
    with working(node):
        told.wait("task.success")
        node.begin(image, "copy-image", stores=["slow"])
        wait_for(lambda: told.kinds("task.success") == ["task.success"] * 2)
    assert told.kinds(*STEPS) == [
        "image.create", "image.prepare", "image.upload", "image.activate", "image.prepare", "image.upload",
    ]
    assert [payload["status"] for payload in told.payloads("image.upload")] == ["importing", "active"]


def test_a_store_that_fails_is_an_error_in_words(node, web):
    told = Told(node)
    break_store(node, "slow", StoreFull("/secret/path is full"))
    image = node.create()
    node.begin(image, "web-download", arguments=page(web, DATA), all_stores=True, all_stores_must_succeed=False)
    with working(node):
        node.finished(image)
        told.wait("task.success")
    ((text, priority),) = [each[1:] for each in told.events if isinstance(each[1], str)]
    assert priority == "ERROR"
    assert image in text
    assert "not enough space" in text
    assert told.payloads("image.update")[-1]["properties"]["os_glance_failed_import"] == "slow"
    assert "secret" not in json.dumps(told.events)


def test_not02_a_failed_import_says_so_without_its_reason(node, web):
    told = Told(node)
    image = node.create()
    node.begin(image, "web-download", arguments=page(web, DATA, status=404))
    with working(node):
        reason = node.finished(image)["message"]
        assert "404" in reason
        assert told.wait("task.failure")["message"] is None
        wait_for(lambda: told.payloads("image.update")[-1]["status"] == "queued")
    assert told.kinds(*STEPS) == ["image.create"]
    assert json.dumps(reason)[1:-1] not in json.dumps(told.events)


@pytest.mark.parametrize("is_good", [True, False])
@pytest.mark.parametrize("delayed", [True, False])
def test_not02_tasks_of_type_import(make_node, web, is_good, delayed):
    node = make_node(delayed_delete=delayed)
    told = Told(node)
    properties = {"disk_format": "raw" if is_good else "qcow2", "container_format": "bare"}
    source = page(web, DATA)["uri"]
    task_input = {"import_from": source, "import_from_format": "raw", "image_properties": properties}
    task = node.call("POST", "/v2/tasks", 201, json={"type": "import", "input": task_input}).json["id"]
    with working(node):
        told.wait("image.activate" if is_good else "image.delete")
        told.wait("task.success" if is_good else "task.failure")
        node.settled()
    assert told.kinds("task") == [
        "task.create", "task.run", "task.processing", "task.success" if is_good else "task.failure",
    ]
    assert {payload["id"] for kind, payload, _ in told.events if kind.startswith("task.")} == {task}
    assert source not in json.dumps(told.events)
    steps = [kind for kind in told.kinds(*STEPS) if is_good or kind not in ("image.prepare", "image.upload")]
    if is_good:
        assert steps == ["image.create", "image.prepare", "image.upload", "image.activate"]
    else:
        assert steps == ["image.create", "image.delete"]
        assert told.payloads("image.delete")[0]["status"] == "deleted"


@pytest.mark.parametrize("is_running", [True, False])
def test_not02_a_delete_ends_the_task_once(node, web, is_running):
    told = Told(node)
    image = node.create()
    node.begin(image, "web-download", arguments=page(web, DATA))
    if not is_running:
        node.call("DELETE", f"/v2/images/{image}", 204)
    else:
        original = node.api.services.stores.get("fast").inner.add

        def deleting(*how: Any) -> Any:
            node.call("DELETE", f"/v2/images/{image}", 204)
            return original(*how)

        node.api.services.stores.get("fast").inner.add = deleting
    with working(node):
        told.wait("task.failure")
        node.settled()
    assert told.kinds("task.success", "task.failure", "image.delete") == ["image.delete", "task.failure"]


@pytest.mark.parametrize("delayed", [True, False])
def test_not02_a_delete_can_be_undone_only_while_data_are_kept(make_node, delayed):
    """The same status as v1 shows (lifecycle sections 2 and 4)."""
    node = make_node(delayed_delete=delayed)
    told = Told(node)
    active, closed, staged, queued = (node.create() for _ in range(4))
    for image in (active, closed):
        node.call("PUT", f"/v2/images/{image}/file", 204, data=DATA, headers=OCTETS)
    node.call("POST", f"/v2/images/{closed}/actions/deactivate", 204)
    node.stage(staged, DATA)
    headers = {"x-image-meta-name": "x", "x-image-meta-size": "0"}
    empty = node.call("POST", "/v1/images", 201, headers=headers).json["image"]["id"]
    for image in (active, closed, staged, queued, empty):
        node.call("DELETE", f"/v2/images/{image}", 204)
    kept = "pending_delete" if delayed else "deleted"
    expected = {active: kept, closed: kept, staged: "deleted", queued: "deleted", empty: "deleted"}
    assert {payload["id"]: payload["status"] for payload in told.payloads("image.delete")} == expected
    for image, status in expected.items():
        assert node.call("HEAD", f"/v1/images/{image}", 200).headers["x-image-meta-status"] == status


def test_not02_registered_locations_and_their_hashing(make_node, web):
    node = make_node(enabled_backends="fast:file,slow:file,web:http", do_secure_hash=True)
    told = Told(node)
    image = node.create()
    url = page(web, DATA)["uri"]
    node.call("POST", f"/v2/images/{image}/locations", 202, json={"url": url})
    assert told.payloads("image.update")[-1]["status"] == "active"
    assert told.kinds("image.activate", "task") == ["image.activate", "task.create", "task.run"]
    with working(node):
        told.wait("task.success")
        wait_for(lambda: told.payloads("image.update")[-1]["checksum"])
    assert told.payloads("task.success")[0]["type"] == "location_import"
    assert told.kinds("image.activate") == ["image.activate"]
    assert url not in json.dumps(told.events)


def test_not02_a_location_that_is_not_hashed_has_a_task_that_ends_at_once(make_node, web):
    node = make_node(enabled_backends="fast:file,slow:file,web:http", do_secure_hash=False)
    told = Told(node)
    node.call("POST", f"/v2/images/{node.create()}/locations", 202, json={"url": page(web, DATA)["uri"]})
    assert told.kinds("image.activate", "task") == ["image.activate", "task.create", "task.run", "task.success"]


def test_a_location_that_is_added_or_taken_away_is_an_update(make_node, web):
    node = make_node(enabled_backends="fast:file,slow:file,web:http", show_multiple_locations=True)
    told = Told(node)
    image = node.create()
    urls = [page(web, DATA, path)["uri"] for path in ("/one", "/two")]
    kind = {"Content-Type": "application/openstack-images-v2.1-json-patch"}

    def patch(*operations: dict[str, Any]) -> None:
        node.call("PATCH", f"/v2/images/{image}", 200, data=json.dumps(operations), headers=kind)

    for url in urls:
        patch({"op": "add", "path": "/locations/-", "value": {"url": url, "metadata": {}}})
    assert told.kinds("image") == ["image.create", "image.activate", "image.update", "image.update"]
    patch({"op": "remove", "path": "/locations/1"})
    assert told.kinds("image")[4:] == ["image.update"]
    assert web.url("") not in json.dumps(told.events)
