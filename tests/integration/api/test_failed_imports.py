"""An import that fails leaves the image as it was when the import was asked for (lifecycle section 3)."""

import json
from uuid import uuid4

import pytest
from tests.integration.api.imports_kit import Node, page, working
from tests.servers.web import Page

from glance_api.background.flows import copies
from glance_common.model.context import system_context
from glance_common.model.operation import Held
from glance_common.stores.contract import StoreResting
from glance_common.stores.drivers.file.driver import FileStore

DATA = b"\x01" * 300_000
REMOTE = "22222222-2222-4222-8222-222222222222"


def shown(node: Node, image: str) -> dict:
    """Return the document of an image without its time, and without what tells that an import failed."""
    return {
        name: value
        for name, value in node.show(image).items()
        if name != "updated_at" and not name.startswith("os_glance_")
    }


@pytest.mark.parametrize("formats", [{}, {"disk_format": None, "container_format": None}], ids=["formats", "none"])
@pytest.mark.parametrize("digest", ["0" * 128, None], ids=["other digest", "cut"])
def test_what_came_with_bad_data_goes_with_them(make_node, web, formats, digest):
    document = {
        "id": REMOTE, "status": "active", "disk_format": "iso", "container_format": "ova", "size": len(DATA),
        "os_hash_algo": "sha512", "os_hash_value": digest, "os_distro": "theirs", "hw_disk_bus": "scsi",
    }
    web.pages[f"/v2/images/{REMOTE}"] = Page(json.dumps(document).encode())
    web.pages[f"/v2/images/{REMOTE}/file"] = Page(DATA, cut=None if digest else 1000)
    catalog = json.dumps([{"type": "image", "endpoints": [{"region": "north", "publicURL": web.url("")}]}])
    headers = {"X-Auth-Token": "user-token", "X-Service-Catalog": catalog}
    node = make_node()
    with working(node):
        image = node.create(os_distro="ours", **formats)
        before = shown(node, image)
        arguments = {"glance_region": "north", "glance_image_id": REMOTE}
        node.begin(image, "glance-download", arguments=arguments, headers=headers)
        assert node.finished(image)["status"] == "failure"
        assert shown(node, image) == before


@pytest.mark.parametrize("first", ["stores", "one"])
def test_what_plugins_changed_is_taken_back_when_the_stores_fail(make_node, web, qcow2, tmp_path, first):
    node = make_node(
        image_import_opts__image_import_plugins="[inject_image_metadata,image_conversion]",
        image_conversion__output_format="raw",
        inject_metadata_properties__inject="origin:import,kept:theirs",
        inject_metadata_properties__ignore_user_roles="none_has_it",
    )
    broken = ["fast", "slow"] if first == "stores" else ["slow"]
    for name in broken:
        (tmp_path / name).rename(tmp_path / f"{name}-away")
    with working(node):
        image = node.create(disk_format="qcow2", kept="ours")
        before = shown(node, image)
        node.begin(image, "web-download", arguments=page(web, qcow2), stores=["fast", "slow"])
        assert node.finished(image)["status"] == "failure"
        assert shown(node, image) == before
        for name in broken:
            (tmp_path / f"{name}-away").rename(tmp_path / name)
        node.begin(image, "web-download", arguments=page(web, qcow2), stores=["fast", "slow"])
        assert node.finished(image)["status"] == "success"
        after = node.show(image)
        assert (after["disk_format"], after["origin"], after["kept"]) == ("raw", "import", "theirs")


def test_a_store_that_may_fail_takes_nothing_back(make_node, web, qcow2, tmp_path):
    node = make_node(
        image_import_opts__image_import_plugins="[inject_image_metadata]",
        inject_metadata_properties__inject="origin:import",
        inject_metadata_properties__ignore_user_roles="none_has_it",
    )
    (tmp_path / "slow").rename(tmp_path / "away")
    with working(node):
        image = node.create(disk_format="qcow2")
        node.begin(image, "web-download", arguments=page(web, qcow2), stores=["fast", "slow"],
                   all_stores_must_succeed=False)
        assert node.finished(image)["status"] == "success"
        after = node.show(image)
        assert (after["status"], after["origin"], after["stores"]) == ("active", "import", "fast")


def test_what_the_owner_changed_meanwhile_stays(make_node, web, qcow2):
    node = make_node(
        image_import_opts__image_import_plugins="[inject_image_metadata]",
        inject_metadata_properties__inject="origin:import,mine:theirs,removed:theirs",
        inject_metadata_properties__ignore_user_roles="none_has_it",
        upload__lease=3,
    )
    image = node.create(disk_format="qcow2", mine="old", removed="old")
    registry, operations = node.api.services.registry, node.api.services.registry.operations
    node.begin(image, "web-download", arguments=page(web, qcow2))
    held = Held(node.task(image)["id"], str(uuid4()))
    context = system_context("req-test")
    operations.claim(context, held.token, host="vm", lease=600)
    operations.update(context, held, {"disk_format": "raw", "properties": {"origin": "import", "mine": "theirs"}})
    operations.update(context, held, {"properties": {"removed": "theirs", "mine": "again"}})
    patch = [{"op": "add", "path": "/new", "value": "owner's"}, {"op": "replace", "path": "/removed", "value": "kept"}]
    media = {"Content-Type": "application/openstack-images-v2.1-json-patch"}
    node.call("PATCH", f"/v2/images/{image}", 200, json=patch, headers=media)
    wrong = [{"op": "replace", "path": "/disk_format", "value": "iso"}]
    node.call("PATCH", f"/v2/images/{image}", 403, json=wrong, headers=media)
    operations.finish(context, held, success=False, message="failed")
    after = node.show(image)
    assert (after["status"], after["disk_format"]) == ("queued", "qcow2")
    assert (after["mine"], after["removed"], after["new"]) == ("old", "kept", "owner's")
    assert "origin" not in after
    assert registry.images.get(context, image).properties["mine"] == "old"


@pytest.mark.parametrize("times", [1, 2])
def test_an_import_waits_once_for_a_store_that_rests(make_node, web, monkeypatch, times):
    """The circuit of a store refuses without asking it: that alone is no reason to lose an import."""
    node = make_node()
    add, refused = FileStore.add, []

    def rests(self, key, pieces, size):
        if self.id == "fast" and len(refused) < times:
            refused.append(key)
            raise StoreResting("asked again in 10 s")
        return add(self, key, pieces, size)

    monkeypatch.setattr(copies, "REST", 0.1)
    monkeypatch.setattr(FileStore, "add", rests)
    with working(node):
        image = node.create()
        node.begin(image, "web-download", arguments=page(web, DATA))
        assert node.finished(image)["status"] == ("success" if times == 1 else "failure")
    assert len(refused) == times
