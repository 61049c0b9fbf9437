"""Nothing unsafe becomes active by its location: by v1, by PATCH and by the location API (S-34, S-36)."""

import random
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from hashlib import md5, sha512
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from tests.integration.api.imports_kit import Node, options, working
from tests.integration.api.test_import_events import Told
from tests.servers.scripted import scripted_peer
from tests.servers.web import Page, WebServer, web_server

from glance_common.observability.metrics.catalog import DATA_REFUSED
from glance_registry.db.tables import images as image_rows
from glance_registry.db.tables import locations as location_rows

MIB = 1024 * 1024
PATCH = {"Content-Type": "application/openstack-images-v2.1-json-patch"}
ADMIN = "admin,member,reader"


@pytest.fixture
def mirror() -> Iterator[WebServer]:
    with web_server() as server:
        yield server


@pytest.fixture
def make_node(make_api, tmp_path: Path, mirror: WebServer) -> Callable[..., Node]:
    def make(**changed: Any) -> Node:
        base = {
            **options(tmp_path, mirror), "enabled_backends": "fast:file,slow:file,web:http",
            "show_multiple_locations": True,
        }
        return Node(make_api(**{**base, **changed}), tmp_path)

    return make


@pytest.fixture
def node(make_node) -> Node:
    return make_node()


def disk(folder: Path, qemu_format: str, *more: str, size: str = "1M") -> bytes:
    """Return a disk that qemu-img made; a backing file is named, never opened."""
    path = folder / "made"
    command = ["qemu-img", "create", "-q", "-u", "-f", qemu_format, *more, str(path), size]
    subprocess.run(command, check=True, cwd=folder)
    return path.read_bytes()


def stream_vmdk(folder: Path) -> bytes:
    """Return a VMDK whose header is at its end, with 3 MiB that do not get smaller."""
    (folder / "raw").write_bytes(random.Random(11).randbytes(3 * MIB))
    command = ["qemu-img", "convert", "-f", "raw", "-O", "vmdk", "-o", "subformat=streamOptimized", "raw", "stream"]
    subprocess.run(command, check=True, cwd=folder)
    data = (folder / "stream").read_bytes()
    assert len(data) > 2 * MIB
    if data[56:64] != b"\xff" * 8:
        # As other programs write it: a marker, the header that counts, and a marker of the end.
        marker = bytes(12) + b"\3" + bytes(499)
        data = data[:56] + b"\xff" * 8 + data[64:] + marker + data[:512] + bytes(512)
    return data


def unsafe(folder: Path) -> dict[str, tuple[str, bytes, str]]:
    """Return what must be refused, by name: what it is declared to be, the data, and a word of the reason."""
    flat = b'# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\ncreateType="monolithicFlat"\n'
    data_file = bytearray(disk(folder, "qcow2"))
    data_file[79] |= 4
    backed = disk(folder, "qcow2", "-b", "/etc/passwd", "-F", "raw")
    return {
        "a backing file": ("qcow2", backed, "backing_file"),
        "a backing file as raw": ("raw", backed, "backing_file"),
        "a data file": ("qcow2", bytes(data_file), "data_file"),
        "a descriptor": ("vmdk", flat + b'RW 8 FLAT "/etc/passwd" 0\n', "descriptor"),
        "a hidden descriptor": ("raw", b"\xef\xbb\xbf" + flat + b'RW 8 FLAT "x" 0\n' + bytes(MIB), "descriptor"),
        "another format": ("qcow2", bytes(2 * MIB), "content of the image is raw"),
        "a damaged header": ("vdi", disk(folder, "vdi")[:0x170] + bytes(MIB), "damaged"),
    }


def by_v1_create(node: Node, url: str, declared: str) -> Any:
    headers = {
        "x-image-meta-name": "one", "x-image-meta-disk_format": declared, "x-image-meta-container_format": "bare",
        "x-image-meta-location": url,
    }
    return node.api.call("POST", "/v1/images", headers=headers)


def by_v1_update(node: Node, url: str, declared: str) -> Any:
    image = node.create(disk_format=declared)
    return node.api.call("PUT", f"/v1/images/{image}", headers={"x-image-meta-location": url})


def by_patch(node: Node, url: str, declared: str, *, whole_list: bool) -> Any:
    image = node.create(disk_format=declared)
    value = {"url": url, "metadata": {}}
    change: dict[str, Any] = {"op": "add", "path": "/locations/-", "value": value}
    if whole_list:
        change = {"op": "replace", "path": "/locations", "value": [value]}
    return node.api.call("PATCH", f"/v2/images/{image}", json=[change], headers=PATCH)


