"""Imports from the request to the bytes in the stores, with a real registry and workers in this process."""

import hashlib
import json
import threading
from pathlib import Path
from typing import Any

import pytest
from tests.integration.api.imports_kit import Node, page, working
from tests.servers.web import Page
from tests.support.raw_data import random_bytes
from tests.support.waiting import wait_for

from glance_common.model.errors import Unavailable
from glance_common.stores.contract import StoreFull

DATA = random_bytes(3 * 1024 * 1024)


def break_store(node: Node, name: str, error: Exception) -> None:
    """Let every write into the store fail."""

    def fail(*_args: Any) -> None:
        raise error

    node.api.services.stores.get(name).inner.add = fail


def test_imp01_imp02_staged_data_are_imported(node):
    image = node.create()
    node.stage(image, DATA)
    staged = node.show(image)
    assert (staged["status"], staged["size"]) == ("uploading", len(DATA))
    assert node.files("staging") == [image]
    assert node.call("GET", f"/v2/images/{image}/file", 204).data == b""
    node.begin(image, "glance-direct")
    task = node.finished(image)
    assert (task["status"], task["message"], task["result"]) == ("success", "", {"image_id": image})
    assert task["expires_at"] > task["updated_at"]
    shown = node.show(image)
    assert shown["status"] == "active"
    assert shown["checksum"] == hashlib.md5(DATA, usedforsecurity=False).hexdigest()
    assert shown["os_hash_value"] == hashlib.sha512(DATA).hexdigest()
    assert (shown["size"], shown["virtual_size"], shown["stores"]) == (len(DATA), len(DATA), "fast")
    assert "os_glance_import_task" not in shown
    assert node.data(image) == DATA
    node.settled()


def test_imp03_web_download(node, web):
    image = node.create()
    node.begin(image, "web-download", arguments=page(web, DATA))
    assert node.show(image)["status"] in ("importing", "active")
    assert node.finished(image)["status"] == "success"
    assert node.data(image) == DATA
    node.settled()


def test_imp06_all_stores(node, web):
    image = node.create()
    node.begin(image, "web-download", arguments=page(web, DATA), all_stores=True)
    assert node.finished(image)["status"] == "success"
    shown = node.show(image)
    assert (shown["stores"], shown["os_glance_importing_to_stores"], shown["os_glance_failed_import"]) == (
        "fast,slow", "", "",
    )
    assert node.files("fast") == node.files("slow") == [image]


def test_imp11_stores_at_the_same_time(make_node, web):
    node = make_node(image_import_opts__max_parallel_stores=2)
    with working(node):
        image = node.create()
        node.begin(image, "web-download", arguments=page(web, DATA), stores=["slow", "fast"])
        assert node.finished(image)["status"] == "success"
        assert node.files("fast") == node.files("slow") == [image]
        assert node.data(image) == DATA


@pytest.mark.parametrize("parallel", [1, 2])
def test_imp06_a_store_that_must_not_fail(make_node, parallel):
    node = make_node(image_import_opts__max_parallel_stores=parallel)
    break_store(node, "slow", StoreFull("/secret/path is full"))
    with working(node):
        image = node.create()
        node.stage(image, DATA)
        node.begin(image, "glance-direct", all_stores=True)
        task = node.finished(image)
        assert task["status"] == "failure"
        assert "slow" in task["message"]
        assert "secret" not in task["message"]
        shown = node.show(image)
        assert (shown["status"], shown["size"], shown["checksum"]) == ("queued", None, None)
        assert "slow" in shown["os_glance_failed_import"]
        assert "os_glance_import_task" not in shown
        node.settled()
        assert node.files("slow") == []


