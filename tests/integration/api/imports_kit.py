"""An API with two stores, workers in this process, and a web server to import from."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from tests.servers.web import Page, WebServer
from tests.support.waiting import wait_for

from glance_api.background import pool
from glance_api.background.bootstrap import build_pool

OCTETS = {"Content-Type": "application/octet-stream"}
METHODS = "[glance-direct,web-download,copy-image,glance-download]"


def options(folder: Path, web: WebServer) -> dict[str, Any]:
    """Return options with the stores ``fast`` (default) and ``slow`` in ``folder``, and leave to fetch from ``web``."""
    for name in ("fast", "slow"):
        (folder / name).mkdir(exist_ok=True)
    return {
        "enabled_backends": "fast:file,slow:file",
        "enabled_import_methods": METHODS,
        "glance_store__default_backend": "fast",
        "fast__filesystem_store_datadir": folder / "fast",
        "slow__filesystem_store_datadir": folder / "slow",
        "import_filtering_opts__allowed_hosts": "[127.0.0.1]",
        "import_filtering_opts__allowed_ports": f"[{web.port}]",
    }


class Node:
    """One API process: its calls, its workers and its files."""

    def __init__(self, api: Any, folder: Path) -> None:
        self.api = api
        self.folder = folder
        self.pool = build_pool(api.conf, api.services, lambda: False)
        self.pool._poll = 0.2

    def call(self, method: str, path: str, *expected: int, roles: str = "admin,member,reader", **how: Any) -> Any:
        """Return the answer, which must have one of the expected statuses."""
        answer = self.api.call(method, path, roles=roles, **how)
        assert answer.status_code in expected, (method, path, answer.status_code, answer.text)
        return answer

    def create(self, **fields: Any) -> str:
        """Create a raw image and return its id."""
        fields = {"disk_format": "raw", "container_format": "bare", **fields}
        return str(self.call("POST", "/v2/images", 201, json=fields).json["id"])

    def stage(self, image: str, data: bytes, expected: int = 204) -> Any:
        """Stage data."""
        path = f"/v2/images/{image}/stage"
        return self.call("PUT", path, expected, input_stream=io.BytesIO(data), headers={
            **OCTETS, "Content-Length": str(len(data)),
        })

    def begin(self, image: str, name: str, expected: int = 202, *, headers: Any = None, **body: Any) -> Any:
        """Ask for an import; what is in ``method`` of the body beside its name goes in as ``arguments``."""
        method = {"name": name, **body.pop("arguments", {})}
        path = f"/v2/images/{image}/import"
        return self.call("POST", path, expected, json={"method": method, **body}, headers=headers)

    def show(self, image: str) -> dict[str, Any]:
        """Return the document of an image."""
        return dict(self.call("GET", f"/v2/images/{image}", 200).json)

    def task(self, image: str) -> dict[str, Any]:
        """Return the latest task of an image."""
        tasks = self.call("GET", f"/v2/images/{image}/tasks", 200).json["tasks"]
        return dict(tasks[-1])

    def finished(self, image: str) -> dict[str, Any]:
        """Wait for the end of the latest task of an image and return it."""
        return wait_for(lambda: task if (task := self.task(image))["status"] in ("success", "failure") else None)

    def data(self, image: str) -> bytes:
        """Return the data of an image."""
        return bytes(self.call("GET", f"/v2/images/{image}/file", 200).data)

    def files(self, store: str) -> list[str]:
        """Return the files in a store, unfinished ones included."""
        found = (path for path in (self.folder / store).rglob("*") if path.is_file())
        return sorted(path.name for path in found if path.name not in (".glance-store", ".guard"))

    def settled(self) -> bool:
        """Wait until nothing is left in the staging directory."""
        return wait_for(lambda: not self.files("staging"))


@contextmanager
def working(node: Node) -> Iterator[Node]:
    """Let the workers of the node run within the block; after it they have done and told everything."""
    node.pool.start()
    try:
        yield node
    finally:
        with patch.object(pool, "STOP_WITHIN", 300.0):
            node.pool.stop()


def page(web: WebServer, data: bytes, path: str = "/image", **habits: Any) -> dict[str, str]:
    """Let the web server hold data; return the arguments of web-download."""
    web.pages[path] = Page(data, **habits)
    return {"uri": web.url(path)}