def by_location_api(node: Node, url: str, declared: str) -> Any:
    image = node.create(disk_format=declared)
    return node.api.call("POST", f"/v2/images/{image}/locations", json={"url": url}, roles=ADMIN)


ROUTES: dict[str, Callable[[Node, str, str], Any]] = {
    "v1 create": by_v1_create,
    "v1 update": by_v1_update,
    "PATCH add": lambda *asked: by_patch(*asked, whole_list=False),
    "PATCH replace": lambda *asked: by_patch(*asked, whole_list=True),
    "location API": by_location_api,
}


def statuses(node: Node) -> set[str]:
    listed = node.call("GET", "/v2/images?visibility=all", 200).json["images"]
    return {image["status"] for image in listed}


def rows(engine: sa.Engine) -> int:
    with engine.connect() as connection:
        return int(connection.scalar(sa.select(sa.func.count()).select_from(location_rows)) or 0)


@pytest.mark.parametrize("ranges", [True, False], ids=["parts", "whole objects"])
@pytest.mark.parametrize("route", ROUTES)
def test_s21_s34_s36_unsafe_data_become_active_by_no_way(node, mirror, engine, tmp_path, route, ranges):
    for name, (declared, data, reason) in unsafe(tmp_path).items():
        mirror.pages["/a"] = Page(data, ranges=ranges)
        refused = ROUTES[route](node, mirror.url("/a"), declared)
        assert (refused.status_code, reason in refused.text) == (415, True), (name, refused.text)
    assert statuses(node) == (set() if route == "v1 create" else {"queued"})
    assert rows(engine) == 0


@pytest.mark.parametrize("ranges", [True, False], ids=["parts", "whole objects"])
@pytest.mark.parametrize("route", ROUTES)
def test_s34_good_data_become_active_by_every_way(node, mirror, tmp_path, route, ranges):
    count = 0
    for declared, data in (
        ("qcow2", disk(tmp_path, "qcow2")), ("vhdx", disk(tmp_path, "vhdx", size="8M")), ("raw", bytes(8 * MIB)),
        ("vdi", disk(tmp_path, "vdi")), ("raw", b"x"),
    ):
        count += 1
        mirror.pages["/a"] = Page(data, ranges=ranges)
        taken = ROUTES[route](node, mirror.url("/a"), declared)
        assert taken.status_code in (200, 201, 202), taken.text
    assert statuses(node) == {"active"}
    assert len(node.call("GET", "/v2/images", 200).json["images"]) == count


@pytest.mark.parametrize("route", ROUTES)
def test_s36_a_header_at_the_end_is_judged_before_the_image_is_active(node, mirror, tmp_path, route):
    good = stream_vmdk(tmp_path)
    mirror.pages["/a"] = Page(good, ranges=False)
    assert "at its end" in ROUTES[route](node, mirror.url("/a"), "vmdk").text
    mirror.pages["/a"] = Page(good[:-1024] + b"KDMX" + good[-1020:])
    refused = ROUTES[route](node, mirror.url("/a"), "vmdk")
    assert (refused.status_code, "footer" in refused.text) == (415, True)
    assert statuses(node) <= {"queued"}


def test_s34_no_more_is_read_than_needed(node, mirror):
    mirror.pages["/a"] = Page(bytes(16 * MIB))
    assert by_location_api(node, mirror.url("/a"), "raw").status_code == 202
    assert [(method, headers.get("Range")) for method, _, headers in mirror.seen] == [
        ("HEAD", None), ("GET", f"bytes=0-{4 * MIB - 1}"),
    ]


def test_s34_the_formats_of_the_same_request_count(node, mirror, tmp_path):
    mirror.pages["/a"] = Page(disk(tmp_path, "qcow2"))
    add = {"op": "add", "path": "/locations/-", "value": {"url": mirror.url("/a"), "metadata": {}}}

    def formats(disk_format: str) -> list[dict[str, Any]]:
        values = {"disk_format": disk_format, "container_format": "bare"}
        return [{"op": "replace", "path": f"/{name}", "value": value} for name, value in values.items()]

    image = node.call("POST", "/v2/images", 201, json={"name": "one"}).json["id"]
    node.call("PATCH", f"/v2/images/{image}", 415, json=[*formats("vmdk"), add], headers=PATCH)
    assert node.show(image)["disk_format"] is None, "nothing of the request is done"
    node.call("PATCH", f"/v2/images/{image}", 200, json=[*formats("qcow2"), add], headers=PATCH)
    assert node.show(image)["status"] == "active"