def test_imp06_a_store_that_may_fail(make_node):
    node = make_node()
    break_store(node, "slow", StoreFull("full"))
    with working(node):
        image = node.create()
        node.stage(image, DATA)
        node.begin(image, "glance-direct", stores=["slow", "fast"], all_stores_must_succeed=False)
        task = node.finished(image)
        assert task["status"] == "success"
        assert "slow: there is not enough space" in task["message"]
        shown = node.show(image)
        assert (shown["status"], shown["stores"]) == ("active", "fast")
        assert (shown["os_glance_importing_to_stores"], shown["os_glance_failed_import"]) == ("", "slow")
        assert node.data(image) == DATA


def test_imp04_copy_image(node):
    image = node.create()
    node.call("PUT", f"/v2/images/{image}/file", 204, data=DATA, headers={"Content-Type": "application/octet-stream"})
    node.begin(image, "copy-image", all_stores=True)
    assert node.finished(image)["status"] == "success"
    assert node.show(image)["stores"] == "fast,slow"
    assert (node.folder / "slow" / image).read_bytes() == DATA
    node.settled()


def test_s71_a_damaged_copy_is_not_copied(node):
    image = node.create()
    node.call("PUT", f"/v2/images/{image}/file", 204, data=DATA, headers={"Content-Type": "application/octet-stream"})
    (node.folder / "fast" / image).write_bytes(bytes(len(DATA)))
    node.begin(image, "copy-image", stores=["slow"])
    task = node.finished(image)
    assert task["status"] == "failure"
    shown = node.show(image)
    assert (shown["status"], shown["os_glance_failed_import"]) == ("active", "slow")
    assert "stores" not in shown, "the damaged copy is out of use"
    assert node.files("slow") == []


def test_s71_a_good_copy_is_found_behind_a_damaged_one(make_node, tmp_path):
    (tmp_path / "third").mkdir()
    node = make_node(
        enabled_backends="fast:file,slow:file,third:file", third__filesystem_store_datadir=tmp_path / "third"
    )
    with working(node):
        image = node.create()
        node.stage(image, DATA)
        node.begin(image, "glance-direct", stores=["fast", "slow"])
        assert node.finished(image)["status"] == "success"
        (tmp_path / "fast" / image).write_bytes(bytes(len(DATA)))
        node.begin(image, "copy-image", stores=["third"])
        assert node.finished(image)["status"] == "success"
        assert (tmp_path / "third" / image).read_bytes() == DATA


def test_imp05_glance_download(node, web, make_api, tmp_path):
    other = "22222222-2222-4222-8222-222222222222"
    web.pages[f"/v2/images/{other}"] = page_of_document(other)
    page(web, DATA, f"/v2/images/{other}/file")
    catalog = f'[{{"type": "image", "endpoints": [{{"region": "north", "publicURL": "{web.url("")}"}}]}}]'
    image = node.create(disk_format=None, container_format=None)
    arguments = {"glance_region": "north", "glance_image_id": other}
    headers = {"X-Auth-Token": "user-token", "X-Service-Catalog": catalog}
    node.begin(image, "glance-download", arguments=arguments, headers=headers)
    assert node.finished(image)["status"] == "success"
    shown = node.show(image)
    assert (shown["disk_format"], shown["container_format"], shown["os_distro"]) == ("raw", "bare", "ours")
    assert "secret" not in shown
    assert node.data(image) == DATA
    assert {headers["X-Auth-Token"] for _, path, headers in web.seen if other in path} == {"user-token"}
    wait_for(lambda: not node.api.services.work.keeps)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"glance_region": "not a region"}, "glance_region: the service catalog has no public endpoint"),
        ({"glance_service_interface": "admin"}, "glance_region: the service catalog has no admin endpoint"),
        ({"glance_service_interface": "not an interface"}, "glance_service_interface must be one of public, internal"),
    ],
)
def test_imp05_an_unknown_region_or_interface_fails_the_task(node, web, change, reason):
    """As in the original; the image is queued again, with its properties and formats."""
    catalog = json.dumps([{"type": "image", "endpoints": [{"region": "north", "publicURL": web.url("")}]}])
    headers = {"X-Auth-Token": "user-token", "X-Service-Catalog": catalog}
    arguments = {"glance_region": "north", "glance_image_id": "22222222-2222-4222-8222-222222222222", **change}
    image = node.create(hw_cpu_cores="1", os_distro="windows")
    before = node.show(image)
    node.begin(image, "glance-download", arguments=arguments, headers=headers)
    task = node.finished(image)
    assert (task["status"], reason in task["message"]) == ("failure", True), task
    shown = node.show(image)
    assert {name: shown[name] for name in before} == {**before, "updated_at": shown["updated_at"]}
    wait_for(lambda: not node.api.services.work.keeps)


