"""Data that wait for an import are inspected by the import, before a tool or a store gets them (S-34, S-39)."""

import gzip
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.integration.api.imports_kit import Node, page, working
from tests.support.waiting import wait_for

from glance_api.imports.sandbox import Sandbox

PLUGINS = {
    "none": {"image_import_opts__image_import_plugins": "[]"},
    "conversion": {
        "image_import_opts__image_import_plugins": "[image_conversion]", "image_conversion__output_format": "raw",
    },
    "every plugin": {
        "image_import_opts__image_import_plugins": "[image_decompression,image_conversion,inject_image_metadata,no_op]",
        "image_conversion__output_format": "qcow2",
    },
}
CONVERTED = {"taskflow_executor__conversion_format": "qcow2"}


@pytest.fixture
def used(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of tools and stores in the order in which they got data."""
    names: list[str] = []
    for name in ("run", "unpack"):
        monkeypatch.setattr(Sandbox, name, noted(names, name, getattr(Sandbox, name)))
    return names


def noted(names: list[str], name: str, honest: Callable[..., Any]) -> Callable[..., Any]:
    def call(*arguments: Any) -> Any:
        names.append(name)
        return honest(*arguments)

    return call


def watched(node: Node, used: list[str]) -> Node:
    """Return the node, whose stores note what they get from now on."""
    # The tools were tried out when the node was made.
    used.clear()
    for name in ("fast", "slow"):
        store = node.api.services.stores.get(name).inner
        store.add = noted(used, name, store.add)
    return node


def unsafe(folder: Path) -> dict[str, bytes]:
    """Return disks that refer to other data, by name."""
    made = folder / "made"
    subprocess.run(["qemu-img", "create", "-q", "-u", "-f", "qcow2", "-F", "raw", "-b", "/etc/passwd", str(made), "1M"],
                   check=True)
    descriptor = b'# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\ncreateType="monolithicFlat"\n'
    return {"a backing file": made.read_bytes(), "a descriptor": descriptor + b'RW 8 FLAT "/etc/passwd" 0\n'}


def by_stage(node: Node, web: Any, data: bytes, **formats: str) -> tuple[str, Callable[[], dict[str, Any]]]:
    image = node.create(**formats)
    node.stage(image, data)
    assert node.show(image)["status"] == "uploading"
    node.begin(image, "glance-direct", all_stores=True)
    return image, lambda: node.task(image)


def by_download(node: Node, web: Any, data: bytes, **formats: str) -> tuple[str, Callable[[], dict[str, Any]]]:
    image = node.create(**formats)
    node.begin(image, "web-download", arguments=page(web, data))
    return image, lambda: node.task(image)


def by_copy_from(node: Node, web: Any, data: bytes, **formats: str) -> tuple[str, Callable[[], dict[str, Any]]]:
    headers = {"x-image-meta-name": "one", "x-glance-api-copy-from": page(web, data)["uri"]}
    declared = {f"x-image-meta-{name}": value for name, value in formats.items()}
    image = str(node.call("POST", "/v1/images", 201, headers={**headers, **declared}).json["image"]["id"])
    return image, lambda: node.task(image)


WAYS = {"glance-direct": by_stage, "web-download": by_download, "copy_from": by_copy_from}


def ended(show: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    return wait_for(lambda: task if (task := show())["status"] in ("success", "failure") else None)


@pytest.mark.parametrize("plugins", PLUGINS)
@pytest.mark.parametrize("way", WAYS)
def test_s14_s34_s39_unsafe_data_reach_neither_tool_nor_store(make_node, web, tmp_path, used, way, plugins):
    with working(watched(make_node(**PLUGINS[plugins]), used)) as node:
        for name, data in unsafe(tmp_path).items():
            for formats in (("raw", "bare"), ("qcow2", "bare"), ("vmdk", "ovf"), ("qcow2", "compressed")):
                named = dict(zip(("disk_format", "container_format"), formats, strict=True))
                image, show = WAYS[way](node, web, data, **named)
                task = ended(show)
                assert (task["status"], "safe" in task["message"] or "descriptor" in task["message"]) == (
                    "failure", True
                ), (name, formats, task)
                assert node.show(image)["status"] == ("killed" if way == "copy_from" else "queued")
        node.settled()
        assert used == []
        assert node.files("fast") == node.files("slow") == []


@pytest.mark.parametrize("tools", [{}, CONVERTED], ids=["as they are", "converted"])
def test_s14_s34_s39_unsafe_data_of_a_task_reach_neither_tool_nor_store(make_node, web, tmp_path, used, tools):
    with working(watched(make_node(**tools), used)) as node:
        for data in unsafe(tmp_path).values():
            for disk, container in (("raw", "bare"), ("qcow2", "bare"), ("vmdk", "ova")):
                asked = {
                    "import_from": page(web, data)["uri"], "import_from_format": disk,
                    "image_properties": {"disk_format": disk, "container_format": container},
                }
                task = node.call("POST", "/v2/tasks", 201, json={"type": "import", "input": asked}).json
                path = f"/v2/tasks/{task['id']}"
                assert ended(lambda path=path: node.call("GET", path, 200).json)["status"] == "failure"
        node.settled()
        assert used == []
        assert node.call("GET", "/v2/images", 200).json["images"] == []


def test_imp01_staging_takes_what_the_import_refuses(node, tmp_path):
    """The task says why, the image is queued again, and other data may be staged."""
    for declared, data, reason in (
        ("qcow2", bytes(70_000), "disk_format is qcow2, but the content of the image is raw"),
        ("iso", b"text", "disk_format is iso"),
        ("ami", unsafe(tmp_path)["a backing file"], "qcow2"),
    ):
        image = node.create(disk_format=declared, hw_cpu_cores="1")
        node.stage(image, data)
        assert node.show(image)["size"] == len(data)
        node.begin(image, "glance-direct")
        task = node.finished(image)
        assert (task["status"], reason in task["message"]) == ("failure", True), task
        shown = node.show(image)
        assert (shown["status"], shown["size"], shown["hw_cpu_cores"]) == ("queued", None, "1")
        assert not {"os_glance_stage_host", "os_glance_import_task"} & shown.keys()
        node.settled()
        assert node.files("fast") == []
        node.stage(image, data)
        node.call("DELETE", f"/v2/images/{image}", 204)
    node.settled()


def test_good_data_are_seen_by_tools_and_stores(make_node, qcow2, used):
    """What the other tests count on."""
    with working(watched(make_node(**PLUGINS["conversion"]), used)) as node:
        image = node.create(disk_format="qcow2")
        node.stage(image, qcow2)
        node.begin(image, "glance-direct", all_stores=True)
        assert node.finished(image)["status"] == "success"
        assert used[:2] == ["run", "run"]
        assert sorted(used[2:]) == ["fast", "slow"]


def test_s34_what_was_exchanged_while_it_waited_is_refused_too(node, tmp_path, used):
    """The file is judged when it is used, whatever it was when it came."""
    watched(node, used)
    evil = unsafe(tmp_path)["a backing file"]
    image = node.create()
    node.stage(image, b"\x01" + bytes(len(evil) - 1))
    (file,) = [path for path in (tmp_path / "staging").rglob("*") if path.is_file() and path.name.startswith(image)]
    file.write_bytes(evil)
    node.begin(image, "glance-direct")
    assert "not safe" in node.finished(image)["message"]
    assert (node.show(image)["status"], used) == ("queued", [])
    node.settled()


def test_s34_what_was_unpacked_is_inspected_before_the_next_tool(make_node, tmp_path):
    """An archive is safe itself: the disk in it is not, and is refused before it is converted or stored."""
    with working(make_node(**PLUGINS["every plugin"])) as node:
        image = node.create(disk_format="qcow2", container_format="compressed")
        node.stage(image, gzip.compress(unsafe(tmp_path)["a backing file"]))
        node.begin(image, "glance-direct")
        task = node.finished(image)
        assert (task["status"], "not safe" in task["message"]) == ("failure", True), task
        assert node.show(image)["status"] == "queued"
        node.settled()
        assert node.files("fast") == []