def test_s34_a_refused_update_by_v1_changes_nothing(node, mirror, tmp_path):
    mirror.pages["/a"] = Page(disk(tmp_path, "qcow2", "-b", "/etc/passwd", "-F", "raw"))
    image = node.create(disk_format="raw", name="before")
    headers = {"x-image-meta-location": mirror.url("/a"), "x-image-meta-name": "after"}
    assert node.api.call("PUT", f"/v1/images/{image}", headers=headers).status_code == 415
    assert (node.show(image)["status"], node.show(image)["name"]) == ("queued", "before")
    mirror.pages["/a"] = Page(disk(tmp_path, "qcow2"))
    headers["x-image-meta-disk_format"] = "qcow2"
    assert node.api.call("PUT", f"/v1/images/{image}", headers=headers).status_code == 200
    shown = node.show(image)
    assert (shown["status"], shown["name"], shown["disk_format"]) == ("active", "after", "qcow2")


def test_s34_a_further_location_is_inspected_too(node, mirror, tmp_path, engine):
    good = bytes(MIB)
    mirror.pages["/a"] = Page(good)
    assert by_v1_create(node, mirror.url("/a"), "raw").status_code == 201
    image = node.call("GET", "/v2/images", 200).json["images"][0]["id"]
    mirror.pages["/b"] = Page(disk(tmp_path, "qcow2", "-b", "/etc/passwd", "-F", "raw").ljust(MIB, b"\0"))
    add = {"op": "add", "path": "/locations/-", "value": {"url": mirror.url("/b"), "metadata": {}}}
    node.call("PATCH", f"/v2/images/{image}", 415, json=[add], headers=PATCH)
    assert (rows(engine), node.show(image)["status"]) == (1, "active")


def test_s38_the_option_about_mismatches_lets_nothing_unsafe_in(make_node, mirror, tmp_path):
    node = make_node(image_format__require_image_format_match="false")
    for declared, data, _ in unsafe(tmp_path).values():
        mirror.pages["/a"] = Page(data)
        expected = 202 if not any(data) else 415
        assert by_location_api(node, mirror.url("/a"), declared).status_code == expected


@pytest.mark.parametrize("secure", ["true", "false"])
def test_s34_validation_data_are_no_way_around(make_node, mirror, tmp_path, secure):
    """With ``do_secure_hash`` the image waits until all of the data were inspected; otherwise they are at once."""
    node = make_node(do_secure_hash=secure)
    for name, (declared, data, reason) in unsafe(tmp_path).items():
        mirror.pages["/a"] = Page(data)
        image = node.create(disk_format=declared)
        body = {
            "url": mirror.url("/a"),
            "validation_data": {"os_hash_algo": "sha512", "os_hash_value": sha512(data).hexdigest()},
        }
        answer = node.call("POST", f"/v2/images/{image}/locations", 202 if secure == "true" else 415, json=body)
        assert secure == "true" or reason in answer.text, name
    if secure == "true":
        assert statuses(node) == {"importing"}
        with working(node):
            for listed in node.call("GET", "/v2/images", 200).json["images"]:
                assert node.finished(listed["id"])["status"] == "failure"
    assert statuses(node) == {"queued"}


@pytest.mark.parametrize("page", [
    Page(bytes(MIB), cut=1000), Page(bytes(MIB), headers={"Content-Encoding": "gzip"}),
    Page(bytes(MIB), announce=False), Page(b"", status=503), Page(b"", status=404),
], ids=["cut off", "encoded", "no length", "busy", "absent"])
def test_s27_what_cannot_be_read_is_one_and_the_same_answer(node, mirror, page):
    mirror.pages["/a"] = page
    texts = {ROUTES[route](node, mirror.url("/a"), "raw").text for route in ("PATCH add", "location API")}
    assert all("finds no data that it may read there" in text or "does not say how many" in text for text in texts)
    assert statuses(node) == {"queued"}


def announces_and_drips(connection: socket.socket) -> None:
    """Say at once how much there is, then send a byte of it now and then."""
    request = connection.recv(65536)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 8388608\r\nConnection: close\r\n\r\n")
    while request.startswith(b"GET"):
        threading.Event().wait(0.02)
        connection.sendall(b"x")


@pytest.mark.parametrize("route", ["PATCH add", "location API", "v1 update"])
def test_s27_the_inspection_ends_with_the_time_of_the_request(make_node, route):
    with scripted_peer(announces_and_drips) as peer:
        node = make_node(
            remote_check_timeout=1, max_remote_checks=1, import_filtering_opts__allowed_ports=f"[{peer.port}]"
        )
        for _ in range(2):
            refused = ROUTES[route](node, peer.url(), "raw")
            assert (refused.status_code, "finds no data that it may read there" in refused.text) == (400, True)
        assert statuses(node) == {"queued"}