def page_of_document(image: str) -> Any:
    document = {
        "id": image, "status": "active", "disk_format": "raw", "container_format": "bare", "size": len(DATA),
        "os_hash_algo": "sha512", "os_hash_value": hashlib.sha512(DATA).hexdigest(), "os_distro": "ours", "secret": "x",
    }
    return Page(json.dumps(document).encode(), headers={"Content-Type": "application/json"})


@pytest.mark.parametrize(
    ("habits", "reason"),
    [
        ({"status": 404}, "404"), ({"cut": 1000}, "stopped sending"),
        ({"status": 302, "headers": {"Location": "http://127.0.0.2/"}}, "not allowed"),
    ],
)
def test_s22_s61_a_source_that_fails(node, web, habits, reason):
    image = node.create()
    node.begin(image, "web-download", arguments=page(web, DATA, **habits))
    task = node.finished(image)
    assert (task["status"], node.show(image)["status"]) == ("failure", "queued")
    assert reason in task["message"]
    node.settled()
    assert node.files("fast") == []


@pytest.mark.parametrize("habits", [{}, {"announce": False}, {"chunked": True}])
def test_s08_s61_the_cap_holds_for_imports(make_node, web, habits):
    node = make_node(image_size_cap=1024 * 1024)
    with working(node):
        image = node.create()
        node.begin(image, "web-download", arguments=page(web, DATA, **habits))
        task = node.finished(image)
        assert task["status"] == "failure"
        assert "image_size_cap" in task["message"]
        assert node.show(image)["status"] == "queued"
        node.settled()
        assert node.stage(node.create(), DATA, expected=413).status_code == 413
        node.settled()


def test_data_of_another_format_are_refused_by_the_import(node):
    image = node.create(disk_format="qcow2")
    node.stage(image, DATA)
    node.begin(image, "glance-direct")
    task = node.finished(image)
    assert task["status"] == "failure"
    assert "qcow2" in task["message"]
    assert node.show(image)["status"] == "queued"
    node.settled()


def test_a_queued_image_can_be_imported_again_after_a_failure(node, web):
    image = node.create()
    node.begin(image, "web-download", arguments=page(web, DATA, status=500))
    assert node.finished(image)["status"] == "failure"
    node.begin(image, "web-download", arguments=page(web, DATA))
    assert node.finished(image)["status"] == "success"
    assert node.show(image)["status"] == "active"
    assert [task["status"] for task in node.call("GET", f"/v2/images/{image}/tasks", 200).json["tasks"]] == [
        "failure", "success",
    ]


def test_imp08_plugins(make_node, web, qcow2):
    node = make_node(
        image_import_opts__image_import_plugins="[no_op,inject_image_metadata,image_conversion]",
        image_conversion__output_format="raw",
        inject_metadata_properties__inject="origin:import",
        inject_metadata_properties__ignore_user_roles="nobody",
    )
    with working(node):
        image = node.create(disk_format="qcow2")
        node.begin(image, "web-download", arguments=page(web, qcow2))
        assert node.finished(image)["status"] == "success"
        shown = node.show(image)
        assert (shown["disk_format"], shown["origin"], shown["size"]) == ("raw", "import", 1024 * 1024)
        assert node.data(image) == bytes(1024 * 1024)
        node.settled()


