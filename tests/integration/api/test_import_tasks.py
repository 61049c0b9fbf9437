"""Tasks of type import, from the request to the image (TSK-02, TSK-03)."""

import subprocess
from typing import Any

from tests.integration.api.imports_kit import page, working
from tests.support.waiting import wait_for


class TestTasks:
    """Tasks of type import (TSK-02)."""

    def new(self, node, web, data: bytes, **properties: Any) -> dict[str, Any]:
        source = page(web, data)["uri"]
        task_input = {"import_from": source, "import_from_format": "qcow2", "image_properties": properties}
        task = node.call("POST", "/v2/tasks", 201, json={"type": "import", "input": task_input}).json
        path = f"/v2/tasks/{task['id']}"
        ended = wait_for(
            lambda: now if (now := node.call("GET", path, 200).json)["status"] in ("success", "failure") else None
        )
        return dict(ended)

    def test_tsk02_an_image_is_made(self, node, web, qcow2):
        task = self.new(node, web, qcow2)
        assert (task["status"], task["message"]) == ("success", "")
        image = node.show(task["result"]["image_id"])
        assert (image["status"], image["disk_format"], image["virtual_size"]) == ("active", "qcow2", 1024 * 1024)
        assert node.data(image["id"]) == qcow2
        node.settled()

    def test_tsk02_properties_and_introspection(self, node, web, qcow2):
        # Some have names that mean something in the record, and nothing to users.
        properties = {"colour": "red", "member": "m", "row_version": "r", "unseen": "u", "os_note": "n"}
        task = self.new(
            node, web, qcow2, name="mine", disk_format="raw", container_format="bare", tags=["t"], **properties
        )
        image = node.show(task["result"]["image_id"])
        assert (image["name"], image["tags"]) == ("mine", ["t"])
        assert {name: image.get(name) for name in properties} == properties
        assert (image["disk_format"], image["virtual_size"]) == ("qcow2", 1024 * 1024)

    def test_tsk02_conversion(self, make_node, web, qcow2):
        node = make_node(taskflow_executor__conversion_format="raw")
        with working(node):
            task = self.new(node, web, qcow2)
            image = node.show(task["result"]["image_id"])
            assert (image["disk_format"], image["size"]) == ("raw", 1024 * 1024)

    def test_s12_a_failed_task_leaves_nothing(self, node, web, tmp_path):
        (tmp_path / "base").write_bytes(bytes(1024 * 1024))
        evil = tmp_path / "evil.qcow2"
        subprocess.run(
            ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", str(tmp_path / "base"), str(evil)],
            check=True,
        )
        task = self.new(node, web, evil.read_bytes())
        assert (task["status"], task["result"]) == ("failure", None)
        assert "not safe" in task["message"]
        assert node.call("GET", "/v2/images", 200).json["images"] == []
        node.settled()
        assert node.files("fast") == []

    def test_tsk03_tasks_expire(self, make_node, web, qcow2):
        node = make_node(task__task_time_to_live=0)
        with working(node):
            source = page(web, qcow2)["uri"]
            task_input = {"import_from": source, "import_from_format": "qcow2", "image_properties": {}}
            node.call("POST", "/v2/tasks", 201, json={"type": "import", "input": task_input})
            wait_for(lambda: not node.call("GET", "/v2/tasks", 200).json["tasks"])
            assert len(node.call("GET", "/v2/images", 200).json["images"]) == 1