class Registered:
    """An image that became active by the location API, whose data on the mirror are others when they are hashed."""

    def __init__(self, node: Node, mirror: WebServer, before: bytes, after: bytes, declared: str) -> None:
        self.node = node
        mirror.pages["/a"] = Page(before)
        self.image = node.create(disk_format=declared)
        body = {"url": mirror.url("/a")}
        node.call("POST", f"/v2/images/{self.image}/locations", 202, json=body)
        assert self.shown["status"] == "active"
        mirror.pages["/a"] = Page(after)

    def hashed(self) -> str:
        """Let the worker hash the data; return what the task says."""
        with working(self.node):
            task = self.node.finished(self.image)
        assert task["status"] == "failure"
        return str(task["message"])

    @property
    def shown(self) -> dict[str, Any]:
        return self.node.show(self.image)


def refused_in(store: str) -> float:
    return float(DATA_REFUSED.labels(store)._value.get())


@pytest.mark.parametrize("case", ["unsafe", "another format", "shorter", "longer", "a footer"])
def test_s34_s36_what_only_all_of_the_data_show_deactivates_the_image(node, mirror, tmp_path, case):
    good, stream = disk(tmp_path, "qcow2"), stream_vmdk(tmp_path)
    backed = disk(tmp_path, "qcow2", "-b", "/etc/passwd", "-F", "raw")
    size = max(len(good), len(backed))
    good, backed = good.ljust(size, b"\0"), backed.ljust(size, b"\0")
    declared, before, after, reason = {
        "unsafe": ("qcow2", good, backed, "backing_file"),
        "another format": ("qcow2", good, bytes(size), "content of the image is raw"),
        "shorter": ("raw", good, good[:-1], "announced"),
        "longer": ("raw", good, good + b"\0", "announced"),
        "a footer": ("vmdk", stream, stream[:-1024] + b"KDMX" + stream[-1020:], "footer"),
    }[case]
    counted = refused_in("web")
    registered = Registered(node, mirror, before, after, declared)
    told = Told(node)
    assert reason in registered.hashed()
    assert "deactivated" in {payload["status"] for payload in told.payloads("image.update")}
    assert told.kinds("task.failure", "task.success") == ["task.failure"]
    shown = registered.shown
    assert (shown["status"], shown["os_hash_value"]) == ("deactivated", None)
    assert reason in shown["os_glance_data_refused"]
    assert refused_in("web") == counted + 1
    file = f"/v2/images/{registered.image}/file"
    assert node.api.call("GET", file).status_code == 403


def test_s64_data_with_another_digest_than_the_image_deactivate_it(node, mirror, engine):
    """As when a worker told the digests and died before it told the end, and the data changed since."""
    registered = Registered(node, mirror, bytes(MIB), bytes(MIB), "raw")
    with engine.begin() as connection:
        values = {"os_hash_algo": "sha512", "os_hash_value": "a" * 128, "checksum": md5(b"").hexdigest()}
        connection.execute(sa.update(image_rows).where(image_rows.c.id == registered.image).values(values))
    assert "os_hash_value" in registered.hashed()
    shown = registered.shown
    assert (shown["status"], shown["os_hash_value"]) == ("deactivated", "a" * 128)


def test_s34_only_administrators_activate_what_the_service_refused(node, mirror, tmp_path):
    size = 300_000
    good = disk(tmp_path, "qcow2").ljust(size, b"\0")
    registered = Registered(node, mirror, good, b"\1" + bytes(size - 1), "qcow2")
    registered.hashed()
    path = f"/v2/images/{registered.image}"
    refused = node.api.call("POST", f"{path}/actions/reactivate")
    assert (refused.status_code, "content of the image" in refused.text) == (403, True)
    # The mark is nothing that an owner could remove.
    for change in ({"op": "remove", "path": "/os_glance_data_refused"},
                   {"op": "replace", "path": "/os_glance_data_refused", "value": "no"}):
        assert node.api.call("PATCH", path, json=[change], headers=PATCH).status_code == 403
    node.call("POST", f"{path}/actions/reactivate", 204)
    assert registered.shown["status"] == "active"


def test_s34_a_server_that_is_away_deactivates_nothing(make_node, mirror):
    node = make_node(http_retries=1)
    registered = Registered(node, mirror, bytes(MIB), bytes(MIB), "raw")
    mirror.pages["/a"] = Page(b"", status=503)
    registered.hashed()
    assert registered.shown["status"] == "active"
    assert "os_glance_data_refused" not in registered.shown
