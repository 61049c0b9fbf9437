"""Signatures hold for every way data come in, not for uploads only (IMG-34, S-29)."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.integration.api.imports_kit import Node, options, page, working
from tests.servers.barbican import Barbican
from tests.servers.web import Page, WebServer, web_server
from tests.support.raw_data import random_bytes
from tests.support.signing import Signer
from tests.support.waiting import wait_for

DATA = random_bytes(300_000)
WRONG = b"\x02" + DATA[1:]
TOKEN = {"X-Auth-Token": "token of own"}
MISMATCH = "the data are not those that were signed"


@pytest.fixture(scope="module")
def web() -> Iterator[WebServer]:
    """A web server to import from."""
    with web_server() as server:
        yield server


@pytest.fixture
def barbican() -> Iterator[Barbican]:
    """A key manager without secrets."""
    server = Barbican()
    yield server
    server.close()


@pytest.fixture
def make_node(make_api, tmp_path, web, barbican) -> Callable[..., Node]:
    """A function that makes a node with some options changed; its workers do not run yet."""
    base = {**options(tmp_path, web), "barbican__barbican_endpoint": barbican.url}
    return lambda **changed: Node(make_api(**{**base, **changed}), tmp_path)


@pytest.fixture
def node(make_node) -> Iterator[Node]:
    with working(make_node()) as running:
        yield running


@pytest.fixture
def signed(barbican) -> dict[str, str]:
    """The properties of an image whose data are DATA."""
    return Signer().properties(DATA, barbican.add(Signer().certificate(), TOKEN["X-Auth-Token"]))


def download(node: Node, web: WebServer, image: str, method: str, data: bytes, expected: int = 202) -> Any:
    """Ask for the import of ``data`` by a method that fetches them."""
    if method == "web-download":
        return node.begin(image, method, expected, arguments=page(web, data), headers=TOKEN)
    other = remote(web, data)
    catalog = json.dumps([{"type": "image", "endpoints": [{"region": "north", "publicURL": web.url("")}]}])
    arguments = {"glance_region": "north", "glance_image_id": other}
    return node.begin(image, method, expected, arguments=arguments, headers={**TOKEN, "X-Service-Catalog": catalog})


def remote(web: WebServer, data: bytes, **properties: str) -> str:
    """Let the web server be another region with one image; return its id."""
    other = "22222222-2222-4222-8222-222222222222"
    document = {"status": "active", "disk_format": "raw", "container_format": "bare", "size": len(data), **properties}
    web.pages[f"/v2/images/{other}"] = Page(json.dumps(document).encode(), headers={"Content-Type": "application/json"})
    page(web, data, f"/v2/images/{other}/file")
    return other


def assert_refused(node: Node, image: str) -> None:
    """Assert that the import failed because of the signature and left nothing."""
    task = node.finished(image)
    assert task["status"] == "failure"
    assert MISMATCH in task["message"]
    shown = node.show(image)
    assert (shown["status"], shown["size"], shown["checksum"]) == ("queued", None, None)
    node.settled()
    assert node.files("fast") == node.files("slow") == []


METHODS = pytest.mark.parametrize("method", ["web-download", "glance-download"])


@METHODS
def test_s29_the_worker_verifies_what_it_fetched(node, web, barbican, signed, method):
    image = node.create(**signed)
    download(node, web, image, method, DATA)
    assert node.finished(image)["status"] == "success"
    assert node.data(image) == DATA
    asked = len(barbican.calls)
    assert asked == 2
    other = node.create(**signed)
    download(node, web, other, method, WRONG)
    task = node.finished(other)
    assert (task["status"], node.show(other)["status"]) == ("failure", "queued")
    assert MISMATCH in task["message"]
    node.settled()
    assert node.files("fast") == [image]
    # The image is not spoiled, and no task shows what is kept for the workers.
    download(node, web, other, method, DATA)
    wait_for(lambda: node.show(other)["status"] == "active")
    assert "PUBLIC" not in json.dumps(node.task(other))
    assert set(node.task(other)["input"]) == {
        "image_id", "import_req", "backend", "disk_format", "container_format",
    }


@pytest.mark.parametrize("change", ["remove", "other"])
def test_s29_properties_that_change_during_the_import_weaken_nothing(make_node, web, barbican, signed, change):
    node = make_node()
    image = node.create(**signed)
    wrong = WRONG
    download(node, web, image, "web-download", wrong)
    # No worker runs yet: the owner withdraws the signature, or makes one that fits.
    fitting = Signer(owner="own").properties(wrong, barbican.add(Signer(owner="own").certificate(), "x"))
    patch = [
        {"op": "remove", "path": f"/{name}"} if change == "remove"
        else {"op": "replace", "path": f"/{name}", "value": fitting[name]}
        for name in signed
    ]
    kind = {"Content-Type": "application/openstack-images-v2.1-json-patch"}
    node.call("PATCH", f"/v2/images/{image}", 200, data=json.dumps(patch), headers=kind)
    with working(node):
        assert_refused(node, image)


@pytest.mark.parametrize("must_succeed", [True, False])
def test_s29_no_store_keeps_what_is_not_signed(make_node, web, signed, must_succeed):
    node = make_node(image_import_opts__max_parallel_stores=2)
    image = node.create(**signed)
    arguments = page(web, b"\x01other")
    node.begin(
        image, "web-download", arguments=arguments, headers=TOKEN, all_stores=True, all_stores_must_succeed=must_succeed
    )
    with working(node):
        assert_refused(node, image)


def test_s29_staged_data_are_verified_when_they_are_staged(node, signed):
    image = node.create(**signed)
    path, kind = f"/v2/images/{image}/stage", {"Content-Type": "application/octet-stream", **TOKEN}
    assert MISMATCH in node.call("PUT", path, 400, data=WRONG, headers=kind).text
    shown = node.show(image)
    assert (shown["status"], shown["size"]) == ("queued", None)
    assert node.files("staging") == []
    node.call("PUT", path, 204, data=DATA, headers=kind)
    node.begin(image, "glance-direct", headers=TOKEN)
    assert node.finished(image)["status"] == "success"
    assert node.data(image) == DATA


def test_s29_a_signature_that_comes_after_the_staging_holds_too(node, signed):
    image = node.create()
    node.stage(image, b"\x01not what is signed")
    patch = [{"op": "add", "path": f"/{name}", "value": value} for name, value in signed.items()]
    kind = {"Content-Type": "application/openstack-images-v2.1-json-patch"}
    node.call("PATCH", f"/v2/images/{image}", 200, data=json.dumps(patch), headers=kind)
    node.begin(image, "glance-direct", headers=TOKEN)
    assert_refused(node, image)


def test_s29_a_signature_that_comes_with_the_data_holds_too(make_node, web, barbican, signed):
    node = make_node(glance_download_properties__extra_properties="img_signature")
    with working(node):
        catalog = json.dumps([{"type": "image", "endpoints": [{"region": "north", "publicURL": web.url("")}]}])
        headers = {**TOKEN, "X-Service-Catalog": catalog}
        for data in (DATA, b"\x01not what is signed"):
            arguments = {"glance_region": "north", "glance_image_id": remote(web, data, **signed)}
            image = node.create()
            node.begin(image, "glance-download", arguments=arguments, headers=headers)
            task = node.finished(image)
            assert (task["status"] == "success") is (data == DATA), task
            assert node.show(image)["status"] == ("active" if data == DATA else "queued")
        assert MISMATCH in task["message"]


@pytest.mark.parametrize("trouble", ["broken", "foreign", "weak"])
@METHODS
def test_s29_without_the_certificate_no_import_begins(node, web, barbican, signed, trouble, method):
    barbican.broken = trouble == "broken"
    if trouble == "foreign":
        signed = Signer().properties(DATA, barbican.add(Signer().certificate(), "another user"))
    if trouble == "weak":
        signed = {**signed, "img_signature_hash_method": "MD5"}
    image = node.create(**signed)
    download(node, web, image, method, DATA, expected=503 if trouble == "broken" else 400)
    assert node.show(image)["status"] == "queued"
    assert node.call("GET", f"/v2/images/{image}/tasks", 200).json["tasks"] == []
    assert not node.api.services.work.keeps


def test_what_was_signed_is_not_converted(make_node, web, barbican, tmp_path):
    import subprocess

    path = tmp_path / "zeros.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(path), "1M"], check=True)
    data = path.read_bytes()
    properties = Signer().properties(data, barbican.add(Signer().certificate(), TOKEN["X-Auth-Token"]))
    plugins = "[image_conversion]"
    node = make_node(image_import_opts__image_import_plugins=plugins, image_conversion__output_format="raw")
    with working(node):
        image = node.create(disk_format="qcow2", **properties)
        download(node, web, image, "web-download", data)
        assert "image_conversion would change its data" in node.finished(image)["message"]
        assert node.show(image)["status"] == "queued"
        node.settled()


def test_s29_tasks_of_type_import_verify(node, web, barbican, signed):
    def new(data: bytes, expected: int = 201) -> dict[str, Any]:
        properties = {"disk_format": "raw", "container_format": "bare", **signed}
        asked = {"import_from": page(web, data)["uri"], "import_from_format": "raw", "image_properties": properties}
        body = {"type": "import", "input": asked}
        return dict(node.call("POST", "/v2/tasks", expected, json=body, headers=TOKEN).json or {})

    def ended(task: dict[str, Any]) -> dict[str, Any]:
        path = f"/v2/tasks/{task['id']}"
        return wait_for(
            lambda: now if (now := node.call("GET", path, 200).json)["status"] in ("success", "failure") else None
        )

    image = ended(new(DATA))["result"]["image_id"]
    assert node.data(image) == DATA
    bad = ended(new(WRONG))
    assert bad["status"] == "failure"
    assert MISMATCH in bad["message"]
    assert [each["id"] for each in node.call("GET", "/v2/images", 200).json["images"]] == [image]
    node.settled()
    assert node.files("fast") == [image]
    barbican.broken = True
    new(DATA, expected=503)
