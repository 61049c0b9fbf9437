"""Archives on their way through an import: what comes out of them is what the store holds (IMP-08, TSK-02)."""

import gzip
import hashlib
import io
import subprocess
import tarfile
from typing import Any

import pytest
from tests.integration.api.imports_kit import Node, options, page, working
from tests.servers.web import web_server
from tests.support.waiting import wait_for

DESCRIPTOR = b"""<?xml version="1.0"?>
<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1">
<References><File ovf:id="f" ovf:href="disk.vmdk"/></References>
<DiskSection><Disk ovf:diskId="d" ovf:fileRef="f"/></DiskSection></Envelope>"""


@pytest.fixture(scope="module")
def web():
    with web_server() as server:
        yield server


@pytest.fixture
def start(make_api, tmp_path, web):
    """A function that makes a node with some options changed, to be used in a with statement."""
    return lambda **changed: working(Node(make_api(**{**options(tmp_path, web), **changed}), tmp_path))


def disk(folder, disk_format: str, *how: str) -> bytes:
    """Return an empty disk of 1 MiB."""
    path = folder / f"disk.{disk_format}"
    subprocess.run(["qemu-img", "create", "-q", "-f", disk_format, *how, str(path), "1M"], check=True)
    return bytes(path.read_bytes())


def ova(vmdk: bytes, descriptor: bytes = DESCRIPTOR) -> bytes:
    """Return a tar archive as hypervisors export it."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in (("machine.ovf", descriptor), ("disk.vmdk", vmdk)):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return out.getvalue()


@pytest.mark.parametrize("method", ["glance-direct", "web-download"])
def test_imp08_a_compressed_image_is_unpacked_and_converted(start, web, tmp_path, method):
    packed = gzip.compress(disk(tmp_path, "qcow2"))
    plugins = "[image_decompression,image_conversion]"
    with start(image_import_opts__image_import_plugins=plugins, image_conversion__output_format="raw") as node:
        image = node.create(disk_format="qcow2", container_format="compressed")
        if method == "glance-direct":
            node.stage(image, packed)
            node.begin(image, method)
        else:
            node.begin(image, method, arguments=page(web, packed))
        task = node.finished(image)
        assert (task["status"], task["message"]) == ("success", "")
        shown = node.show(image)
        assert (shown["disk_format"], shown["container_format"], shown["virtual_size"]) == ("raw", "bare", 2**20)
        assert node.data(image) == bytes(2**20)
        assert shown["checksum"] == hashlib.md5(bytes(2**20), usedforsecurity=False).hexdigest()
        node.settled()


def import_ova(node: Node, url: dict[str, str], roles: str) -> dict[str, Any]:
    """Import an OVA by a task and return the task when it has ended."""
    properties = {"name": "machine", "disk_format": "vmdk", "container_format": "ova"}
    body = {"import_from": url["uri"], "import_from_format": "ova", "image_properties": properties}
    task = node.call("POST", "/v2/tasks", 201, json={"type": "import", "input": body}, roles=roles).json
    path = f"/v2/tasks/{task['id']}"
    return dict(wait_for(
        lambda: now if (now := node.call("GET", path, 200).json)["status"] in ("success", "failure") else None
    ))


def test_tsk02_the_disk_of_an_ova_becomes_the_image(start, web, tmp_path):
    vmdk = disk(tmp_path, "vmdk", "-o", "subformat=streamOptimized")
    with start() as node:
        task = import_ova(node, page(web, ova(vmdk)), "admin,member,reader")
        assert (task["status"], task["message"]) == ("success", "")
        shown = node.show(task["result"]["image_id"])
        assert (shown["disk_format"], shown["container_format"], shown["virtual_size"]) == ("vmdk", "bare", 2**20)
        assert node.data(shown["id"]) == vmdk
        node.settled()


def test_tsk02_ovf_metadata_json_names_the_settings_that_become_properties(start, web, tmp_path):
    vmdk = disk(tmp_path, "vmdk", "-o", "subformat=streamOptimized")
    (tmp_path / "ovf-metadata.json").write_text('{"cim_pasd": ["ProcessorArchitecture", "InstructionSet"]}')
    namespace = "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ProcessorAllocationSettingData"
    item = f'<p:ProcessorArchitecture xmlns:p="{namespace}">ARM</p:ProcessorArchitecture></Envelope>'
    with start() as node:
        archive = ova(vmdk, DESCRIPTOR.replace(b"</Envelope>", item.encode()))
        task = import_ova(node, page(web, archive), "admin,member,reader")
        shown = node.show(task["result"]["image_id"])
        assert {name: value for name, value in shown.items() if name.startswith("cim")} == {
            "cim_pasd_ProcessorArchitecture": "ARM",
        }
        node.settled()


def test_s41_only_administrators_have_an_ova_taken_apart(start, web, tmp_path):
    (tmp_path / "policy.yaml").write_text('tasks_api_access: "role:member"\n')
    with start(oslo_policy__policy_file=tmp_path / "policy.yaml") as node:
        task = import_ova(node, page(web, ova(b"never looked at")), "member,reader")
        assert (task["status"], task["result"]) == ("failure", None)
        assert "only administrators" in task["message"]
        assert node.call("GET", "/v2/images", 200).json["images"] == []
        node.settled()