def test_imp07_s68_one_import_at_a_time(make_node, web):
    """The lock is the live operation: seen as a property, forged by nobody, gone at the end (S-68)."""
    node = make_node()
    image = node.create()
    node.call("PUT", f"/v2/images/{image}/file", 204, data=DATA, headers={"Content-Type": "application/octet-stream"})
    node.begin(image, "copy-image", stores=["slow"])
    refused = node.begin(image, "copy-image", 409, stores=["slow"])
    assert node.task(image)["id"] in refused.text
    assert node.show(image)["os_glance_import_task"] == node.task(image)["id"]
    patch = [{"op": "replace", "path": "/os_glance_import_task", "value": "mine"}]
    node.call(
        "PATCH", f"/v2/images/{image}", 403, json=patch,
        headers={"Content-Type": "application/openstack-images-v2.1-json-patch"},
    )
    with working(node):
        assert node.finished(image)["status"] == "success"
    assert "os_glance_import_task" not in node.show(image)


def test_imp13_s78_residue_is_removed_at_start(make_node):
    node = make_node()
    kept = node.create()
    gone = "33333333-3333-4333-8333-333333333333"
    for name in (kept, gone, f"{gone}.qcow2", "notes.txt", f"{gone}x"):
        (node.folder / "staging" / name).write_bytes(b"x")
    (node.folder / "outside").write_bytes(b"x")
    (node.folder / "staging" / "44444444-4444-4444-8444-444444444444").symlink_to(node.folder / "outside")
    with working(node):
        wait_for(lambda: gone not in node.files("staging") and f"{gone}.qcow2" not in node.files("staging"))
    assert {kept, "notes.txt", f"{gone}x"} <= set(node.files("staging"))
    assert (node.folder / "outside").exists()


def test_residue_that_cannot_be_removed_holds_up_no_import(make_node, web, monkeypatch):
    node = make_node()
    gone = "33333333-3333-4333-8333-333333333333"
    (node.folder / "staging" / gone).write_bytes(b"x")
    remove = Path.unlink

    def refuse(path: Path, missing_ok: bool = False) -> None:
        if path.name == gone:
            raise PermissionError(13, "Permission denied")
        remove(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", refuse)
    with working(node):
        image = node.create()
        node.begin(image, "web-download", arguments=page(web, DATA))
        assert node.finished(image)["status"] == "success"
    assert gone in node.files("staging")


def test_a_task_that_waits_says_what_is_down(make_node, web, monkeypatch):
    """The import is left to its lease: the same can work later."""
    node = make_node(upload__lease=3)

    def refuse(*_args: Any, **_keywords: Any) -> None:
        raise Unavailable("something behind us is down")

    monkeypatch.setattr(node.api.services.registry.uploads, "start", refuse)
    with working(node):
        image = node.create()
        node.begin(image, "web-download", arguments=page(web, DATA))
        told = wait_for(lambda: task if (task := node.task(image))["message"] else None)
        assert (told["status"], told["message"]) == ("processing", "something behind us is down")
        monkeypatch.undo()
        assert node.finished(image)["status"] == "success"


def test_s12_s13_a_delete_during_the_import(make_node, web):
    """The source stalls; the delete ends the operation, and nothing stays anywhere."""
    node = make_node()
    reading = threading.Event()
    release = threading.Event()
    original = node.api.services.stores.get("fast").inner.add

    def slow_add(key: str, pieces: Any, size: Any) -> Any:
        def slow() -> Any:
            for piece in pieces:
                reading.set()
                release.wait(60)
                yield piece

        return original(key, slow(), size)

    node.api.services.stores.get("fast").inner.add = slow_add
    with working(node):
        image = node.create()
        node.begin(image, "web-download", arguments=page(web, DATA))
        assert reading.wait(60)
        node.call("DELETE", f"/v2/images/{image}", 204)
        node.call("GET", f"/v2/images/{image}", 404)
        release.set()
        node.settled()
        wait_for(lambda: not node.files("fast"))


def test_s11_a_staged_image_is_deleted(node):
    image = node.create()
    node.stage(image, DATA)
    node.call("DELETE", f"/v2/images/{image}", 204)
    node.settled()
